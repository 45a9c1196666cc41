"""Files that are rewritten in place while they are read: never a wrong group, never half a document.

Matchbox sent one request in four to the default group meanwhile (measured under constant GroupPut).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.matchbox.answer import World, answer
from appliance.matchbox.labels import parse_query
from appliance.matchbox.request import RequestKind
from appliance.matchbox.snapshot import Snapshot
from appliance.matchbox.store import DataDirectory
from tests.fakes.matchbox_endpoint import ask, serving

HERE = Path(__file__).parents[3]
SECONDS = 5.0
DEADLINE = 20.0
QUERY = "mac=52:54:00:aa:00:01"
VERSIONS = ("one", "two")


def texts(name: str, version: str) -> str:
    """What `name` holds in a version; long enough for many pages."""
    lines = "".join(f"{version} line {i}\n" for i in range(2000))
    match name.partition("/")[0]:
        case "groups":
            group = {
                "profile": "worker",
                "selector": {"mac": "52:54:00:aa:00:01"},
                "metadata": {"v": version},
            }
            return json.dumps(group, indent="\t")
        case "profiles":
            files = {"ignition_id": "w.ign", "generic_id": "g.tmpl", "cloud_id": "c.yaml"}
            return json.dumps({"id": "worker", "boot": {"kernel": version, "args": ["x"] * 500}, **files})
        case "ignition":
            return json.dumps({"ignition": {"version": "3.3.0"}, "comment": lines})
        case "cloud":
            return f"#cloud-config\nlines: |\n  {lines.replace(chr(10), chr(10) + '  ')}\n# end {version}\n"
    return f"{{{{.v}}}}: begin\n{lines}end\n"


NAMES = ("groups/node1.json", "profiles/worker.json", "ignition/w.ign", "cloud/c.yaml", "generic/g.tmpl")
ALL = {name: [texts(name, version) for version in VERSIONS] for name in NAMES}
RIGHT = {
    RequestKind.SCRIPT: {f"#!ipxe\nkernel {version}{' x' * 500}\nboot\n".encode() for version in VERSIONS},
    RequestKind.IGNITION: {text.encode() for text in ALL["ignition/w.ign"]},
    RequestKind.CLOUD: {text.encode() for text in ALL["cloud/c.yaml"]},
    RequestKind.GENERIC: {
        text.replace("{{.v}}", version).encode() for text in ALL["generic/g.tmpl"] for version in VERSIONS
    },
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A machine's group, and one that would install whoever is nobody's."""
    root = tmp_path / "data"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(ALL[name][0])
    (root / "groups/default.json").write_text('{"profile": "install"}')
    (root / "profiles/install.json").write_text('{"id": "install", "boot": {"kernel": "INSTALL"}}')
    return root


@contextlib.contextmanager
def rewriting(data: Path, files: dict[str, list[str]]) -> Iterator[None]:
    """A program of its own that rewrites `files` in place until the block ends."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.in_place", str(data)],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        writer.stdin.write(json.dumps(files) + "\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "ready\n"
        yield
        assert writer.poll() is None, "it must have written all the time"
    finally:
        writer.stdin.close()
        assert writer.wait(DEADLINE) == 0
        writer.stdout.close()


def wrong(snapshot: Snapshot) -> list[str]:
    """What a machine would be given from `snapshot` that no version of the files says."""
    found = []
    for kind, right in RIGHT.items():
        given = answer(World(snapshot), kind, parse_query(QUERY), "", None)
        if given.status != 200 or given.body not in right:
            found.append(f"{kind}: {given.status} {given.body[:60]!r}…{given.body[-60:]!r} {given.reason}")
    return found


def test_every_look_at_files_being_rewritten_gives_whole_ones(data: Path) -> None:
    directory = DataDirectory(data)
    assert not wrong(directory.refresh())
    seen: set[int] = set()
    with rewriting(data, ALL):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            snapshot = directory.refresh()
            if id(snapshot) not in seen:
                assert not wrong(snapshot)
                seen.add(id(snapshot))
    assert len(seen) > 2, "new versions are taken up meanwhile"


def test_machines_get_whole_answers_meanwhile(data: Path) -> None:
    with serving(data, follow_every=0.001) as running, rewriting(data, ALL):
        until = time.monotonic() + SECONDS
        asked = 0
        while time.monotonic() < until:
            for path, kind in (("ipxe", RequestKind.SCRIPT), ("ignition", RequestKind.IGNITION),
                               ("cloud", RequestKind.CLOUD), ("generic", RequestKind.GENERIC)):  # fmt: skip
                reply = ask(running.port, f"/{path}?{QUERY}")
                assert reply.status == 200, running.records[-1]
                assert reply.body in RIGHT[kind]
                asked += 1
        assert asked > 100
