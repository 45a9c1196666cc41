"""Every machine's final document, judged: by our own rules, and by `ignition-validate` where it is installed.

The program is Ignition's own. Which specs it knows depends on its release (Debian 12 has 2.14, which knows
3.0.0 to 3.3.0): what it does not know it is not asked, and the notes say so. What it warns of, Ignition would
silently drop; so whatever it says counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from appliance.errors import Problem, SurroundingsError
from appliance.inventory.model import Inventory
from appliance.matchbox.errors import Flaw, IgnitionError
from appliance.matchbox.ignition import judge
from appliance.matchbox.tool_messages import flaws_of
from appliance.settings import Settings
from appliance.sync.bases import Bases, Found, in_source, make_bases, problems_of
from appliance.sync.documents import FinalDocument, final_documents
from appliance.sync.ignition_tools import found, render_apart, translator, workers
from appliance.sync.remembered import Remembered
from appliance.system.command import run

PROGRAM: Final = "ignition-validate"
_LINES: Final = re.compile(r" \((?:first on )?line [0-9]+\)")
_SECONDS: Final = 10.0
_ABSENT: Final = (
    f"{PROGRAM} is not installed: what machines get as Ignition was judged by our own rules alone "
    "(apt install ignition)"
)


@dataclass(frozen=True, slots=True)
class Finished:
    """An operator's files, finished with the programs of this host; `notes` says which translated."""

    folder: str
    settings: Settings
    bases: Bases
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of it: what is wrong, and what is worth saying."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def finish_all(
    folder: str,
    settings: Settings,
    inventory: Inventory,
    files: Mapping[str, bytes],
    remembered: Remembered,
) -> Finished:
    """Render and translate an operator's files; `folder` is where they lie, for the problems."""
    translate, words = translator(remembered)
    bases = make_bases(folder, settings, inventory, files, render_apart, translate)
    notes = (f"Butane is translated by {words}",) if bases.variants else ()
    return Finished(folder, settings, bases, notes)


def judge_finals(finished: Finished, inventory: Inventory, remembered: Remembered) -> Judged:
    """Judge the final document of every machine.

    Args:
        finished: the operator's part, without problems.
        inventory: with what configures networks (see `with_netconf`).
        remembered: learns what was found good.
    """
    bases = finished.bases
    finals = tuple(final_documents(finished.settings, inventory, bases.files))
    wrong = _ours(finals)
    asked = [final for final in finals if not wrong.get(final.shape)]
    theirs, notes = _theirs(asked, remembered)
    found_flaws = [
        Found(final.key, final.machine, flaw)
        for final in finals
        for flaw in (*wrong.get(final.shape, ()), *theirs.get(_digest(final.text), ()))
    ]
    placed = [f for f in found_flaws if f.key]
    in_place = [Found(f.key, f.machine, flaw) for f in placed for flaw in in_source(bases, f.key, (f.flaw,))]
    problems = problems_of(finished.folder, bases, in_place, render_apart)
    origins = {str(machine.name): machine.origin for machine in inventory.machines}
    for one in found_flaws:
        if not one.key:
            origin = origins[one.machine]
            message = f"its Ignition would not be applied: {one.flaw.path} {one.flaw.message}"
            problems.append(Problem(origin.file, origin.line, "", message))
    return Judged(tuple(problems), notes)


def _ours(finals: Sequence[FinalDocument]) -> dict[tuple[bytes, frozenset[str]], tuple[Flaw, ...]]:
    """Our own verdict for every shape: one operator's document with additions of the same names."""
    wrong: dict[tuple[bytes, frozenset[str]], tuple[Flaw, ...]] = {}
    for final in finals:
        if final.shape in wrong:
            continue
        wrong[final.shape] = ()
        try:
            judge(final.text)
        except IgnitionError as error:
            wrong[final.shape] = tuple(_of_whole(flaw, final.text) for flaw in error.flaws)
    return wrong


def _of_whole(flaw: Flaw, document: bytes) -> Flaw:
    """A flaw of the whole alone: lines of what nobody wrote are no help, the name of the entry is."""
    entry: object = json.loads(document)
    for step in flaw.keys[:3]:
        if isinstance(entry, dict):
            entry = entry.get(str(step))
        elif isinstance(entry, list) and isinstance(step, int):
            entry = entry[step]
    name = entry.get("path") or entry.get("name") if isinstance(entry, dict) else None
    message = _LINES.sub("", flaw.message)
    return replace(flaw, message=f"with the appliance's part: {name or flaw.path} {message}")


def _theirs(
    finals: Sequence[FinalDocument], remembered: Remembered
) -> tuple[dict[str, tuple[Flaw, ...]], tuple[str, ...]]:
    """What ignition-validate says, by digest, and what it was not asked."""
    if not finals:
        return {}, ()
    program = found(PROGRAM)
    if program is None:
        return {}, (_ABSENT,)
    try:
        name = run([program, "-version"], timeout=_SECONDS).stdout.strip() or PROGRAM
        specs = {final.spec for final in finals}
        known = {spec for spec in specs if _knows(program, spec)}
    except SurroundingsError as error:
        return {}, (f"cannot ask {PROGRAM}: {error.message}",)
    documents = {_digest(f.text): f.text for f in finals if f.spec in known}
    asked = {digest: text for digest, text in documents.items() if not remembered.knows(name, text)}
    with ThreadPoolExecutor(workers()) as pool:
        answers = dict(zip(asked, pool.map(lambda text: _said(program, text), asked.values()), strict=True))
    for digest, flaws in answers.items():
        if not flaws:
            remembered.learn(name, asked[digest])
    return answers, tuple(_unknown_notes(name, finals, specs - known))


def _unknown_notes(name: str, finals: Sequence[FinalDocument], unknown: set[str]) -> Iterator[str]:
    for spec in sorted(unknown):
        machines = sum(1 for final in finals if final.spec == spec)
        whose = "1 machine" if machines == 1 else f"{machines} machines"
        yield (
            f"{PROGRAM} ({name}) does not know spec {spec}: the documents of {whose} were judged by our own "
            "rules alone"
        )


def _knows(program: str, spec: str) -> bool:
    probe = json.dumps({"ignition": {"version": spec}}).encode()
    return run([program, "-"], timeout=_SECONDS, input=probe, check=False).rc == 0


def _said(program: str, document: bytes) -> tuple[Flaw, ...]:
    try:
        done = run([program, "-"], timeout=_SECONDS, input=document, check=False)
    except SurroundingsError as error:
        return (Flaw(error.message),)
    said = f"{done.stdout}\n{done.stderr}".strip()
    if done.rc == 0 and not said:
        return ()
    # What it names are lines of the final document; the place in it leads to the operator's.
    return tuple(
        Flaw(f"{PROGRAM}: {flaw.message}", 0, flaw.path, flaw.hint, flaw.keys) for flaw in flaws_of(said)
    )


def _digest(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()
