"""Talking to the daemon: HTTP over its Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping

from appliance.errors import (
    ApplianceError,
    NotProven,
    OperatorError,
    Problem,
    Refused,
    SurroundingsError,
)
from appliance.paths import Paths

_ANSWER_LIMIT = 512 * 2**20
_LINE_LIMIT = 2**20
_KINDS: Mapping[str, type[ApplianceError]] = {
    "Refused": Refused,
    "SurroundingsError": SurroundingsError,
}


class _Unix(http.client.HTTPConnection):
    """The library's client over a Unix socket: only the way to connect differs."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def daemon_is_running(paths: Paths) -> bool:
    """Whether somebody listens on the control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(paths.control))
        except PermissionError:
            return True  # it is there; the question that follows says who may ask
        except OSError:
            return False
    return True


def ask(
    paths: Paths,
    method: str,
    target: str,
    body: Mapping[str, object] | None = None,
    *,
    timeout: float = 30.0,
) -> object:
    """One request to the daemon; the parsed JSON answer.

    Raises:
        SurroundingsError: the daemon does not run, or may not be asked by us.
        ApplianceError: what the daemon refused, as the error that it raised.
    """
    payload = json.dumps(body) if body is not None else None
    with _answer(paths, method, target, payload, timeout) as answer:
        raw = answer.read(_ANSWER_LIMIT)
    value = _parsed(raw)
    if answer.status >= 400:
        raise restored_error(value)
    return value


def stream(
    paths: Paths, target: str, *, method: str = "GET", body: Mapping[str, object] | None = None
) -> Iterator[str]:
    """The lines of an answer that does not end, or not soon.

    Raises:
        ApplianceError: as for `ask`.
    """
    payload = json.dumps(body) if body is not None else None
    with _answer(paths, method, target, payload, None) as answer:
        if answer.status >= 400:
            raise restored_error(_parsed(answer.read(_LINE_LIMIT)))
        while line := answer.readline(_LINE_LIMIT):
            yield line.decode(errors="replace").rstrip("\n")


@contextlib.contextmanager
def _answer(
    paths: Paths, method: str, target: str, payload: str | None, timeout: float | None
) -> Iterator[http.client.HTTPResponse]:
    connection = _Unix(str(paths.control), timeout)
    try:
        connection.request(method, target, payload, {"Content-Type": "application/json"})
        yield connection.getresponse()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise not_running(paths) from error
    except PermissionError as error:
        raise _not_for_us(paths) from error
    except (OSError, http.client.HTTPException) as error:
        raise SurroundingsError(f"the daemon did not answer: {error!r}") from error
    finally:
        connection.close()


def _parsed(raw: bytes) -> object:
    try:
        value: object = json.loads(raw) if raw else None
    except (ValueError, RecursionError) as error:
        raise no_sense(raw.decode(errors="replace")) from error
    return value


def no_sense(said: str) -> SurroundingsError:
    """The error for a daemon whose words cannot be understood."""
    return SurroundingsError(
        f"cannot understand the daemon's answer: {said[:100]!r}",
        hint="the daemon may be of another version: systemctl restart pxe-appliance",
    )


def not_running(paths: Paths) -> SurroundingsError:
    """The error for a daemon that is not there."""
    return SurroundingsError(
        f"the daemon is not running: nobody listens on {paths.control}",
        hint="systemctl start pxe-appliance, or pxe-appliance serve in the foreground",
    )


def _not_for_us(paths: Paths) -> SurroundingsError:
    return SurroundingsError(
        f"cannot ask the daemon: permission denied on {paths.control}",
        hint="run it as root, or as a member of the group that owns the socket",
    )


def restored_error(value: object) -> ApplianceError:
    """The error that the daemon raised, from its JSON."""
    facts = value if isinstance(value, dict) else {}
    message = str(facts.get("message", "the daemon refused without a reason"))
    hint = str(facts.get("hint", ""))
    if facts.get("kind") == "OperatorError":
        listed = facts.get("problems")
        problems = [_problem(p) for p in listed if isinstance(p, dict)] if isinstance(listed, list) else []
        return OperatorError(message, problems=problems, hint=hint)
    if facts.get("kind") == "NotProven":
        seen = facts.get("evidence")
        return NotProven(message, hint=hint, evidence=map(str, seen) if isinstance(seen, list) else ())
    return _KINDS.get(str(facts.get("kind")), ApplianceError)(message, hint=hint)


def _problem(facts: Mapping[str, object]) -> Problem:
    """A problem of a daemon that may be of another version."""
    line = facts.get("line")
    words = [str(facts.get(key, "")) for key in ("file", "path", "message", "hint")]
    return Problem(words[0], line if isinstance(line, int) else 0, *words[1:])
