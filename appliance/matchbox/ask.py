"""What an external Matchbox answers for a machine, held against what the inventory says. Pure.

A script is compared by what iPXE would make of it: a file's relative and absolute URL are the same, as are
arguments in another order. Values that look like secrets are not repeated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urljoin

from appliance.matchbox.model import Boot
from appliance.matchbox.render import ipxe_script
from appliance.plain_text import safe_text

_NAMED: Final = 4  # differences of one machine that are told
_SECRET: Final = re.compile(r"pass|secret|token|key|cred", re.IGNORECASE)
_HTML: Final = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)


class FindingKind(StrEnum):
    """What is wrong, roughly: findings of a kind are counted together."""

    ENDPOINT = "endpoint"  # the endpoint as a whole answers, and wrongly
    DOWN = "down"  # the endpoint as a whole does not answer
    SILENT = "silent"  # no answer for this machine
    MISSING = "missing"  # no group, or no profile, for it
    STRANGE = "strange"  # no boot script, no Ignition
    SCRIPT = "script"  # it boots something else
    IGNITION = "ignition"  # it is configured otherwise


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one machine's answers, or (without a machine) with the endpoint."""

    kind: FindingKind
    machine: str
    message: str


@dataclass(frozen=True, slots=True)
class Script:
    """A boot script as iPXE reads it. `others` are lines that Matchbox writes in no script."""

    kernel: str
    args: tuple[str, ...]
    initrd: tuple[str, ...]
    others: tuple[str, ...] = ()


def parse_script(text: str) -> Script | None:
    """Read a boot script; None when it is none."""
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0].startswith("#!ipxe"):
        return None
    kernel = ""
    args: list[str] = []
    initrd: list[str] = []
    others: list[str] = []
    names: dict[str, str] = {}
    for line in lines[1:]:
        word, _, rest = line.partition(" ")
        name, parts = _without_options(rest.split())
        uri = parts[0] if parts else ""
        if word == "kernel":
            kernel, args = uri, parts[1:]
        elif word == "initrd":
            initrd.append(uri)
            names[name] = uri.rpartition("/")[2]
        elif word and word != "boot" and not word.startswith("#"):
            others.append(line)
    # An image that was given a name is found under it: initrd=main is the file's own name elsewhere.
    resolved = (f"initrd={names.get(a[7:], a[7:])}" if a.startswith("initrd=") and a[7:] else a for a in args)
    return Script(kernel, tuple(resolved), tuple(initrd), tuple(others))


def joined(base: str, uri: str) -> str:
    """A URI of a script as a whole URL; what is none (`http://[`) stays as it is written."""
    try:
        return urljoin(base, uri)
    except ValueError:
        return uri


def compare_script(expected: Boot, found: Script, base: str) -> tuple[str, ...]:
    """What is different, each as a phrase. `base` is the URL that the script came from."""
    wanted = parse_script(ipxe_script(expected))
    assert wanted is not None
    differences = []
    if joined(base, wanted.kernel) != joined(base, found.kernel):
        differences.append(f"the kernel is {_shown(found.kernel)}, not {_shown(wanted.kernel)}")
    differences += _compare_initrd(wanted, found, base)
    differences += _compare_args(wanted.args, found.args)
    if found.others:
        differences.append(f"it says more: {_shown(found.others[0])}")
    return tuple(differences)


def not_a_script(content_type: str, body: bytes) -> str:
    """What came instead of a boot script, as a phrase."""
    if _HTML.match(body):
        return "a web page: is there a proxy or a login in front of it?"
    if not body:
        return "nothing"
    kind = safe_text(content_type or "something", limit=60)
    first = body[:200].decode("utf-8", "replace").strip().partition("\n")[0]
    return f"{kind} that begins with {safe_text(first, limit=60)!r}"


def told(differences: Iterable[str]) -> str:
    """The first few of some phrases in one, and how many more there are."""
    every = tuple(differences)
    more = len(every) - _NAMED
    return "; ".join(every[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def summed_up(findings: Iterable[Finding], most: int) -> Iterator[str]:
    """The messages, at most so many of a kind; then how many more there are of it."""
    count: Counter[FindingKind] = Counter()
    for finding in findings:
        count[finding.kind] += 1
        if count[finding.kind] <= most:
            yield finding.message
    for kind, number in count.items():
        if number > most:
            yield f"the same ({kind.value}) for {number - most} more machines"


def _without_options(parts: list[str]) -> tuple[str, list[str]]:
    """The name that an image is given, and what follows iPXE's options."""
    name = ""
    while parts and parts[0].startswith("-"):
        option, _, value = parts[0].partition("=")
        parts = parts[1:]
        if option in {"--name", "-n", "--timeout", "-t"} and not value and parts:
            value, parts = parts[0], parts[1:]
        if option in {"--name", "-n"}:
            name = value
    return name, parts


def _compare_initrd(wanted: Script, found: Script, base: str) -> Iterator[str]:
    ours = [joined(base, uri) for uri in wanted.initrd]
    theirs = [joined(base, uri) for uri in found.initrd]
    if ours != theirs and Counter(ours) == Counter(theirs):
        yield "the initrds come in another order"
    for uri in wanted.initrd:
        if joined(base, uri) not in theirs:
            yield f"the initrd {_shown(uri)} is missing"
    for uri in found.initrd:
        if joined(base, uri) not in ours:
            yield f"the initrd {_shown(uri)} is not expected"


def _compare_args(wanted: tuple[str, ...], found: tuple[str, ...]) -> Iterator[str]:
    missing = list((Counter(wanted) - Counter(found)).elements())
    extra = list((Counter(found) - Counter(wanted)).elements())
    for argument in missing:
        key, equals, value = argument.partition("=")
        rival = next((one for one in extra if equals and one.startswith(f"{key}=")), None)
        if rival is None:
            yield f"the argument {_argument(argument)} is missing"
            continue
        extra.remove(rival)
        if _SECRET.search(key):
            yield f"the argument {_shown(key)} has another value"
        else:
            yield f"the argument {_shown(key)} is {_shown(rival.partition('=')[2])}, not {_shown(value)}"
    for argument in extra:
        yield f"the argument {_argument(argument)} is not expected"


def _argument(argument: str) -> str:
    key, equals, _ = argument.partition("=")
    return f"{_shown(key)}=…" if equals and _SECRET.search(key) else _shown(argument)


def _shown(text: str) -> str:
    return safe_text(text, limit=120) or "empty"
