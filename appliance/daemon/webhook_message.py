"""One delivery to a webhook: its body, its signature, and what an answer means. Pure.

The scheme is Standard Webhooks (github.com/standard-webhooks/standard-webhooks, its spec): id, time and body
are signed together, so that nobody can replay a delivery later, or under another id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final

from appliance.boot.events import rfc3339
from appliance.daemon.notable import Note
from appliance.plain_text import safe_text
from appliance.settings import Notice

TEST: Final = "test"
_LONGEST_TEXT: Final = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """What is delivered, the same at each attempt."""

    id: str
    type: str
    body: bytes

    @classmethod
    def of(cls, note: Note, at: datetime, nonce: str) -> Message:
        """A note as a message. `nonce` makes the id of what is never told twice."""
        assert note.notice is not None
        named = hashlib.sha256(note.subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        identity = f"msg_{named if note.subject else nonce}"
        return cls(identity, note.notice.value, _body(note.notice.value, at, note.message, note.data))

    @classmethod
    def test(cls, at: datetime, nonce: str) -> Message:
        """One that says nothing, to see whether it arrives."""
        words = "a test delivery of pxe-appliance"
        return cls(f"msg_{nonce}", TEST, _body(TEST, at, words, {"events": [word.value for word in Notice]}))

    def headers(self, secret: bytes, at: datetime) -> dict[str, str]:
        """The headers of an attempt at `at`."""
        stamp = str(int(at.timestamp()))
        return {
            "Content-Type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": stamp,
            "webhook-signature": sign(secret, self.id, stamp, self.body),
        }


def sign(secret: bytes, identity: str, stamp: str, body: bytes) -> str:
    """`webhook-signature`: version 1 is HMAC with SHA-256 over id, time and body, joined by dots."""
    signed = hmac.new(secret, b".".join((identity.encode(), stamp.encode(), body)), hashlib.sha256)
    return "v1," + base64.b64encode(signed.digest()).decode()


def _body(word: str, at: datetime, message: str, data: Mapping[str, object]) -> bytes:
    # `text` is what chat servers show (Mattermost, Slack and their like take nothing else).
    text = safe_text(message, limit=_LONGEST_TEXT)
    return json.dumps({"type": word, "timestamp": rfc3339(at), "text": text, "data": dict(data)}).encode()


class Fate(Enum):
    """What becomes of a delivery after an answer."""

    DELIVERED = auto()
    AGAIN = auto()  # another attempt may do better
    REFUSED = auto()  # it would not


def fate(status: int) -> Fate:
    """What an HTTP status means."""
    if 200 <= status < 300:
        return Fate.DELIVERED
    return Fate.AGAIN if status >= 500 or status == 429 else Fate.REFUSED


def retry_after(value: str, at: datetime) -> float:
    """Seconds that a Retry-After asks for (RFC 9110, 10.2.3: a number, or a date); 0 for nothing sensible."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the second for a year without end
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - at).total_seconds())


def answer_words(status: int, location: str) -> tuple[str, str]:
    """What an answer that is no success says to an operator, and what to do. A URL's path is not shown."""
    if 300 <= status < 400:
        host = location.partition("://")[2].partition("/")[0].partition("?")[0]
        leads = f", and leads to {safe_text(host, limit=100)}" if host else ""
        return f"it answers {status}{leads}: redirects are not followed", "write the URL that it leads to"
    if status in {401, 403}:
        return f"it answers {status}: it does not accept the signature", "compare the secret on both sides"
    if status in {404, 410}:
        return f"it answers {status}: there is no such receiver", "correct the URL"
    return f"it answers {status}", "look at the receiver's log"
