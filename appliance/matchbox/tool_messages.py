"""What the butane program and ignition-validate say of a file, as flaws with their places. Pure.

Both name the place in the document as `$.storage.files.0.path`. Butane draws the line since version 0.26 and
names it in words before; YAML's own errors know the line only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from appliance.matchbox.errors import Flaw, Keys
from appliance.reading import dotted

_MOST: Final = 50  # flaws of one file
_HEAD: Final = re.compile(r"(?:error|warning|info)(?:\[(?P<place>\$[^\]]*)\])?:")
_ARROW: Final = re.compile(r"\s+--> .*:(?P<line>[0-9]+):[0-9]+")
_UNDERLINE: Final = re.compile(r"\s+\| +\^+ (?P<what>.+)")
_IN_WORDS: Final = re.compile(
    r"(?:error|warning|info)(?: at (?P<place>\$[^,:]*)(?:, line (?P<line>[0-9]+) col [0-9]+)?)?: (?P<what>.+)"
)
_YAML: Final = re.compile(r"(?:.*yaml: |\s+)line (?P<line>[0-9]+): (?P<what>.+)")
_LAST: Final = re.compile(r"(?:Error translating config|couldn't parse config): (?P<what>.+)")
_DIGITS: Final = 9  # of a place in a list
_CONCLUSIONS: Final = (
    "source config is invalid", "config generated was invalid", "yaml: unmarshal errors",
    "config is not valid",
)  # fmt: skip


def flaws_of(said: str) -> tuple[Flaw, ...]:
    """Everything that the program complains of; its last words where nothing has a place."""
    found = tuple(_placed(said))
    if found:
        return found[:_MOST]
    words = [m["what"] for line in said.splitlines() if (m := _LAST.match(line))]
    rest = [line.strip() for line in said.splitlines() if line.strip()]
    return (Flaw((words or rest or ["it was refused without a word"])[-1][:400]),)


def _placed(said: str) -> Iterator[Flaw]:
    keys: Keys = ()
    line = 0
    for text in said.splitlines():
        if (words := _IN_WORDS.fullmatch(text)) and not any(c in words["what"] for c in _CONCLUSIONS):
            keys = keys_of(words["place"] or "")
            yield Flaw(words["what"], int(words["line"] or 0), dotted(keys), keys=keys)
        elif head := _HEAD.fullmatch(text):
            keys = keys_of(head["place"] or "")
        elif arrow := _ARROW.fullmatch(text):
            line = int(arrow["line"])
        elif underlined := _UNDERLINE.fullmatch(text):
            yield Flaw(underlined["what"], line, dotted(keys), keys=keys)
        elif yaml := _YAML.fullmatch(text):
            yield Flaw(f"not YAML: {yaml['what']}", int(yaml["line"]))


def keys_of(place: str) -> Keys:
    """`$.storage.files.0.path` as steps."""
    steps = place.removeprefix("$").lstrip(".").split(".")
    return tuple(int(step) if step.isdecimal() and len(step) <= _DIGITS else step for step in steps if step)
