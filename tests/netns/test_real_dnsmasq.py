"""Real dnsmasq on the rendered configuration, real clients' packets replayed against it."""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.boot.firmware import CLASSES, OTHER_TAG, Transport
from appliance.dnsmasq.correlate import Correlator
from appliance.dnsmasq.log import parse
from appliance.dnsmasq.records import Unrecognised
from appliance.dnsmasq.render import render_dhcp, render_hosts, render_tftp
from appliance.dnsmasq.reparse import inlined
from appliance.inventory.model import Machine
from appliance.settings import NetworkMode, NetworkSettings
from tests.netns import wire
from tests.netns.conftest import ClientMaker, Dnsmasq, Dnsmasqs, Link, Segment, run
from tests.netns.wire import ACK, NAK, OFFER, Client, Packet, captured, pxe_options, request_of, with_options
from tests.unit.dnsmasq.rooms import TEMPLATES, everything, machine, network, selection

pytestmark = pytest.mark.netns

NODE1, NODE2, FAR1 = "52:54:00:aa:00:01", "52:54:00:aa:00:02", "52:54:00:aa:00:05"
OTHER_NIC, STRANGER = "52:54:00:bb:00:01", "52:54:00:ee:00:01"
SCRIPT = "http://172.0.1.1:8080/boot.ipxe"
RACK = (
    machine("node1", NODE1, "172.0.1.21", nics=(("eno2", OTHER_NIC),)),
    machine("node2", NODE2, "172.0.1.22"),
    machine("far1", FAR1, "172.0.2.15"),
)
RELAYED = (("172.0.2.0/24", "172.0.2.1"),)
# Every recorded DISCOVER, and what a fully equipped host answers it with.
ANSWERS = {
    "bios-plain-pxelinux-01-discover": "undionly.kpxe",
    "bios-plain-undionly-e1000-01-discover": "undionly.kpxe",
    "bios-plain-undionly-virtio-01-discover": "undionly.kpxe",
    "ovmf-pxe-ipxe.efi-01-discover": "snponly.efi",
    "ovmf-pxe-snponly.efi-01-discover": "snponly.efi",
    "aavmf-pxe-grub-01-discover": "snponly-arm64.efi",
    "ovmf-http-01-discover": "http://172.0.1.1:8080/assets/ipxe/ipxe.efi",
    "aavmf-http-01-discover": "http://172.0.1.1:8080/assets/ipxe/ipxe-arm64.efi",
    "bios-ipxe-rom-virtio-01-discover": SCRIPT,
    "bios-plain-undionly-e1000-03-discover": SCRIPT,
    "bios-plain-undionly-virtio-03-discover": SCRIPT,
    "ovmf-e1000-ipxe-rom-01-discover": SCRIPT,
    "ovmf-http-03-discover": SCRIPT,
    "ovmf-pxe-ipxe.efi-03-discover": SCRIPT,
    "ovmf-pxe-snponly.efi-03-discover": SCRIPT,
    "aavmf-pxe-grub-03-discover": "",
    "bios-ipxe-rom-virtio-03-discover": "",
    "bios-plain-undionly-e1000-05-discover": "",
    "bios-plain-undionly-virtio-05-discover": "",
    "ovmf-e1000-ipxe-rom-03-discover": "",
    "ovmf-http-05-discover": "",
    "ovmf-pxe-ipxe.efi-05-discover": "",
    "ovmf-pxe-snponly.efi-05-discover": "",
}


class Rack:
    """The lookup of the fold, over the machines above."""

    def machine_of(self, mac: Mac) -> tuple[str, str] | None:
        return next(((str(m.name), m.network) for m in RACK if mac in m.macs), None)

    def other_nic(self, mac: Mac) -> tuple[str, str] | None:
        return next(((str(m.name), n.name) for m in RACK for n in m.nics if n.mac == mac), None)

    def machine_at(self, ip: IPv4Address) -> tuple[str, Mac] | None:
        return next(((str(m.name), m.mac) for m in RACK if m.ip == ip), None)


@dataclass
class Served:
    """One running dnsmasq with its wire, its files and a client."""

    dnsmasq: Dnsmasq
    client: Client
    link: Link
    hosts: Path

    def events(self) -> list[Event]:
        fold = Correlator("pxe", Rack(), refused={6: "install ia32", 11: "install arm64", 19: "x"})
        at = datetime.now(UTC)
        records = [parse(line) for line in self.dnsmasq.lines()]
        assert [r for r in records if isinstance(r, Unrecognised)] == []
        return [event for record in records for event in fold.step(record, at)] + fold.flush(at)

    def write(self, machines: tuple[Machine, ...]) -> None:
        self.hosts.write_text(render_hosts(machines, network(relayed=RELAYED)))


Serve = Callable[..., Served]


@pytest.fixture
def serve(segment: Segment, dnsmasqs: Dnsmasqs, client_on: ClientMaker, open_tmp: Path) -> Serve:
    def start(net: NetworkSettings | None = None, *, full: bool = False, link: Link | None = None) -> Served:
        net = net or network(relayed=RELAYED)
        link = link or segment.wire(net.interface, str(net.address), str(net.address + 200))
        hosts, log, conf = (open_tmp / f"{net.name}.{kind}" for kind in ("hosts", "log", "conf"))
        hosts.write_text(render_hosts(RACK, net))
        conf.write_text(
            render_dhcp(
                net,
                templates=TEMPLATES,
                boot_url=f"http://{net.address}:8080/boot.ipxe",
                http_port=8080,
                hosts_path=str(hosts),
                log_path=str(log),
                boot_files=(everything() if full else selection()).boot_files,
            )
        )
        running = dnsmasqs.start(segment.server, conf, log, ready=f"read {hosts}")
        return Served(running, client_on(link), link, hosts)

    return start


def known_discover() -> bytes:
    return Packet(NODE2).payload()


def test_every_recorded_client_gets_its_own_answer(serve: Serve) -> None:
    served = serve(full=True)
    recorded = {name for name in wire.recorded_names() if name.endswith("-discover")}
    assert recorded == set(ANSWERS)
    for name, file in ANSWERS.items():
        offer, ack = served.client.acquire(captured(name, NODE1))
        for reply, kind in ((offer, OFFER), (ack, ACK)):
            assert (reply.kind, reply.yiaddr, reply.file) == (kind, "172.0.1.21", file), name
            assert reply.siaddr == "172.0.1.1", name
            assert reply.address(3) is None, "no default route from this network"
            assert reply.address(6) is None, "no DNS from this network"
            http_boot = file.endswith(".efi") and file.startswith("http")
            assert (reply.options.get(60) == b"HTTPClient") == http_boot, name
            assert reply.options.get(175) == (b"\xb0\x01\x01\xff" if file == SCRIPT else None), name


def test_the_seven_classes_and_what_is_none(serve: Serve) -> None:
    served = serve(full=True)
    files = everything().boot_files
    for client in CLASSES:
        discover = Packet(NODE1, options=pxe_options(client.arch, client.transport.value)).payload()
        reply = served.client.expect(discover)
        assert reply.file.rpartition("/")[2] == files[client.arch], client.words
        assert (client.transport is Transport.HTTP) == reply.file.startswith("http://")
    no_arch = served.client.expect(Packet(NODE1, options=pxe_options(None)).payload())
    assert no_arch.file == "undionly.kpxe"
    for arch, vendor in ((10, "PXEClient"), (15, "HTTPClient"), (65000, "PXEClient"), (None, "HTTPClient")):
        served.client.silence(Packet(NODE1, options=pxe_options(arch, vendor)).payload(), known_discover())


def test_a_class_without_a_binary_is_refused_and_named(serve: Serve) -> None:
    served = serve()
    served.client.silence(captured("aavmf-pxe-grub-01-discover", NODE1), known_discover())
    refusals = [e for e in served.events() if e.kind is EventKind.IGNORED]
    assert [(e.machine, e.detail["code"], e.detail["class"]) for e in refusals] == [
        ("node1", "no-boot-file", "arm64 UEFI (11)")
    ]
    assert "arm64 UEFI (11)" in refusals[0].detail["reason"]
    assert refusals[0].detail["remedy"] == "install arm64"
    # Once it is iPXE, its class does not matter any more.
    assert (
        served.client.expect(Packet(NODE1, options=pxe_options(11) | {77: b"iPXE"}).payload()).file == SCRIPT
    )


@pytest.mark.parametrize("user_class", [b"iPXE", b"\x04iPXE"])
def test_user_class_and_option_175_both_end_the_chain(serve: Serve, user_class: bytes) -> None:
    served = serve()
    assert (
        served.client.expect(Packet(NODE1, options=pxe_options(7) | {77: user_class}).payload()).file
        == SCRIPT
    )
    only_175 = Packet(NODE1, options=pxe_options(7) | {175: b"\xb1\x05\x01\x1a\xf4\x10\x00"})
    assert served.client.expect(only_175.payload()).file == SCRIPT


def test_strangers_other_nics_and_bootp_get_silence(serve: Serve) -> None:
    served = serve()
    for mac in (STRANGER, OTHER_NIC):
        for name in (
            "ovmf-pxe-snponly.efi-01-discover",
            "bios-ipxe-rom-virtio-01-discover",
            "ovmf-http-05-discover",
        ):
            served.client.silence(captured(name, mac), known_discover())
        wanted = {50: socket.inet_aton("172.0.1.21")}
        served.client.silence(Packet(mac, wire.REQUEST, wanted).payload(), known_discover())
        stolen = wanted | {54: socket.inet_aton("172.0.1.1")}
        served.client.silence(Packet(mac, wire.REQUEST, stolen).payload(), known_discover())
        served.client.silence(Packet(mac, wire.INFORM, ciaddr="172.0.1.77").payload(), known_discover())
        served.client.silence(Packet(mac, None).payload(), known_discover())
    served.client.silence(Packet(NODE1, None).payload(), known_discover())
    events = served.events()
    assert {e.machine for e in events if e.kind is EventKind.STRAY} == {None}
    assert {e.detail["reason"] for e in events if e.mac == Mac.parse(OTHER_NIC)} == {
        "eno2 of node1 is not a NIC it boots from"
    }
    assert not any(
        e.kind in {EventKind.OFFER, EventKind.ACK} and str(e.mac) in {STRANGER, OTHER_NIC} for e in events
    )


def test_any_client_id_gives_the_same_address(serve: Serve) -> None:
    served = serve()
    ids = [
        b"",
        b"\x01" + wire.mac_bytes(NODE1),
        b"\x00" + bytes(range(16)),
        b"\xff\x12\x34\x56\x78\x00\x02\x00\x00",
    ]
    for client_id in ids:
        discover = with_options(Packet(NODE1).payload(), {61: client_id})
        offer, ack = served.client.acquire(discover)
        assert (offer.yiaddr, ack.kind, ack.yiaddr) == ("172.0.1.21", ACK, "172.0.1.21")
    # A clone with the same client id does not take the lease away: the first one's renewal is still good.
    clone = with_options(Packet(NODE2).payload(), {61: ids[-1]})
    assert served.client.acquire(clone)[1].yiaddr == "172.0.1.22"
    again = with_options(
        Packet(NODE1, wire.REQUEST, {50: socket.inet_aton("172.0.1.21")}).payload(), {61: ids[-1]}
    )
    assert served.client.expect(again).kind == ACK


def test_a_wrong_address_or_server_is_refused(serve: Serve) -> None:
    served = serve()
    wrong = Packet(NODE1, wire.REQUEST, {50: socket.inet_aton("172.0.1.22")})
    assert served.client.expect(wrong.payload()).kind == NAK
    elsewhere = {50: socket.inet_aton("172.0.1.21"), 54: socket.inet_aton("172.0.1.99")}
    assert served.client.expect(Packet(NODE1, wire.REQUEST, elsewhere).payload()).kind == NAK
    kinds = [e.kind for e in served.events()]
    assert kinds.count(EventKind.NAK) == 2
    assert kinds.count(EventKind.ROGUE_SERVER) == 1


def test_mtu_ntp_and_lease_time(serve: Serve) -> None:
    served = serve(network(mtu=9000, ntp=("172.0.1.1", "192.0.2.7")))
    reply = served.client.expect(Packet(NODE1, options={55: bytes([1, 26, 42])}).payload())
    assert reply.options[26] == (9000).to_bytes(2, "big")
    assert reply.options[42] == socket.inet_aton("172.0.1.1") + socket.inet_aton("192.0.2.7")
    assert reply.options[51] == (3600).to_bytes(4, "big")


def test_a_reload_serves_new_hosts_and_forgets_old_ones(serve: Serve) -> None:
    served = serve()
    served.client.acquire(captured("ovmf-pxe-snponly.efi-01-discover", NODE1))
    swapped = "52:54:00:aa:00:77"
    served.write((machine("node1", swapped, "172.0.1.31"), RACK[1]))
    served.dnsmasq.reload(served.hosts)
    assert served.client.acquire(Packet(swapped).payload())[1].yiaddr == "172.0.1.31"
    served.client.silence(Packet(NODE1).payload(), known_discover())


def test_twenty_reloads_under_traffic_do_not_kill_it(serve: Serve) -> None:
    served = serve()
    served.client.acquire(captured("ovmf-pxe-snponly.efi-01-discover", NODE1))
    stop = threading.Event()

    def chatter() -> None:
        while not stop.wait(0.002):
            name = random.choice(list(ANSWERS))
            served.client.send(captured(name, random.choice((NODE1, NODE2, STRANGER, OTHER_NIC))))

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        for _ in range(20):
            served.dnsmasq.reload(served.hosts)
            assert served.dnsmasq.alive
    finally:
        stop.set()
        thread.join()
    assert served.client.acquire(Packet(NODE1).payload())[1].yiaddr == "172.0.1.21"
    served.events()


def test_a_relayed_machine_gets_its_subnet_and_router(serve: Serve, segment: Segment) -> None:
    served = serve()
    run("ip", "-n", segment.clients, "addr", "add", "172.0.2.1/32", "dev", served.link.client_device)
    run("ip", "-n", segment.server, "route", "add", "172.0.2.0/24", "via", served.link.client_address)
    with wire.udp_socket(segment.clients, "172.0.2.1", 67) as relay:

        def ask(packet: bytes) -> wire.Reply:
            relay.sendto(packet, ("172.0.1.1", 67))
            return wire.Reply.parse(relay.recv(2048))

        discover = Packet(FAR1, options=pxe_options(7), giaddr="172.0.2.1").payload()
        offer = ask(discover)
        ack = ask(request_of(discover, offer))
        for reply in (offer, ack):
            assert (reply.yiaddr, reply.siaddr, reply.file) == ("172.0.2.15", "172.0.1.1", "snponly.efi")
            assert reply.address(3) == "172.0.2.1"
            assert reply.address(1) == "255.255.255.0"
        # Nobody else: not a stranger, not a machine of another subnet, not behind an unknown relay.
        for mac, giaddr in ((STRANGER, "172.0.2.1"), (NODE1, "172.0.2.1"), (FAR1, "172.0.3.1")):
            relay.sendto(Packet(mac, giaddr=giaddr).payload(), ("172.0.1.1", 67))
        again = Packet(FAR1, giaddr="172.0.2.1")
        relay.sendto(again.payload(), ("172.0.1.1", 67))
        assert relay.recv(2048)[4:8] == again.payload()[4:8]
    # And at home, a machine of the relayed subnet gets nothing.
    served.client.silence(Packet(FAR1).payload(), known_discover())


def test_two_networks_side_by_side(serve: Serve, segment: Segment) -> None:
    first = serve(network())
    second = serve(network("lab", "lab0", "172.0.9.0/24", "172.0.9.1"))
    second.hosts.write_text(
        render_hosts(
            [machine("other1", NODE2, "172.0.9.9", net="lab")], network("lab", "lab0", "172.0.9.0/24")
        )
    )
    second.dnsmasq.reload(second.hosts)
    assert first.client.acquire(Packet(NODE2).payload())[1].yiaddr == "172.0.1.22"
    offer, ack = second.client.acquire(captured("ovmf-pxe-snponly.efi-03-discover", NODE2))
    assert (ack.yiaddr, offer.file) == ("172.0.9.9", "http://172.0.9.1:8080/boot.ipxe")
    second.client.silence(Packet(NODE1).payload(), known_discover())


# ── proxy mode ──


def _menu(reply: wire.Reply) -> bytes:
    return reply.options.get(43, b"")


def test_proxy_mode_tells_what_to_boot_and_gives_no_address(serve: Serve) -> None:
    served = serve(network(mode=NetworkMode.PROXY), full=True)
    for name, file in ANSWERS.items():
        payload = captured(name, NODE1)
        if "http://172.0.1.1:8080/assets" in file or file == "":
            served.client.silence(payload, captured("ovmf-pxe-snponly.efi-03-discover", NODE2))
            continue
        reply = served.client.expect(payload)
        assert (reply.kind, reply.yiaddr, reply.options[60]) == (OFFER, "0.0.0.0", b"PXEClient"), name
        assert 51 not in reply.options, "a proxy leases nothing"
        if file == SCRIPT:
            assert reply.file == SCRIPT, name
        elif file == "undionly.kpxe":
            assert b"pxe-appliance" in _menu(reply), name
        else:  # UEFI asks for the file on port 4011
            assert (reply.file, reply.siaddr) == ("", "172.0.1.1"), name


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ovmf-pxe-snponly.efi-02-request", "snponly.efi"),
        ("aavmf-pxe-grub-02-request", "snponly-arm64.efi"),
        ("bios-plain-undionly-e1000-02-request", "undionly.kpxe"),
    ],
)
def test_proxy_mode_answers_on_port_4011(serve: Serve, segment: Segment, name: str, file: str) -> None:
    served = serve(network(mode=NetworkMode.PROXY), full=True)
    changes = {54: socket.inet_aton("172.0.1.1")}
    if file == "undionly.kpxe":
        # PXE 2.1 section 2.4: a BIOS that has its address names the menu's item in suboption 71.
        item = _menu(served.client.expect(captured("bios-plain-undionly-e1000-01-discover", NODE1)))
        at = item.index(b"\x08\x07") + 2
        changes |= {43: b"\x47\x04" + item[at : at + 2] + b"\x00\x00\xff", 50: b""}
    payload = with_options(captured(name, NODE1), changes)
    payload = payload[:12] + socket.inet_aton(served.link.client_address) + payload[16:]
    with wire.udp_socket(segment.clients, served.link.client_address, 4011) as sock:
        sock.sendto(payload, ("172.0.1.1", 4011))
        reply = wire.Reply.parse(sock.recv(2048))
    assert (reply.kind, reply.file, reply.siaddr) == (ACK, file, "172.0.1.1")
    acks = [e for e in served.events() if e.kind is EventKind.ACK]
    assert [(e.machine, e.detail["boot_file"]) for e in acks] == [("node1", file)]


def test_proxy_mode_is_silent_to_strangers_other_nics_and_refused_classes(serve: Serve) -> None:
    served = serve(network(mode=NetworkMode.PROXY))
    known = captured("ovmf-pxe-snponly.efi-03-discover", NODE2)
    for mac in (STRANGER, OTHER_NIC):
        for name in ("ovmf-pxe-snponly.efi-01-discover", "bios-ipxe-rom-virtio-01-discover"):
            served.client.silence(captured(name, mac), known)
    for arch in (6, 11, 15, 65000):
        served.client.silence(Packet(NODE1, options=pxe_options(arch)).payload(), known)
    events = served.events()
    codes = {e.detail["code"] for e in events if e.machine == "node1" and e.mac == Mac.parse(NODE1)}
    assert codes == {"no-boot-file"}
    assert {e.kind for e in events if e.mac == Mac.parse(STRANGER)} == {EventKind.STRAY}


# ── TFTP, and the log file ──


def test_tftp_serves_the_boot_files_and_nothing_outside(
    segment: Segment, dnsmasqs: Dnsmasqs, open_tmp: Path
) -> None:
    net = network()
    link = segment.wire(net.interface, str(net.address), "172.0.1.21")
    root, log, conf = open_tmp / "tftp", open_tmp / "log", open_tmp / "conf"
    root.mkdir()
    content = random.randbytes(70_000)
    (root / "undionly.kpxe").write_bytes(content)
    (open_tmp / "secret").write_text("x")
    conf.write_text(render_tftp([net], templates=TEMPLATES, tftp_root=str(root), log_path=str(log)))
    running = dnsmasqs.start(segment.server, conf, log, ready="started, version")
    assert wire.tftp_get(link.clients, "172.0.1.21", "172.0.1.1", "undionly.kpxe") == content
    for name in ("nothing", "../secret", "/../secret", str(open_tmp / "secret")):
        with pytest.raises(OSError):
            wire.tftp_get(link.clients, "172.0.1.21", "172.0.1.1", name)
    running.await_text("sent ")
    fold, at = Correlator("pxe", Rack(), first_stage=frozenset({"undionly.kpxe"})), datetime.now(UTC)
    records = [parse(line) for line in running.lines()]
    assert [r for r in records if isinstance(r, Unrecognised)] == []
    events = [event for record in records for event in fold.step(record, at)]
    boot = [e for e in events if e.kind is EventKind.BOOTFILE]
    assert [(e.machine, str(e.mac), e.detail["file"]) for e in boot] == [("node1", NODE1, "undionly.kpxe")]
    assert any(e.kind is EventKind.TFTP_ERROR and e.detail["reason"] == "no such file" for e in events)


def test_the_log_file_is_opened_anew_after_a_rotation(serve: Serve) -> None:
    served = serve()
    old = served.dnsmasq.log.with_suffix(".1")
    served.dnsmasq.log.rename(old)
    served.dnsmasq.process.send_signal(signal.SIGUSR2)
    wire.wait_until(served.dnsmasq.log.exists, "the new log file")
    served.client.expect(captured("ovmf-pxe-snponly.efi-01-discover", NODE1))
    served.dnsmasq.await_text("DHCPOFFER(pxe0) 172.0.1.21")


def test_the_class_that_is_none_of_ours_carries_its_tag(serve: Serve) -> None:
    served = serve(network(mode=NetworkMode.PROXY))  # only proxy mode logs the tags of an ignored packet
    known = captured("ovmf-pxe-snponly.efi-03-discover", NODE2)
    served.client.silence(Packet(NODE1, options=pxe_options(10)).payload(), known)
    assert f"tags: {OTHER_TAG}, known" in served.dnsmasq.text()


GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize(
    "conf", sorted(GOLDEN.glob("dnsmasq-*/*.conf")), ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_dnsmasq_itself_accepts_every_golden_file(conf: Path, open_tmp: Path) -> None:
    hosts = conf.with_suffix(".hosts")
    text = conf.read_text()
    scratch = open_tmp / "scratch.conf"
    scratch.write_text(inlined(text, hosts.read_text()) if hosts.exists() else text)
    assert "dhcp-hostsfile" not in scratch.read_text()
    run("dnsmasq", "--test", f"--conf-file={scratch}")
