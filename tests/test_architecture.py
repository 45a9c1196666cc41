"""The house rules as data: direction between rooms, purity, cycles, file length, words that are not ours."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "appliance"
LONGEST = 400

# A room may import rooms of lower levels, and itself; rooms of one level do not know each other.
LEVELS = {
    "ground": 1,
    "boot": 2,
    "system": 2,
    "inventory": 3,
    "matchbox": 3,
    "images": 3,
    "dnsmasq": 4,
    "sync": 5,
    "daemon": 6,
    "doctor": 6,
    "service": 6,
    "cli": 7,
    "lab": 7,
}
# The command line wires everything up, the lab among it.
EXCEPTIONS = {("cli", "lab")}

# Files that touch the world. Every other one is pure: it must not import what is below.
WORLDLY_ROOMS = {"system", "lab", "cli"}
WORLDLY_FILES = {
    "images/bundle.py",
    "images/carried.py",
    "images/change.py",
    "images/fetch.py",
    "images/health.py",
    "images/intake.py",
    "images/keys.py",
    "images/obtain.py",
    "images/openpgp.py",
    "images/openpgp_child.py",
    "images/publish.py",
    "images/reach.py",
    "images/run.py",
    "images/seals.py",
    "images/store.py",
    "images/unpack.py",
    "inventory/amend.py",
    "inventory/load.py",
    "matchbox/asking.py",
    "matchbox/assets.py",
    "matchbox/external.py",
    "matchbox/jail.py",
    "matchbox/methods.py",
    "matchbox/push_directory.py",
    "matchbox/push_grpc.py",
    "matchbox/push_tls.py",
    "matchbox/sending.py",
    "matchbox/server.py",
    "matchbox/signing.py",
    "matchbox/store.py",
    "dnsmasq/hear.py",
    "dnsmasq/process.py",
    "dnsmasq/speak.py",
    "dnsmasq/tftp.py",
    "dnsmasq/trial.py",
    "sync/apply.py",
    "sync/asked.py",
    "sync/back.py",
    "sync/check.py",
    "sync/confirm.py",
    "sync/generations.py",
    "sync/ignition_tools.py",
    "sync/inputs.py",
    "sync/publish.py",
    "sync/readable.py",
    "sync/remembered.py",
    "sync/run.py",
    "sync/template_child.py",
    "sync/validate.py",
    "daemon/activate.py",
    "daemon/adopt.py",
    "daemon/arming.py",
    "daemon/changes.py",
    "daemon/children.py",
    "daemon/control.py",
    "daemon/control_telling.py",
    "daemon/control_strays.py",
    "daemon/control_body.py",
    "daemon/desk.py",
    "daemon/ear.py",
    "daemon/first_look.py",
    "daemon/feed.py",
    "daemon/follow.py",
    "daemon/footing.py",
    "daemon/history.py",
    "daemon/handoff.py",
    "daemon/images.py",
    "daemon/kept_documents.py",
    "daemon/keyring.py",
    "daemon/keeper.py",
    "daemon/logs.py",
    "daemon/observer.py",
    "daemon/gate.py",
    "daemon/guard.py",
    "daemon/control_door.py",
    "daemon/door.py",
    "daemon/claims.py",
    "daemon/hanging.py",
    "daemon/only_one.py",
    "daemon/stand_in.py",
    "daemon/guests.py",
    "daemon/readiness.py",
    "daemon/running.py",
    "daemon/takeover.py",
    "daemon/tasks.py",
    "daemon/tftp_root.py",
    "daemon/turns.py",
    "daemon/unapplied.py",
    "daemon/unconfirmed.py",
    "daemon/lookout.py",
    "daemon/page.py",
    "daemon/past_generations.py",
    "daemon/passes.py",
    "daemon/premises.py",
    "daemon/prove.py",
    "daemon/prove_change.py",
    "daemon/prove_dhcp.py",
    "daemon/prove_door.py",
    "daemon/prove_fetch.py",
    "daemon/pulse.py",
    "daemon/question.py",
    "daemon/recorder.py",
    "daemon/run.py",
    "daemon/served_lately.py",
    "daemon/web.py",
    "doctor/examine.py",
    "doctor/look_boot_files.py",
    "doctor/look_daemon.py",
    "doctor/look_files.py",
    "doctor/look_firewall.py",
    "doctor/look_host.py",
    "doctor/look_images.py",
    "doctor/look_links.py",
    "doctor/look_packages.py",
    "doctor/look_sockets.py",
    "doctor/look_sources.py",
    "doctor/look_unit.py",
    "doctor/look_wire.py",
    "doctor/reach.py",
    "service/apply.py",
    "service/look.py",
    "daemon/measured.py",
    "daemon/webhook_sending.py",
    "daemon/webhooks.py",
}
IMPURE = {
    "aiohttp", "asyncio", "fcntl", "grpc", "http", "logging", "os", "pathlib", "psutil", "random", "resource",
    "rich",
    "secrets", "select", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile",
    "threading", "time", "typer",
}  # fmt: skip
PURE = {"pathlib.PurePosixPath"}  # joins names, opens nothing
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common", "misc.py"}


@dataclass(frozen=True)
class Module:
    """One file of the package, read once."""

    path: Path
    name: str
    room: str
    text: str
    tree: ast.Module

    @property
    def place(self) -> str:
        return str(self.path.relative_to(PACKAGE))


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        room = relative.parts[0] if len(relative.parts) > 1 else "ground"
        name = ".".join(["appliance", *relative.with_suffix("").parts]).removesuffix(".__init__")
        text = path.read_text()
        found.append(Module(path, name, room, text, ast.parse(text)))
    return tuple(found)


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """Full names that a module imports anywhere, with the line."""
    known = {m.name for m in modules()}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in known or whole in PURE else node.module), node.lineno


def room_of(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "appliance":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LEVELS else "ground"


def test_every_room_is_on_the_drawing() -> None:
    assert {m.room for m in modules()} <= set(LEVELS)


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.place)
def test_arrows_point_left(module: Module) -> None:
    for name, line in imports(module):
        room = room_of(name)
        if room is None or room == module.room or (module.room, room) in EXCEPTIONS:
            continue
        assert LEVELS[room] < LEVELS[module.room], f"{module.place}:{line} imports {name}"


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.place)
def test_pure_files_do_not_touch_the_world(module: Module) -> None:
    if module.room in WORLDLY_ROOMS or module.place in WORLDLY_FILES:
        return
    for name, line in imports(module):
        top = name.split(".")[0]
        if name in PURE:
            continue
        assert top not in IMPURE, f"{module.place}:{line} imports {name}"
        assert top != "jinja2" or module.place in {"dnsmasq/render.py", "sync/template.py"}


def test_the_list_of_worldly_files_is_exact() -> None:
    assert {m.place for m in modules()} >= WORLDLY_FILES


def test_no_import_cycles() -> None:
    graph = {
        m.name: {n for n, _ in imports(m) if n.startswith("appliance.") and n != m.name} for m in modules()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for target in sorted(graph.get(name, ())):
            visit(target, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.place)
def test_files_are_short_and_say_what_they_are(module: Module) -> None:
    assert module.text.count("\n") <= LONGEST
    assert module.path.name not in FORBIDDEN_NAMES
    assert ast.get_docstring(module.tree), "a file begins with its charter"


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.place)
def test_functions_are_short_and_public_ones_documented(module: Module) -> None:
    protocols = {
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(b).startswith("Protocol") for b in node.bases)
    }
    inside_protocols = {child for node in protocols for child in ast.walk(node)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{module.place}:{node.lineno} {node.name} has {length} lines"
    for node in module.tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node not in inside_protocols
        ):
            public = not node.name.startswith("_")
            assert not public or ast.get_docstring(node), f"{module.place}:{node.lineno} {node.name}"


def test_broad_excepts_stand_at_the_two_borders_only() -> None:
    broad = [
        f"{m.place}"
        for m in modules()
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) == "Exception")
    ]
    assert set(broad) <= {"cli/main.py", "daemon/run.py"}, broad


def test_no_globals_no_shell_no_mocks() -> None:
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]:
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.Global), where
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(where)
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "unittest" not in ast.unparse(node), where


def test_the_tree_names_no_download_host_and_no_machine() -> None:
    """Lock files that record where packages came from, and paths of somebody's machine, do not travel."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    words = (b"pypi" + b".org", b"pythonhosted" + b".org", b"index" + b"-url =", b"/ro" + b"ot/")
    for raw in listed.split(b"\0"):
        path = ROOT / raw.decode()
        if raw and path.is_file() and path.suffix not in {".bin", ".tar"}:
            content = path.read_bytes()
            for word in words:
                assert word not in content, f"{path}: {word.decode()}"
