"""Lives on the wire: install once, the disk, again on request; loops that are held; what outlives what."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

import pytest

from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Segment
from tests.netns.machines import IPXE, Machine, put_on
from tests.netns.test_appliance import discover
from tests.netns.wire import Reply, captured, recorded_names, tftp_get, wait_until

pytestmark = pytest.mark.netns

NODE1, NODE2 = "52:54:00:aa:00:01", "52:54:00:aa:00:11"
DISCOVERS = [name for name in recorded_names() if name.endswith("-discover")]


@pytest.fixture
def once(appliance: Appliance) -> Appliance:
    """An appliance that serves a rack that is installed once."""
    appliance.edit('boot = "always"', 'boot = "install-once"')
    appliance.serve()
    return appliance


@pytest.fixture
def node1(once: Appliance, segment: Segment, client_on: ClientMaker) -> Machine:
    return put_on(segment.links[0], "node1", client_on)


@pytest.fixture
def node2(once: Appliance, segment: Segment, client_on: ClientMaker) -> Machine:
    return put_on(segment.links[0], "node2", client_on)


def lifecycle(appliance: Appliance, name: str = "node1") -> str:
    return str(shown(appliance, name)["lifecycle"])


def shown(appliance: Appliance, name: str = "node1") -> Any:
    return appliance.run("machine", "show", name, "-o", "json").json()


def row(appliance: Appliance, name: str = "node1") -> Any:
    return next(m for m in appliance.run("machines", "-o", "json").json() if m["name"] == name)


def install(machine: Machine) -> None:
    """Boot the installer and call home."""
    assert "kernel" in machine.boot().text
    assert machine.report("installed").status == 200


def test_from_new_to_the_disk_to_a_reinstall(once: Appliance, node1: Machine) -> None:
    assert lifecycle(once) == "new"
    script = node1.boot()
    assert "kernel /assets/lab/vmlinuz" in script.text
    once.await_event("lifecycle", machine="node1")
    assert lifecycle(once) == "installing"
    assert node1.report("installed", message="on sda", facts={"disk": "sda"}).text == '{"ok": true}'
    assert lifecycle(once) == "installed"
    assert shown(once)["life"]["facts"] == {"disk": "sda"}
    alone = node1.await_file(False)
    assert alone.yiaddr == "172.0.1.21"
    wait_until(lambda: row(once)["boot"]["state"] == "booted", "the board to say that it boots its disk")
    # Firmware that asked a moment earlier is on its way already.
    for path in ("/boot.ipxe", f"/ipxe?{node1.query}"):
        assert "sanboot" in node1.ask(path, agent=IPXE).text
    assert "kernel" not in node1.ask(f"/grub?{node1.query}", agent="GRUB 2.06").text
    assert "its installer again" in once.run("machine", "reinstall", "node1").stdout
    assert lifecycle(once) == "reinstall"
    assert node1.await_file(True).file == "undionly.kpxe"
    install(node1)
    assert lifecycle(once) == "installed"
    turns = [(e["detail"]["from"], e["detail"]["to"]) for e in once.events("lifecycle")]
    assert turns == [
        ("new", "installing"),
        ("installing", "installed"),
        ("installed", "reinstall"),
        ("reinstall", "installing"),
        ("installing", "installed"),
    ]
    assert once.dnsmasq()["restarts"] == 0


@pytest.fixture
def before_and_after(
    once: Appliance, node1: Machine, node2: Machine
) -> tuple[dict[str, Reply | None], dict[str, Reply | None]]:
    """What node1 is answered to every recorded DISCOVER while it is new, and once it is installed."""

    def asked() -> dict[str, Reply | None]:
        found: dict[str, Reply | None] = {}
        for name in DISCOVERS:
            node1.client.send(packet := captured(name, NODE1))
            node1.client.send(known := discover(NODE2))  # whose answer comes after node1's, if there is one
            found[name] = node1.client.listen(packet[4:8], 2) if "aavmf" not in name else None
            if found[name] is None:
                node1.client.send(known)
                node1.client.listen(known[4:8], 3)
        return found

    new = asked()
    install(node1)
    node1.await_file(False)
    return new, asked()


def test_every_class_gets_its_address_and_nothing_to_boot_and_ipxe_too(
    before_and_after: tuple[dict[str, Reply | None], dict[str, Reply | None]],
) -> None:
    new, installed = before_and_after
    booted = 0
    for name in DISCOVERS:
        before, after = new[name], installed[name]
        if before is None:
            assert after is None, f"{name}: refused, as before"
            continue
        assert after is not None, name
        booted += bool(before.file)
        assert (after.yiaddr, after.address(54)) == ("172.0.1.21", "172.0.1.1"), name
        if before.file.startswith("http") and not before.file.endswith("boot.ipxe"):
            assert after.file == "http://172.0.1.1:8080/assets/ipxe/boot-from-the-disk", name
        else:
            assert after.file == "", name
        assert 67 not in after.options, name
        assert 66 not in after.options, name
    assert booted >= 8


def test_the_url_that_leads_nowhere_leads_nowhere(once: Appliance, node1: Machine) -> None:
    install(node1)
    assert node1.ask("/assets/ipxe/boot-from-the-disk").status == 404


def test_only_its_own_machine_goes_to_the_disk(once: Appliance, node1: Machine, node2: Machine) -> None:
    install(node1)
    node1.await_file(False)
    assert node2.acquire().file == "undionly.kpxe"
    assert "kernel" in node2.boot().text


def test_a_profile_that_boots_from_the_disk_needs_no_call_home(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.edit('boot = "always"', 'boot = "disk"')
    appliance.serve()
    node1 = put_on(segment.links[0], "node1", client_on)
    assert node1.acquire().file == ""
    appliance.edit('boot = "disk"', 'boot = "always"')
    appliance.run("sync", "--yes")
    assert node1.await_file(True).file == "undionly.kpxe"


# ---- held ----


def test_the_third_install_is_held_named_and_released(once: Appliance, node1: Machine) -> None:
    for _ in range(2):
        assert "kernel" in node1.boot().text
        assert "kernel" in node1.script().text, "the same boot may ask again"
    held = node1.boot()
    assert "kernel" not in held.text
    assert "node1 is held: install 3 within 20 minutes without a call home" in held.text
    assert "pxe-appliance machine release node1" in held.text
    event = once.await_event("held", machine="node1")
    assert event["detail"]["by"] == "install-loop"
    assert event["detail"]["remedy"] == "pxe-appliance machine release node1"
    facts = shown(once)
    assert (facts["lifecycle"], facts["life"]["before"]) == ("held", "installing")
    assert facts["verdict"]["remedy"] == "pxe-appliance machine release node1"
    assert once.status()["machines"]["held"] == 1
    assert node1.acquire().file == "undionly.kpxe", "so that its screen can say why"
    for path in ("/boot.ipxe", f"/ipxe?{node1.query}", f"/grub?{node1.query}"):
        for _ in range(3):
            assert "is held" in node1.ask(path, agent=IPXE).text
    assert len(once.events("held")) == 1, "told once"
    assert "release it first" in once.run("machine", "reinstall", "node1", rc=4).stderr
    once.run("machine", "release", "node1")
    assert "not held" in once.run("machine", "release", "node1", rc=4).stderr
    assert "kernel" in node1.boot().text
    assert "kernel" in node1.boot().text
    assert "is held" in node1.boot().text


def test_a_call_home_between_is_no_loop(once: Appliance, node1: Machine) -> None:
    for _ in range(5):
        assert "kernel" in node1.boot().text
        assert node1.report("done").status == 200
    assert once.events("held") == []


def test_the_same_first_stage_three_times_is_held_with_the_address_alone(
    once: Appliance, node1: Machine, node2: Machine
) -> None:
    def told(kind: str, times: int) -> bool:
        return len(once.events(kind)) >= times

    for number in range(1, 4):
        ack = node1.acquire()
        assert ack.file == "undionly.kpxe"
        wait_until(partial(told, "ack", number), "the address to be told")
        tftp_get(node1.link.clients, "172.0.1.21", "172.0.1.1", ack.file)
        wait_until(partial(told, "bootfile", number), "the fetch to be told")
    event = once.await_event("held", machine="node1")
    assert event["detail"]["by"] == "boot-loop"
    assert "undionly.kpxe 3 times" in event["detail"]["reason"]
    node1.await_file(False)
    assert node2.acquire().file == "undionly.kpxe"
    facts = row(once)
    assert (facts["lifecycle"], facts["boot"]["state"]) == ("held", "stuck")
    once.run("machine", "release", "node1")
    assert node1.await_file(True).file == "undionly.kpxe"
    assert row(once)["lifecycle"] == "new"


def test_an_operator_holds_a_machine_of_any_policy_and_its_words_are_shown_as_they_are(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.serve()
    node1 = put_on(segment.links[0], "node1", client_on)
    appliance.run("machine", "hold", "node1", "-m", "disk ${x}\n || shell; broken")
    script = node1.boot().text
    assert "node1 is held: disk   x      shell  broken" in script
    assert not [line for line in script.splitlines() if line.startswith((" ", "shell"))]
    assert "kernel" not in script
    appliance.stop()
    appliance.serve()
    assert "is held" in node1.boot().text
    appliance.run("machine", "release", "node1")
    assert "kernel" in node1.boot().text


def test_an_unknown_machine_is_named(once: Appliance) -> None:
    for turn in ("reinstall", "hold", "release"):
        assert "did you mean node1" in once.run("machine", turn, "node11", rc=4).stderr


# ---- what outlives what ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_ends_in_the_middle_of_a_boot(
    once: Appliance, node1: Machine, number: signal.Signals
) -> None:
    node1.boot()
    # What was asked for through the control socket is on the disk, and all before it.
    once.run("machine", "hold", "node2")
    once.stop(number)
    once.serve()
    assert node1.ignition().status == 200, "the script of before is still running"
    assert node1.report("installed").status == 200
    assert lifecycle(once) == "installed"
    assert lifecycle(once, "node2") == "held"
    assert node1.acquire().file == "", "no relief is needed: it starts with it"
    assert once.dnsmasq()["restarts"] == 0


def test_who_was_told_ok_is_installed_whatever_comes_next(once: Appliance, node1: Machine) -> None:
    node1.boot()
    assert node1.report("installed").status == 200
    assert once.process is not None
    os.kill(once.daemon_pid(), signal.SIGKILL)
    once.process.wait(20)
    once.serve()
    assert lifecycle(once) == "installed"
    assert node1.acquire().file == ""
    assert "sanboot" in node1.script().text


@pytest.mark.parametrize("turn", ["reinstall", "hold", "release"])
def test_what_an_operator_was_told_outlives_a_kill(once: Appliance, node1: Machine, turn: str) -> None:
    if turn == "release":
        once.run("machine", "hold", "node1", "-m", "for now")
    else:
        install(node1)
    once.run("machine", turn, "node1")
    once.stop(signal.SIGKILL)
    once.serve()
    assert lifecycle(once) == {"reinstall": "reinstall", "hold": "held", "release": "new"}[turn]


def test_an_install_loop_is_counted_over_restarts(once: Appliance, node1: Machine) -> None:
    for _ in range(2):
        assert "kernel" in node1.boot().text
        once.stop(signal.SIGTERM)
        once.serve()
    assert "is held" in node1.boot().text


def test_the_race_from_the_acknowledgement_to_the_script_is_won_a_hundred_times(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    """A machine asks milliseconds after its address was acknowledged; a refusal would cost it seconds."""
    appliance.serve()
    node1 = put_on(segment.links[0], "node1", client_on)
    tokens = set()
    for _ in range(100):
        script = node1.boot()
        assert "refuses" not in script.text, script.text
        assert node1.token
        assert node1.ignition().status == 200
        tokens.add(node1.token)
    assert len(tokens) == 100, "each boot has its own"
    assert [e for e in appliance.events("http-error") if e["machine"] == "node1"] == []
