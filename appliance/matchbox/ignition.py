"""What may be handed out as Ignition. Pure.

A raw configuration is passed on byte for byte, in whatever 2.x or 3.x spec it was written. Checked here is
what would certainly fail on the machine, or worse, be taken as an empty configuration (Matchbox 0.11 answers
broken files with an empty one and status 200), and, for the appliance's own files, what Ignition would drop
without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from appliance.matchbox import ignition_two
from appliance.matchbox.butane import relocated, translate_as_butane
from appliance.matchbox.errors import Flaw, IgnitionError
from appliance.matchbox.ignition_rules import rule_flaws
from appliance.matchbox.ignition_schema import NEWEST, shape_flaws
from appliance.matchbox.json_tree import JsonTree, read_json
from appliance.reading import shown

_VERSION: Final = re.compile(
    r"(?P<major>[23])\.(?P<minor>[0-9]{1,2})\.0(?P<experimental>-experimental)?", re.ASCII
)
_RAW_SUFFIXES: Final = (".ign", ".ignition")
_VERSION_HINT: Final = f"2.0.0 to 2.{ignition_two.NEWEST}.0 and 3.0.0 to 3.{NEWEST}.0 are known"


@dataclass(frozen=True, slots=True)
class Spec:
    """The version of the specification that a document is written in."""

    major: int
    minor: int
    experimental: bool = False

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.0" + ("-experimental" if self.experimental else "")


def is_raw(name: str) -> bool:
    """Whether Matchbox takes a file of this name for finished Ignition (the case of the letters counts)."""
    return name.endswith(_RAW_SUFFIXES)


def is_ignition(name: str) -> bool:
    """Whether a file of ignition.d/ holds Ignition; all else holds Butane."""
    return is_raw(name) or name.endswith(".json")


def finish(name: str, content: bytes) -> bytes:
    """The Ignition document that an operator's own file gives: raw Ignition as it is, all else as Butane.

    Raises:
        IgnitionError: with every flaw and its line; such a file must not reach a machine.
    """
    if is_ignition(name):
        judge(content)
        return content
    document = translate_as_butane(content)
    judge_translated(document, content)
    return document


def judge_translated(document: bytes, butane: bytes) -> None:
    """Judge what a Butane file became; the lines are those of the Butane file.

    Raises:
        IgnitionError: with all that is wrong.
    """
    try:
        judge(document)
    except IgnitionError as error:
        raise IgnitionError.of(relocated(error.flaws, butane)) from error


def judge(content: bytes) -> Spec:
    """Refuse what no Ignition would apply, and what it would silently drop; the version of what passes.

    Raises:
        IgnitionError: with all that is wrong.
    """
    spec, flaws = examine(content)
    if flaws:
        raise IgnitionError.of(flaws)
    return spec


def check_ignition(content: bytes) -> None:
    """Refuse what no Ignition would apply; a key too many is the operator's business, as with Matchbox.

    Raises:
        IgnitionError: with all that is wrong.
    """
    _, flaws = examine(content)
    fatal = tuple(flaw for flaw in flaws if flaw.fatal)
    if fatal:
        raise IgnitionError.of(fatal)


def examine(content: bytes) -> tuple[Spec, tuple[Flaw, ...]]:
    """The spec of a document, and everything that is wrong with it, in the order of its lines.

    Raises:
        IgnitionError: it is no JSON, or of no known spec, so that nothing else can be said.
    """
    _, tree = read_json(content)
    spec = spec_of(tree)
    return spec, tuple(sorted(_flaws(tree, spec), key=lambda flaw: flaw.line))


def spec_of(tree: JsonTree) -> Spec:
    """The version of a document.

    Raises:
        IgnitionError: there is none, or no Ignition knows it.
    """
    if not isinstance(tree.value, dict):
        raise IgnitionError("it is not a JSON object")
    ignition = tree.value.get("ignition")
    if ignition is not None and not isinstance(ignition, dict):
        raise IgnitionError.of((tree.flaw(("ignition",), "must be an object"),))
    version = (ignition or {}).get("version")
    keys = ("ignition", "version")
    if version is None:
        raise IgnitionError.of((tree.flaw(keys, "is missing", _VERSION_HINT),))
    found = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if found is None:
        message = f"{shown(version)} is no Ignition spec version: 2.x.0 or 3.x.0 is expected"
        raise IgnitionError.of((tree.flaw(keys, message, _VERSION_HINT),))
    spec = Spec(int(found["major"]), int(found["minor"]), found["experimental"] is not None)
    newest = NEWEST if spec.major == 3 else ignition_two.NEWEST
    if spec.minor > newest and not spec.experimental:
        raise IgnitionError.of((tree.flaw(keys, f"{version} is not known here", _VERSION_HINT),))
    return spec


def _flaws(tree: JsonTree, spec: Spec) -> Iterator[Flaw]:
    for keys, line in tree.twice:
        flaw = tree.flaw(keys, "is written twice; the last one would count", "keep one of the two")
        yield Flaw(flaw.message, line, flaw.path, flaw.hint, keys, fatal=False)
    if spec.major == 2:
        yield from ignition_two.flaws_of_two(tree)
        return
    wrong = tuple(shape_flaws(tree, spec.minor, unknown=not spec.experimental))
    yield from wrong
    if not any(flaw.fatal for flaw in wrong):
        yield from rule_flaws(tree, spec.minor)
