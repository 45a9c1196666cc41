"""Single values of an Ignition document: paths, URLs, digests, modes; "" means nothing is wrong. Pure."""

from __future__ import annotations

import base64
import binascii
import gzip
import posixpath
import re
import zlib
from typing import Final
from urllib.parse import urlsplit

from appliance.reading import shown

MAX_MODE: Final = 0o7777
_SCHEMES: Final = ("http", "https", "tftp", "s3", "arn", "gs", "data")
# RFC 2397; the token characters of RFC 2045 in the media type.
_DATA_URL: Final = re.compile(
    r"data:(?:(?:text|image|audio|video|application|message|multipart|[xX]-[\w!#$&^.+-]+)/[\w!#$&^.+-]+)?"
    r"(?:;(?!base64[,;])[\w!#$&^.+-]+=(?:[^;,\"]*|\"[^\"]*\"))*(?P<base64>;base64)?,(?P<data>.*)",
    re.ASCII | re.DOTALL,
)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# From RFC 3986: what a URL never holds. Go's parser refuses control characters and blanks in a host.
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f]")
_DIGESTS: Final = {"sha512": 128, "sha256": 64}
_HEX: Final = re.compile(r"[0-9A-Fa-f]+", re.ASCII)
_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)


def path_flaw(value: object) -> str:
    """What is wrong with an absolute path; it has to be in its shortest spelling, as Ignition wants it."""
    if not isinstance(value, str) or not value:
        return "a path is missing"
    if not value.startswith("/") or "\0" in value:
        return f"{shown(value)} is not an absolute path"
    clean = posixpath.normpath(value)
    if clean != value:
        return f"{shown(value)} is not in its shortest form: {clean.removeprefix('/') and shown(clean)}"
    return ""


def mode_flaw(value: object) -> str:
    """What is wrong with a file mode; JSON has no octal, so 644 is a frequent mistake (it is 0o1204)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MODE:
        return f"{shown(value)} is no file mode: a decimal number from 0 to {MAX_MODE} is expected"
    return ""


def url_flaw(value: str, minor: int) -> str:
    """What is wrong with the URL of a resource in spec 3.`minor`; data URLs have to decode."""
    if value.startswith("data:"):
        return data_url_flaw(value)
    try:
        parts = urlsplit(value)
        port_is_sound = parts.port is None or parts.port >= 0
    except ValueError as error:
        return f"{shown(value)} is no URL: {error}"
    known = [s for s in _SCHEMES if not (s == "gs" and minor < 2) and not (s == "arn" and minor < 4)]
    if parts.scheme not in known:
        return f"{shown(value)} begins with none of {', '.join(known)}"
    if _NOT_IN_URLS.search(value) or _BROKEN_ESCAPE.search(value) or not port_is_sound:
        return f"{shown(value)} is no URL: it holds a blank, a control character or a broken %-escape"
    if parts.scheme in {"http", "https", "tftp"} and not parts.hostname:
        return f"{shown(value)} names no host"
    return ""


def data_url_flaw(value: str) -> str:
    """What keeps a data URL (RFC 2397) from being decoded."""
    try:
        decode_data_url(value)
    except ValueError as error:
        return f"the data URL cannot be decoded: {error}"
    return ""


def decode_data_url(value: str) -> bytes:
    """What a data URL stands for.

    Raises:
        ValueError: it stands for nothing; with the reason.
    """
    found = _DATA_URL.fullmatch(value)
    if found is None:
        raise ValueError("data:[type/subtype][;base64],… is expected")
    data = found["data"]
    if found["base64"]:
        try:
            return base64.b64decode(data.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("it is not base64") from error
    if not data.isascii():
        raise ValueError("it holds characters that have to be written as %-escapes")
    if _BROKEN_ESCAPE.search(data):
        raise ValueError("a % is not followed by two hexadecimal digits")
    return re.sub(rb"%(..)", lambda m: bytes.fromhex(m[1].decode()), data.encode("ascii"))


def packed_flaw(value: str) -> str:
    """What is wrong with a data URL that is said to be compressed with gzip."""
    try:
        gzip.decompress(decode_data_url(value))
    except (OSError, EOFError, zlib.error):
        return "the data URL is not compressed with gzip, as compression says"
    except ValueError:
        return ""  # said elsewhere
    return ""


def hash_flaw(value: str, minor: int) -> str:
    """What is wrong with `function-hexdigits`."""
    function, dash, digits = value.partition("-")
    if not dash:
        return f"{shown(value)} is no hash: sha512-… with 128 hexadecimal digits is expected"
    if function not in _DIGESTS or (function == "sha256" and minor < 1):
        return f"{shown(function)} is no hash function of this spec: sha512" + (", sha256" if minor else "")
    if len(digits) != _DIGESTS[function] or not _HEX.fullmatch(digits):
        return f"{function} has {_DIGESTS[function]} hexadecimal digits, not {len(digits)} characters"
    return ""


def guid_flaw(value: str) -> str:
    """What is wrong with a partition's GUID; empty is allowed."""
    if value and not _GUID.fullmatch(value):
        return f"{shown(value)} is no GUID such as 01234567-89AB-CDEF-EDCB-A98765432101"
    return ""
