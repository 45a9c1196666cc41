"""The secret that deliveries to a webhook are signed with, as it is written in its file. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Final

_PREFIX: Final = "whsec_"
LEAST_SECRET: Final = 24  # bytes, as Standard Webhooks asks for
LONGEST_FILE: Final = 4096


class SecretError(Exception):
    """The file does not hold a secret that can be used; the text says why, and nothing of the secret."""


def read_secret(raw: bytes) -> bytes:
    """The key in a secret's file: after `whsec_` in base64, else the bytes of its one line.

    Raises:
        SecretError: it is none, or too short to be one.
    """
    text = raw.strip()
    if text.startswith(_PREFIX.encode()):
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX.encode()), validate=True)
        except binascii.Error as error:
            raise SecretError("it begins with whsec_, and what follows is not base64") from error
    else:
        key = text
    if len(key) < LEAST_SECRET:
        raise SecretError(f"it has {len(key)} bytes, and {LEAST_SECRET} are the least")
    return key
