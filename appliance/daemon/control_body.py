"""What is sent to the control socket, read as JSON and by type: 400 with words for whatever it is not."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from appliance.errors import SurroundingsError


class Malformed(SurroundingsError):
    """A request that no program of ours makes; nothing was done."""


async def object_in(request: web.Request, *, may_lack: bool = False) -> dict[str, object]:
    """The JSON object in a request; with `may_lack`, empty when there is no body.

    Raises:
        Malformed: it is something else.
    """
    if may_lack and not request.can_read_body:
        return {}
    try:
        value = await request.json()
    except (ValueError, LookupError, RecursionError) as error:  # the second for a character set nobody knows
        raise Malformed("the request is not JSON") from error
    if not isinstance(value, dict):
        raise Malformed("the request is not a JSON object")
    return value


def text_in(body: Mapping[str, object], key: str, *, otherwise: str = "", longest: int = 200) -> str:
    """The text under `key`, cut at `longest` characters; `otherwise` when there is none.

    Raises:
        Malformed: it is no text.
    """
    value = body.get(key, otherwise)
    if not isinstance(value, str):
        raise Malformed(f"{key} should be text")
    # JSON may hold half of a surrogate pair, which nothing of ours could write down.
    return value[:longest].encode("utf-8", "replace").decode()


def flag_in(body: Mapping[str, object], key: str) -> bool:
    """Whether `key` is true; not when it is left out.

    Raises:
        Malformed: it is neither true nor false.
    """
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise Malformed(f"{key} should be true or false")
    return value


def number_in(text: str) -> int:
    """A number of at most nine digits, as it stands in a path or a query.

    Raises:
        Malformed: it is none.
    """
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise Malformed(f"{text[:20]!r} is not a number")
    return int(text)
