"""All that an operator wrote, looked at as a sync would, and nothing touched: what `check` answers.

Settings and inventory, the Ignition files that profiles name, the dnsmasq directives of the operator's own,
and a Matchbox data directory where one is served.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from appliance.dnsmasq.directives import not_allowed
from appliance.dnsmasq.process import DNSMASQ, check_syntax
from appliance.errors import Problem, SurroundingsError
from appliance.inventory.doubts import network_doubts
from appliance.inventory.load import Loaded, load_all, unreadable_hint
from appliance.inventory.model import Inventory
from appliance.matchbox.signing import (
    KeyringError,
    KeyringLocked,
    given_passphrase,
    load_key,
    open_to_all,
)
from appliance.matchbox.snapshot import install_hazards
from appliance.matchbox.store import DataDirectory
from appliance.paths import Paths
from appliance.settings import Push, Settings
from appliance.sync.bases import with_netconf
from appliance.sync.documents import UNRENDERED, own_entries, unrendered
from appliance.sync.readable import closed_to_the_daemon, operators_files
from appliance.sync.remembered import Remembered
from appliance.sync.validate import finish_all, judge_finals
from appliance.system.command import environment
from appliance.system.credentials import closed, given, only_for_the_service
from appliance.system.files import read_regular
from appliance.webhook_secret import LONGEST_FILE, SecretError, read_secret

EXTRA_LIMIT: Final = 2**20
IGNITION_LIMIT: Final = 8 * 2**20
# dnsmasq's own words for a mistake; the file may be one that the checked one includes.
_AT_LINE: Final = re.compile(r"(?P<what>.*?) at line (?P<line>[0-9]+) of (?P<file>.+)", re.DOTALL)
_NETCONF: Final = 'write netconf = "networkd", "networkmanager", or "none" if they are made elsewhere'
_MEND_EXTRA: Final = "mend or remove the line; dnsmasq(8) describes each directive"
_MEND_DATA: Final = "mend it: the machines that it is for are not served what you meant"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is, of what could be read."""

    machines: int = 0
    profiles: int = 0
    networks: int = 0
    notes: tuple[str, ...] = field(default=(), compare=False)  # worth knowing; nothing to mend


def examine(paths: Paths) -> tuple[list[Problem], list[Problem], Counts]:
    """Every problem (a sync would refuse), every warning (it would not), and how much there is.

    A keyring that cannot be used is a problem too, though a sync does not need it.

    Raises:
        SurroundingsError: a directory cannot be read, or dnsmasq does not come to an end.
    """
    loaded = load_all(paths)
    wrong, unmade, notes = _ignition(paths, loaded)
    closed = closed_to_the_daemon(paths, operators_files(paths, loaded.ignition))
    problems = [*loaded.problems, *wrong, *closed]
    warnings = unmade
    extra = extra_files(Path(paths.dnsmasq_extra))
    testable = shutil.which(DNSMASQ, path=environment()["PATH"]) is not None
    for path in extra:
        # A FIFO would keep dnsmasq waiting, and some directives are carried out when they are tested.
        problems += _text_problems(path) or (_syntax_problems(path) if testable else [])
    if extra and not testable:
        message = "is not checked: dnsmasq is not installed here"
        warnings.append(Problem(str(paths.dnsmasq_extra), 0, "", message, "apt install dnsmasq-base"))
    if loaded.settings is not None:
        judges = _matchbox, _keyring, _push, _webhooks
        for hazards, doubts in (judge(paths, loaded.settings) for judge in judges):
            problems += hazards
            warnings += doubts
        if loaded.inventory is not None:
            warnings += network_doubts(loaded.inventory, loaded.settings.networks)
    counts = Counts(
        len(loaded.inventory.machines) if loaded.inventory else 0,
        len(loaded.inventory.profiles) if loaded.inventory else 0,
        len(loaded.settings.networks) if loaded.settings else 0,
        notes,
    )
    return sorted(problems), sorted(warnings), counts


def _ignition(paths: Paths, loaded: Loaded) -> tuple[list[Problem], list[Problem], tuple[str, ...]]:
    """What is wrong with the Ignition that machines would be given, what of it nobody makes, and notes.

    A missing file is the inventory's. Without an inventory that can be used, templates are only read.
    """
    problems: list[Problem] = []
    files: dict[str, bytes] = {}
    for name in sorted(loaded.ignition):
        path = Path(paths.ignition / name)
        try:
            files[name] = read_regular(path, IGNITION_LIMIT)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(_unreadable(path, error))
    settings = loaded.settings or Settings(networks={})
    inventory = loaded.inventory or Inventory()
    remembered = Remembered(paths)
    finished = finish_all(str(paths.ignition), settings, inventory, files, remembered)
    problems += finished.bases.problems
    if problems or loaded.inventory is None:
        return problems, [], finished.notes
    told = with_netconf(inventory, finished.bases.variants)
    judged = judge_finals(finished, told, remembered)
    unmade = [
        Problem(origin.file, origin.line, f"profile.{name}", UNRENDERED, _NETCONF)
        for name in unrendered(told)
        for origin in (told.profiles[name].origin,)
    ]
    kept = own_entries(settings, told, finished.bases.files)
    return list(judged.problems), unmade, (*kept, *finished.notes, *judged.notes)


def extra_files(directory: Path) -> list[Path]:
    """The files of dnsmasq.d/ that a sync takes."""
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SurroundingsError(f"cannot read {directory}: {error.strerror}") from error
    return [e for e in entries if e.name.endswith(".conf") and not e.name.startswith(".") and not e.is_dir()]


def _text_problems(path: Path) -> list[Problem]:
    try:
        content = read_regular(path, EXTRA_LIMIT)
        content.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return [Problem(str(path), line, "", "is not text in UTF-8", "save it as UTF-8")]
    except (OSError, ValueError) as error:
        return [_unreadable(path, error)]
    return not_allowed(str(path), content)


def _syntax_problems(path: Path) -> list[Problem]:
    """What dnsmasq says of a file whose directives may all reach it."""
    said = check_syntax(path).removeprefix("dnsmasq: ")
    if not said:
        return []
    found = _AT_LINE.fullmatch(said)
    file, line, what = (found["file"], int(found["line"]), found["what"]) if found else (str(path), 1, said)
    return [Problem(file, line, "", f"dnsmasq refuses it: {what}", _MEND_EXTRA)]


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


def _keyring(paths: Paths, settings: Settings) -> tuple[list[Problem], list[Problem]]:
    """What keeps our endpoint from signing, and what could not be tried or should not be."""
    if not settings.matchbox.builtin or not settings.matchbox.keyring:
        return [], []
    file = given(Path(paths.keyring(settings.matchbox.keyring)), Path(paths.secrets))
    if only_for_the_service(file, Path(paths.secrets)):
        return [], [_kept_from_us(file)]
    doubts = []
    if open_to_all(file) and not closed(file, Path(paths.secrets)):
        message = "can be read by every user of this host, and is a secret key"
        doubts.append(Problem(str(file), 0, "", message, "chown root:pxe-appliance, chmod 640"))
    try:
        load_key(file, given_passphrase(os.environ))
    except KeyringLocked as error:
        # The service may have been given what whoever runs this has not.
        doubts.append(Problem(str(file), 0, "", f"is not checked: it {error.message}", error.hint))
    except KeyringError as error:
        return [Problem(str(file), 0, "", error.message, error.hint)], doubts
    return [], doubts


def _push(paths: Paths, settings: Settings) -> tuple[list[Problem], list[Problem]]:
    """What a push to an external Matchbox needs on this host, and what of it others can read."""
    matchbox = settings.matchbox
    if matchbox.push is Push.DIRECTORY:
        directory = Path(paths.settle(matchbox.data))
        if directory.is_dir():
            return [], []
        hint = "mount or make it, or mend [matchbox] data"
        return [Problem(str(directory), 0, "", "is no directory, and is to be pushed to", hint)], []
    if matchbox.push is not Push.GRPC:
        return [], []
    problems, doubts = [], []
    for name, raw in (("ca", matchbox.ca), ("cert", matchbox.cert), ("key", matchbox.key)):
        file = given(Path(paths.in_keys(raw)), Path(paths.secrets))
        if only_for_the_service(file, Path(paths.secrets)):
            doubts.append(_kept_from_us(file))
            continue
        try:
            read_regular(file, EXTRA_LIMIT)
        except FileNotFoundError:
            hint = f"put it there, or name another one: [matchbox] {name}"
            problems.append(Problem(str(file), 0, "", 'does not exist, and push = "grpc" needs it', hint))
        except (OSError, ValueError) as error:
            problems.append(_unreadable(file, error))
        else:
            if name == "key" and open_to_all(file) and not closed(file, Path(paths.secrets)):
                message = "can be read by every user of this host, and is a secret key"
                doubts.append(Problem(str(file), 0, "", message, "chown root:pxe-appliance, chmod 640"))
    return problems, doubts


def _webhooks(paths: Paths, settings: Settings) -> tuple[list[Problem], list[Problem]]:
    """What would keep deliveries from being signed; boots do not need them."""
    doubts = []
    for name, hook in settings.webhooks.items():
        file = given(Path(paths.in_secrets(hook.secret)), Path(paths.secrets))
        make = f"openssl rand -hex 32 > {file}"
        if only_for_the_service(file, Path(paths.secrets)):
            doubts.append(_kept_from_us(file))
            continue
        try:
            read_secret(read_regular(file, LONGEST_FILE))
        except FileNotFoundError:
            message = f"does not exist, and webhook {name} signs with it"
            doubts.append(Problem(str(file), 0, "", message, make))
        except SecretError as error:
            doubts.append(Problem(str(file), 0, "", f"is no secret: {error}", make))
        except (OSError, ValueError) as error:
            doubts.append(_unreadable(file, error))
        else:
            if open_to_all(file) and not closed(file, Path(paths.secrets)):
                message = "can be read by every user of this host, and is a secret"
                doubts.append(Problem(str(file), 0, "", message, "chown root:pxe-appliance, chmod 640"))
    return [], doubts


def _kept_from_us(file: Path) -> Problem:
    """The service gets it from systemd; whoever else may run a check learns nothing of it."""
    return Problem(
        str(file), 0, "", "is not looked at: only root and the service may read it", "run it as root"
    )


def _placed(directory: Path, problem: Problem) -> Problem:
    """The store names files as Matchbox does, from the data directory on."""
    return replace(problem, file=str(directory / problem.file), hint=problem.hint or _MEND_DATA)


def _unreadable(path: Path, error: OSError | ValueError) -> Problem:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return Problem(str(path), 0, "", f"cannot be read: {why}", unreadable_hint(error))
