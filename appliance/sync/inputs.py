"""All that an operator wrote, looked at as a sync would, and nothing touched: what `check` answers.

Settings and inventory, the Ignition files that profiles name, the dnsmasq directives of the operator's own,
and a Matchbox data directory where one is served.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from appliance.dnsmasq.process import DNSMASQ, check_syntax
from appliance.errors import Problem, SurroundingsError
from appliance.inventory.load import load_all
from appliance.matchbox.errors import IgnitionError
from appliance.matchbox.ignition import finish
from appliance.matchbox.snapshot import install_hazards
from appliance.matchbox.store import DataDirectory
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.system.command import environment
from appliance.system.files import read_regular

EXTRA_LIMIT: Final = 2**20
IGNITION_LIMIT: Final = 8 * 2**20
# dnsmasq's own words for a mistake; the file may be one that the checked one includes.
_AT_LINE: Final = re.compile(r"(?P<what>.*?) at line (?P<line>[0-9]+) of (?P<file>.+)", re.DOTALL)
_MEND_IGNITION: Final = "mend it: a machine that was given this would not come up"
_MEND_EXTRA: Final = "mend or remove the line; dnsmasq(8) describes each directive"
_MEND_DATA: Final = "mend it: the machines that it is for are not served what you meant"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is, of what could be read."""

    machines: int = 0
    profiles: int = 0
    networks: int = 0


def examine(paths: Paths) -> tuple[list[Problem], list[Problem], Counts]:
    """Every problem (a sync would refuse), every warning (it would not), and how much there is.

    Raises:
        SurroundingsError: a directory cannot be read, or dnsmasq does not come to an end.
    """
    loaded = load_all(paths)
    problems = [*loaded.problems, *_ignition(Path(paths.ignition), loaded.ignition)]
    warnings: list[Problem] = []
    extra = extra_files(Path(paths.dnsmasq_extra))
    testable = shutil.which(DNSMASQ, path=environment()["PATH"]) is not None
    for path in extra:
        # A file that cannot be read, such as a FIFO, would keep dnsmasq waiting.
        problem = _text_problem(path) or (_syntax_problem(path) if testable else None)
        problems += [problem] if problem else []
    if extra and not testable:
        message = "is not checked: dnsmasq is not installed here"
        warnings.append(Problem(str(paths.dnsmasq_extra), 0, "", message, "apt install dnsmasq-base"))
    if loaded.settings is not None:
        hazards, doubts = _matchbox(paths, loaded.settings)
        problems += hazards
        warnings += doubts
    counts = Counts(
        len(loaded.inventory.machines) if loaded.inventory else 0,
        len(loaded.inventory.profiles) if loaded.inventory else 0,
        len(loaded.settings.networks) if loaded.settings else 0,
    )
    return sorted(problems), sorted(warnings), counts


def _ignition(directory: Path, names: Iterable[str]) -> Iterator[Problem]:
    """What is wrong with the Ignition that machines would be given; a missing file is the inventory's."""
    for name in sorted(names):
        path = directory / name
        try:
            finish(name, read_regular(path, IGNITION_LIMIT))
        except FileNotFoundError:
            continue
        except IgnitionError as error:
            hint = error.hint or _MEND_IGNITION
            yield Problem(str(path), max(1, error.line), error.path, error.message, hint)
        except (OSError, ValueError) as error:
            yield _unreadable(path, error)


def extra_files(directory: Path) -> list[Path]:
    """The files of dnsmasq.d/ that a sync takes."""
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SurroundingsError(f"cannot read {directory}: {error.strerror}") from error
    return [e for e in entries if e.name.endswith(".conf") and not e.name.startswith(".") and not e.is_dir()]


def _text_problem(path: Path) -> Problem | None:
    try:
        content = read_regular(path, EXTRA_LIMIT)
        content.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(str(path), line, "", "is not text in UTF-8", "save it as UTF-8")
    except (OSError, ValueError) as error:
        return _unreadable(path, error)
    return None


def _syntax_problem(path: Path) -> Problem | None:
    said = check_syntax(path).removeprefix("dnsmasq: ")
    if not said:
        return None
    found = _AT_LINE.fullmatch(said)
    file, line, what = (found["file"], int(found["line"]), found["what"]) if found else (str(path), 1, said)
    return Problem(file, line, "", f"dnsmasq refuses it: {what}", _MEND_EXTRA)


def _matchbox(paths: Paths, settings: Settings) -> tuple[list[Problem], list[Problem]]:
    """Hazards and doubts of the operator's own Matchbox data, where our endpoint serves it."""
    if not settings.matchbox.builtin:
        return [], []
    directory = Path(paths.settle(settings.matchbox.data))
    snapshot = DataDirectory(directory).refresh()
    hazards = set(install_hazards(snapshot))
    return (
        [_placed(directory, hazard) for hazard in hazards],
        [_placed(directory, problem) for problem in snapshot.problems if problem not in hazards],
    )


def _placed(directory: Path, problem: Problem) -> Problem:
    """The store names files as Matchbox does, from the data directory on."""
    return replace(problem, file=str(directory / problem.file), hint=problem.hint or _MEND_DATA)


def _unreadable(path: Path, error: OSError | ValueError) -> Problem:
    why = error.strerror if isinstance(error, OSError) else str(error)
    hint = "it has to be a regular file, not too large, that this user may read"
    return Problem(str(path), 0, "", f"cannot be read: {why}", hint)
