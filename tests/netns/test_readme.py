"""The README's session, run as it is written: every command, every line of output."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes import releases
from tests.fakes.mirror import mirror
from tests.fakes.signing import Signer
from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Segment
from tests.netns.test_adopt import discover
from tests.netns.test_prove import kernel
from tests.netns.wire import wait_until

pytestmark = pytest.mark.netns
README = (Path(__file__).parents[2] / "README.md").read_text()
_BLOCK = re.compile(
    r"<!-- (?P<kind>session|file|edit|given|mirror|asks)(?:: (?P<what>[^\n]*?))? -->"
    r"(?:\n```\w+\n(?P<body>.*?)```)?",
    re.DOTALL,
)


@dataclass
class Step:
    """One thing that a reader does."""

    kind: str
    what: str
    body: str
    commands: list[tuple[str, list[str]]] = field(default_factory=list)


def steps() -> Iterator[Step]:
    for found in _BLOCK.finditer(README):
        step = Step(found["kind"], found["what"] or "", found["body"] or "")
        if step.kind == "session":
            for line in step.body.splitlines():
                if line.startswith("# "):
                    step.commands.append((line[2:], []))
                else:
                    step.commands[-1][1].append(line)
        yield step


def plain(text: str, root: Path) -> list[str]:
    """Output without what differs from run to run: places, times, process ids, the width of columns."""
    text = text.replace(str(root), "")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"pid \d+", "pid N", text)
    text = re.sub(r"\d+\.\d ms", "N ms", text)
    text = re.sub(r"\d+\.\d MB +[0-9A-F]{16} +\d{4}-\d\d-\d\d \d\d:\d\d", "SIZE SIGNER TIME", text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def agree(written: list[str], said: list[str]) -> bool:
    """Whether the output is what is written; `...` stands for any lines."""
    if not written:
        return not said
    if written[0] == "...":
        return any(agree(written[1:], said[n:]) for n in range(len(said) + 1))
    return bool(said) and written[0] == said[0] and agree(written[1:], said[1:])


@contextmanager
def project_on_loopback(appliance: Appliance, folder: Path) -> Iterator[None]:
    """Two signed Flatcar releases on a mirror, which the settings name from now on."""
    settings = appliance.root / "etc/pxe-appliance/appliance.toml"
    keys = appliance.root / "etc/pxe-appliance/keys.d"
    tree = folder / "mirror"
    tree.mkdir()
    keys.mkdir(exist_ok=True)
    with Signer.make() as signer, mirror(tree) as running:
        for day, version in enumerate(("4593.2.6", "4593.2.5"), start=1):
            kernel, initrd = (f"{what} of {version}".encode() for what in ("kernel", "initrd"))
            at = datetime(2026, 8, 30 - day, tzinfo=UTC)
            releases.flatcar(tree, signer, version=version, kernel=kernel, initrd=initrd, at=at)
        (keys / "mirror.asc").write_bytes(signer.cert())
        source = f'[images.flatcar]\nmirror = "{running.url}/{{channel}}"\nkeys = ["mirror.asc"]\n'
        settings.write_text(f"{settings.read_text()}\n{source}")
        yield


def await_stray(appliance: Appliance, mac: str) -> None:
    wait_until(lambda: mac in appliance.run("strays").stdout, f"{mac} on the ledger")


def test_every_command_of_the_readme_says_what_is_written(
    segment: Segment, open_tmp: Path, client_on: ClientMaker
) -> None:
    client = client_on(segment.wire("eno4", "172.0.1.1", "172.0.1.200"))
    appliance = Appliance(open_tmp / "root", segment.server)
    rack = appliance.root / "etc/pxe-appliance/inventory.d/rack1.toml"
    ran = 0
    with ExitStack() as stack:
        stack.callback(lambda: appliance.stop() if appliance.process is not None else None)
        for step in steps():
            if step.kind == "mirror":
                stack.enter_context(project_on_loopback(appliance, open_tmp))
            elif step.kind == "file":
                (appliance.root / step.what.lstrip("/")).write_text(step.body)
            elif step.kind == "given":
                place = appliance.root / step.what.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(kernel() if place.name == "vmlinuz" else b"\x1f\x8b" + bytes(500))
            elif step.kind == "asks":
                assert client.ask(discover(step.what), seconds=0.5) is None
                await_stray(appliance, step.what)
            elif step.kind == "edit":
                old, new = step.what.split(" -> ")
                assert old in rack.read_text()
                rack.write_text(rack.read_text().replace(old, new))
            for command, written in step.commands:
                argv = shlex.split(command)
                assert argv[0] == "pxe-appliance"
                if argv[1] == "serve":
                    appliance.serve()
                    continue
                # The VLAN's namespace has no way out, as a provisioning host has: what fetches stays outside.
                who = replace(appliance, namespace=None) if "fetch" in argv else appliance
                done = who.run(*argv[1:], rc=int(step.what[5:]) if step.what.startswith("exit ") else 0)
                said = plain(done.stdout + done.stderr, appliance.root)
                assert agree(plain("\n".join(written), appliance.root), said), "\n".join([command, *said])
                ran += 1
    assert ran >= 14
