"""The boot board, decided once for the page and for the terminal: order, cells, words. Pure.

A row of the board is the public row of `machines` with what is drawn of it; whoever shows it decides nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from appliance.boot.ladder import RUNGS

RUNG_NAMES: Final = tuple(rung.value for rung in RUNGS)
_HEIGHT: Final = {name: n for n, name in enumerate(RUNG_NAMES)}
_DIGITS: Final = re.compile(r"[0-9]+")
_CLAUSE_ENDS: Final = re.compile(r": |; | \(")
HEADLINE: Final = 90  # characters that stand in two lines of a heading at 1280 pixels
_DETAIL: Final = 160
_SHORTEST: Final = 12  # characters below which a first clause says too little
_COPIED: Final = (
    "name", "ip", "macs", "network", "profile", "rung", "rung_at", "expected", "deadline", "image",
)  # fmt: skip


class Cell(StrEnum):
    """One rung of one machine. The letters travel to the page."""

    REACHED = "r"
    CURRENT = "c"  # it stands here, and is in time
    FAILED = "f"  # it stands here, and does not go on
    EXPECTED = "e"  # what should come next
    SKIPPED = "s"  # it went on without this one: HTTP boot needs no TFTP, a kernel no initrd
    AHEAD = "-"


class Mood(StrEnum):
    """How a machine stands, in the order of the board: what needs a person comes first."""

    STUCK = "stuck"
    HELD = "held"
    NOTED = "noted"  # it boots or has booted, and something about it is odd
    BOOTING = "booting"
    BOOTED = "booted"
    IDLE = "idle"


_RANKS: Final = {mood: rank for rank, mood in enumerate(Mood)}
REASONED: Final = frozenset({Mood.STUCK, Mood.HELD, Mood.NOTED})  # these are shown with a reason


@dataclass(frozen=True, slots=True)
class Health:
    """The line above everything: `level` is well, empty, warning or error; all but the sentence may be empty.

    `whole` is what the sentence or the detail was cut from, `causes` how many machines are stuck for which
    reason, most first.
    """

    level: str
    sentence: str
    detail: str = ""
    fix: str = ""
    whole: str = ""
    causes: tuple[tuple[str, int], ...] = ()

    def as_json(self) -> dict[str, object]:
        """As it travels to the page."""
        return {
            "level": self.level,
            "sentence": self.sentence,
            "detail": self.detail,
            "fix": self.fix,
            "whole": self.whole,
            "causes": [{"id": reason, "count": count} for reason, count in self.causes],
        }


def board_row(
    machine: Mapping[str, object],
    reached: Collection[str] = (),
    *,
    to_disk: bool = False,
    lease: str | None = None,
    place: str = "",
) -> dict[str, object]:
    """A row of `machines` as the board shows it; what is empty is left out.

    `reached` names the rungs of this boot, `lease` is when its lease ends (RFC 3339), `place` the switch port
    that it was seen at. No text in it depends on the moment: the row is the same until something happens.
    """
    verdict = machine.get("verdict")
    mood = mood_of(machine)
    row: dict[str, object] = {key: machine.get(key) for key in _COPIED}
    row |= {
        "mood": mood.value,
        "policy": _below(machine, "boot", "policy"),
        "life": machine.get("lifecycle"),
        "verdict": verdict if isinstance(verdict, Mapping) else None,
        "cells": cells(machine, reached),
        "says": words(machine, to_disk=to_disk),
        "key": sort_key(machine),
        "lease": lease,
        "place": place,
    }
    return {key: value for key, value in row.items() if value not in (None, "", [])}


def mood_of(machine: Mapping[str, object]) -> Mood:
    """How a machine of `machines` stands."""
    state = str(_below(machine, "boot", "state") or "idle")
    if machine.get("lifecycle") == "held":
        return Mood.HELD
    if state == "stuck":
        return Mood.STUCK
    if machine.get("verdict"):
        return Mood.NOTED
    return Mood(state) if state in {"booting", "booted"} else Mood.IDLE


def cause_of(row: Mapping[str, object]) -> str:
    """The id of the reason why a row of the board is stuck; empty when it is not, or for no known one."""
    return str(_below(row, "verdict", "id") or "") if row.get("mood") == Mood.STUCK else ""


def cells(machine: Mapping[str, object], reached: Collection[str] = ()) -> str:
    """A letter for each rung, in order. Without `reached`, every rung below the current one counts."""
    rung, state = machine.get("rung"), _below(machine, "boot", "state")
    at = _HEIGHT.get(str(rung), -1)
    expected = _HEIGHT.get(str(machine.get("expected")), at + 1)
    letters = []
    for height, name in enumerate(RUNG_NAMES):
        if height < at:
            letters.append(Cell.REACHED if not reached or name in reached else Cell.SKIPPED)
        elif height == at:
            letters.append(_current(state))
        elif height == expected and at >= 0 and state in {"booting", "stuck"}:
            letters.append(Cell.EXPECTED)
        else:
            letters.append(Cell.AHEAD)
    return "".join(letters)


def words(machine: Mapping[str, object], *, to_disk: bool = False) -> str:
    """What a person would say of a machine's boot, without how long."""
    message = _below(machine, "verdict", "message")
    if message:
        return str(message)
    rung = machine.get("rung")
    match _below(machine, "boot", "state"):
        case "booting":
            following = machine.get("expected") or _after(str(rung))
            return f"on {rung}, {following} comes next" if following else f"on {rung}"
        case "booted":
            return "boots from its disk" if to_disk else "up"
        case "stuck":
            return f"does not go on from {rung}"
        case _:
            return "has not asked yet"


def sort_key(machine: Mapping[str, object]) -> str:
    """Text by which rows are in the board's order: the moods' order, then names as people count them."""
    return f"{_RANKS[mood_of(machine)]}{natural(str(machine.get('name', '')))}"


def natural(name: str) -> str:
    """Text that puts node2 before node10: each number gets its length in front."""
    return _DIGITS.sub(_counted, name.lower())


def health(
    status: Mapping[str, object],
    moods: Mapping[str, int],
    worst: Mapping[str, object] | None = None,
    causes: Iterable[str] = (),
) -> Health:
    """The line about everything, from `status`, how many machines stand how, and the board's first row.

    `causes` is the id of the reason of each machine that is stuck. An error comes before a stuck machine, a
    stuck machine before a warning.
    """
    counted = sorted(Counter(filter(None, causes)).items(), key=lambda pair: (-pair[1], pair[0]))
    # Of many that are stuck, the first is in the board's first row; the line is about all of them.
    single = worst if sum(number for _, number in counted) < 2 else None
    return replace(_line(status, moods, single), causes=tuple(counted))


def _line(
    status: Mapping[str, object], moods: Mapping[str, int], worst: Mapping[str, object] | None
) -> Health:
    problems = [p for p in _list(status.get("problems")) if isinstance(p, Mapping)]
    errors = [p for p in problems if p.get("severity") == "error"]
    if errors:
        stuck = _stuck_words(moods) if moods.get(Mood.STUCK) else ""
        return _problem_line("error", errors, len(problems) - 1, stuck)
    if moods.get(Mood.STUCK):
        return _stuck_line(moods, worst)
    waits = _below(status, "dnsmasq", "state")
    if waits not in {"serving", None}:
        sentence = f"dnsmasq is {waits}: nobody gets an address yet"
        return Health("warning", sentence, fix="pxe-appliance events")
    if problems:
        return _problem_line("warning", problems, len(problems) - 1)
    if not any(moods.values()):
        return _first_steps(status)
    return Health("well", f"All well: {census(moods)}")


def headline(message: str, longest: int = HEADLINE) -> str:
    """The beginning of a message that can stand alone: whole clauses, at most so many characters.

    A message's clauses go from what is wrong to how it was found out: the first ones are enough for a line.
    """
    if len(message) <= longest:
        return message
    ends = [found.start() for found in _CLAUSE_ENDS.finditer(message[: longest + 1])]
    if ends and ends[-1] >= _SHORTEST:
        return message[: ends[-1]]
    return f"{message[: longest - 1].rsplit(' ', 1)[0]}…"


def census(moods: Mapping[str, int]) -> str:
    """How many machines there are, and how they stand, in words."""
    named = ((word, moods.get(word, 0)) for word in (Mood.BOOTED, Mood.BOOTING, Mood.HELD, Mood.IDLE))
    counted = [f"{number} {word}" for word, number in named if number]
    return ", ".join([_machines(sum(moods.values())), *counted])


def moods_of(keys: Iterable[str]) -> dict[str, int]:
    """How many rows stand how, by their sort keys."""
    counts = Counter(key[0] for key in keys)
    return {mood.value: counts[str(rank)] for mood, rank in _RANKS.items()}


def _first_steps(status: Mapping[str, object]) -> Health:
    asking = status.get("strays")
    who = f"{asking} that ask are listed under Strays, ready to adopt" if asking else ""
    advice = "Put the first ones into inventory.d/, then sync"
    return Health("empty", "No machines yet", f"{advice}; {who}" if who else advice, "pxe-appliance sync")


def _stuck_words(moods: Mapping[str, int]) -> str:
    stuck = moods.get(Mood.STUCK, 0)
    return f"{stuck} of {_machines(sum(moods.values()))} {'is' if stuck == 1 else 'are'} stuck"


def _stuck_line(moods: Mapping[str, int], worst: Mapping[str, object] | None) -> Health:
    sentence = _stuck_words(moods)
    if worst is None:
        return Health("error", sentence)
    name, says = str(worst.get("name")), str(worst.get("says"))
    named = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", says)
    whole = says if named else f"{name}: {says}"
    detail = headline(whole, _DETAIL)
    fix = str(_below(worst, "verdict", "remedy") or "")
    return Health("error", sentence, detail, fix, whole if detail != whole else "")


def _problem_line(
    level: str, problems: Sequence[Mapping[str, object]], others: int, stuck: str = ""
) -> Health:
    message = str(problems[0].get("message", ""))
    whole = f"{message[:1].upper()}{message[1:]}"
    sentence = headline(whole)
    more = f"{others} more problem{'s' if others > 1 else ''}" if others > 0 else ""
    rest = " and ".join(filter(None, (more, stuck)))
    fix = str(problems[0].get("fix") or "")
    return Health(level, sentence, f"and {rest}" if rest else "", fix, whole if sentence != whole else "")


def _machines(number: int) -> str:
    return f"{number} machine" if number == 1 else f"{number} machines"


def _current(state: object) -> Cell:
    return Cell.FAILED if state == "stuck" else Cell.CURRENT if state == "booting" else Cell.REACHED


def _after(rung: str) -> str:
    height = _HEIGHT.get(rung, len(RUNG_NAMES)) + 1
    return RUNG_NAMES[height] if height < len(RUNG_NAMES) else ""


def _counted(found: re.Match[str]) -> str:
    digits = found[0].lstrip("0") or "0"
    return f"{len(digits):02d}{digits}"


def _below(facts: Mapping[str, object], table: str, key: str) -> object:
    inner = facts.get(table)
    return inner.get(key) if isinstance(inner, Mapping) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
