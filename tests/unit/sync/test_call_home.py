"""The scripts that are put into a machine's Ignition, run by bash on a small copy of its file system."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from appliance.inventory.model import BootPolicy, Tuning
from appliance.matchbox.ignition import judge
from appliance.matchbox.ignition_merge import EMPTY, PLACEHOLDER, merged, read_base
from appliance.provisioned import Provisioned
from appliance.settings import MatchboxSettings, Settings
from appliance.sync.call_home import CALL_HOME_UNIT, TUNING_UNIT, call_home, tuning
from tests.unit.daemon.rooms import PXE, WORKER, rack

SETTINGS = Settings({"pxe": PXE})
NODE1 = rack()[0]
ON_DISK = "/dev/sda9 / ext4 rw 0 0\n"
IN_MEMORY = "rootfs / rootfs rw 0 0\ntmpfs / tmpfs rw 0 0\n"


@dataclass
class Home:
    """Takes reports; answers with the statuses it is told, then with 200."""

    statuses: list[int] = field(default_factory=list)
    reports: list[Any] = field(default_factory=list)
    port: int = 0


@contextmanager
def listening(*statuses: int) -> Iterator[Home]:
    home = Home(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert (self.path, self.headers["Content-Type"]) == ("/v1/report", "application/json")
            home.reports.append(json.loads(body))
            self.send_response(home.statuses.pop(0) if home.statuses else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        home.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield home
        server.shutdown()
        thread.join()


def laid(root: Path, added: Provisioned, port: int = 1, mounts: str = IN_MEMORY) -> Path:
    """The files in a small copy of a machine's file system."""
    for file in added.files:
        place = root / file.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        text = file.content.replace(PLACEHOLDER, "tok-en_1")
        place.write_text(text.replace(f"http://{PXE.address}:8080", f"http://127.0.0.1:{port}"))
    (root / "proc/sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (root / "proc/mounts").write_text(mounts)
    (root / "proc/uptime").write_text("12.34 5.6\n")
    (root / "proc/sys/kernel/random/boot_id").write_text("b-1\n")
    (root / "run").mkdir(exist_ok=True)
    (root / "etc/os-release").write_text('PRETTY_NAME="Some \\"Linux\\" 1\\\\2"\n')
    return root


def run(root: Path, script: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(root / "etc/pxe-appliance" / script), *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "ROOT": str(root), "PAUSE": "0", "TRIES": "4", **env},
    )


def home_of(policy: BootPolicy = BootPolicy.ALWAYS) -> Provisioned:
    return call_home(SETTINGS, PXE, NODE1, replace(WORKER, boot=policy))


@pytest.mark.parametrize(
    ("policy", "mounts", "stage"),
    [
        (BootPolicy.ALWAYS, IN_MEMORY, "done"),
        (BootPolicy.INSTALL_ONCE, IN_MEMORY, "installing"),
        (BootPolicy.INSTALL_ONCE, "overlay / overlay rw 0 0\n", "installing"),
        (BootPolicy.INSTALL_ONCE, ON_DISK, "installed"),
        (BootPolicy.ALWAYS, ON_DISK, "installed"),
    ],
)
def test_the_stage_is_told_by_where_the_system_runs_from(
    policy: BootPolicy, mounts: str, stage: str, tmp_path: Path
) -> None:
    with listening() as home:
        done = run(laid(tmp_path, home_of(policy), home.port, mounts), "call-home")
    assert done.returncode == 0, done.stderr
    (report,) = home.reports
    assert (report["stage"], report["mac"], report["token"]) == (stage, str(NODE1.mac), "tok-en_1")
    assert report["facts"]["os"] == 'Some "Linux" 1\\2'
    assert report["facts"]["kernel"] == os.uname().release
    assert report["facts"]["boot_id"] == "b-1"
    assert report["facts"]["uptime"] == "12.34 s"


def test_a_live_fedora_coreos_runs_from_memory_whatever_its_root_is(tmp_path: Path) -> None:
    with listening() as home:
        root = laid(tmp_path, home_of(BootPolicy.INSTALL_ONCE), home.port, ON_DISK)
        (root / "run/ostree-live").write_text("")
        assert run(root, "call-home").returncode == 0
    assert home.reports[0]["stage"] == "installing"


def test_an_installer_says_what_it_did_in_its_own_words(tmp_path: Path) -> None:
    with listening() as home:
        done = run(laid(tmp_path, home_of(), home.port), "call-home", "installed", 'said "x"\\\n\x07 é')
    assert done.returncode == 0
    assert (home.reports[0]["stage"], home.reports[0]["message"]) == ("installed", 'said "x"\\ é')


def test_it_asks_again_until_it_is_taken(tmp_path: Path) -> None:
    with listening(503, 403, 500) as home:
        done = run(laid(tmp_path, home_of(), home.port), "call-home")
    assert done.returncode == 0
    assert len(home.reports) == 4


@pytest.mark.parametrize("status", [400, 404])
def test_it_stops_where_asking_again_does_not_help(status: int, tmp_path: Path) -> None:
    with listening(status) as home:
        done = run(laid(tmp_path, home_of(), home.port), "call-home")
    assert (done.returncode, len(home.reports)) == (1, 1)
    assert str(status) in done.stderr


def test_it_gives_up_in_the_end(tmp_path: Path) -> None:
    with listening(*[503] * 9) as home:
        done = run(laid(tmp_path, home_of(), home.port), "call-home")
    assert (done.returncode, len(home.reports)) == (1, 4)
    assert "does not take" in done.stderr
    assert run(laid(tmp_path / "b", home_of(), 9), "call-home").returncode == 1, "nobody listens there"


def test_it_can_be_turned_off() -> None:
    assert call_home(SETTINGS, PXE, NODE1, replace(WORKER, call_home=False)) == Provisioned()


def test_the_token_is_for_root_alone_and_an_external_endpoint_has_none() -> None:
    env = next(file for file in home_of().files if file.path.endswith(".env"))
    assert env.mode == 0o600
    assert PLACEHOLDER in env.content
    external = replace(SETTINGS, matchbox=MatchboxSettings("http://matchbox.example.com:8080"))
    assert not any(PLACEHOLDER in f.content for f in call_home(external, PXE, NODE1, WORKER).files)


# ---- tuning ----

TUNED = tuning(replace(WORKER, tuning=Tuning.PERFORMANCE))


def cpu(root: Path, number: int, **files: str) -> Path:
    folder = root / f"sys/devices/system/cpu/cpu{number}"
    for name, content in files.items():
        place = folder / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content + "\n")
    return folder


def told(root: Path) -> dict[str, str]:
    lines = (root / "run/pxe-appliance-tuning").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_every_cpu_is_set_where_it_can_be(tmp_path: Path) -> None:
    root = laid(tmp_path, TUNED)
    for number in range(3):
        cpu(
            root,
            number,
            cpufreq__scaling_governor="powersave",
            cpufreq__energy_performance_preference="balance_power",
        )
    cpu(root, 0, power__energy_perf_bias="6")
    (root / "sys/devices/system/cpu/cpufreq").mkdir()
    assert run(root, "tuning").returncode == 0
    for number in range(3):
        folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        assert (folder / "scaling_governor").read_text() == "performance\n"
        assert (folder / "energy_performance_preference").read_text() == "performance\n"
    assert told(root) == {
        "tuning": "performance",
        "governor": "performance",
        "energy": "performance",
        "energy_bias": "0",
    }


def test_hardware_without_such_a_control_boots_all_the_same_and_says_none(tmp_path: Path) -> None:
    root = laid(tmp_path, TUNED)
    assert run(root, "tuning").returncode == 0
    assert told(root) == {
        "tuning": "performance",
        "governor": "none",
        "energy": "none",
        "energy_bias": "none",
    }


def test_what_differs_between_cpus_is_told(tmp_path: Path) -> None:
    root = laid(tmp_path, TUNED)
    cpu(root, 0, cpufreq__scaling_governor="powersave")
    stubborn = cpu(root, 1, cpufreq__scaling_governor="schedutil") / "cpufreq/scaling_governor"
    stubborn.unlink()
    stubborn.symlink_to("/proc/version")  # a file that cannot be written, even by root
    assert run(root, "tuning").returncode == 0
    assert told(root)["governor"].startswith("Linux version")
    assert told(root)["governor"].endswith("performance")


def test_it_is_reported_by_the_call_home(tmp_path: Path) -> None:
    with listening() as home:
        root = laid(tmp_path, home_of() + TUNED, home.port)
        cpu(root, 0, cpufreq__scaling_governor="powersave")
        assert run(root, "tuning").returncode == 0
        assert run(root, "call-home").returncode == 0
    facts = home.reports[0]["facts"]
    assert (facts["tuning"], facts["governor"], facts["energy"]) == ("performance", "performance", "none")
    assert len(facts) <= 16, "the appliance keeps no more"


def test_it_comes_before_the_call_home_and_only_when_asked_for() -> None:
    profile = replace(WORKER, tuning=Tuning.PERFORMANCE)
    unit = call_home(SETTINGS, PXE, NODE1, profile).units[0]
    assert f"After={TUNING_UNIT} network-online.target" in unit.content
    assert (unit.name, TUNED.units[0].name) == (CALL_HOME_UNIT, TUNING_UNIT)
    assert tuning(WORKER) == Provisioned()


# ---- as a whole ----


def test_the_document_is_sound_to_us_and_to_ignition() -> None:
    document = merged(read_base(EMPTY), home_of() + TUNED).for_boot("x")
    judge(document)
    done = subprocess.run(
        ["ignition-validate", "-"], input=document, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.parametrize("added", [home_of(), TUNED], ids=["call-home", "tuning"])
def test_the_scripts_satisfy_shellcheck(added: Provisioned, tmp_path: Path) -> None:
    script = next(file for file in added.files if file.mode == 0o755)
    place = tmp_path / "script.bash"
    place.write_text(script.content)
    # What is sourced is not there to be looked at, and its variables are not known.
    done = subprocess.run(
        ["shellcheck", "-e", "SC1090,SC1091,SC2154", str(place)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
