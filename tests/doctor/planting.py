"""What plants each fault, for real wherever a namespace can have it, and how it is taken back."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from appliance.system.files import exclusive_lock
from tests.doctor.bench import SETTINGS, SHOWN, Bench, node_ack
from tests.fakes.control_socket import canned
from tests.fakes.signing import Signer
from tests.netns.conftest import run
from tests.netns.wire import wait_until

NODE2: Final = "52:54:00:aa:00:11"


def other_network(bench: Bench) -> None:
    """A second interface with an address: the production network."""
    bench.ip_and_back("link add prod0 type veth peer name prod1", "link del prod0")
    bench.ip("addr", "add", "10.9.0.1/24", "dev", "prod0")
    for name in ("prod0", "prod1"):
        bench.ip("link", "set", name, "up")


def peer_down(bench: Bench) -> None:
    link = bench.segment.links[0]
    bench.undo.callback(run, "ip", "-n", link.clients, "link", "set", link.client_device, "up")
    run("ip", "-n", link.clients, "link", "set", link.client_device, "down")


def wrong_address(bench: Bench) -> None:
    bench.ip_and_back("addr del 172.0.1.1/24 dev pxe0", "addr add 172.0.1.1/24 dev pxe0")
    bench.ip_and_back("addr add 172.0.1.9/24 dev pxe0", "addr del 172.0.1.9/24 dev pxe0")


def wrong_prefix(bench: Bench) -> None:
    bench.ip_and_back("addr del 172.0.1.1/24 dev pxe0", "addr add 172.0.1.1/24 dev pxe0")
    bench.ip_and_back("addr add 172.0.1.1/16 dev pxe0", "addr del 172.0.1.1/16 dev pxe0")


def down(bench: Bench) -> None:
    bench.ip_and_back("link set pxe0 down", "link set pxe0 up")


def gone(bench: Bench) -> None:
    bench.ip_and_back("link set pxe0 down", "link set pxe0 up")
    bench.ip_and_back("link set pxe0 name other0", "link set other0 name pxe0")
    bench.ip("link", "set", "other0", "up")
    bench.undo.callback(bench.ip, "link", "set", "other0", "down")


def jumbo(bench: Bench) -> None:
    bench.ip_and_back("link set pxe0 mtu 9000", "link set pxe0 mtu 1500")


def small_mtu(bench: Bench) -> None:
    bench.ip_and_back("link set pxe0 mtu 1400", "link set pxe0 mtu 1500")


def default_route(bench: Bench) -> None:
    bench.ip_and_back("route add default via 172.0.1.254 dev pxe0", "route del default")


def rival_route(bench: Bench) -> None:
    other_network(bench)
    bench.ip_and_back("route add 172.0.1.0/25 dev prod0", "route del 172.0.1.0/25 dev prod0")


def in_a_bridge(bench: Bench) -> None:
    bench.ip_and_back("link add br9 type bridge", "link del br9")
    bench.ip_and_back("link set pxe0 master br9", "link set pxe0 nomaster")


def parent_down(bench: Bench) -> None:
    """The network on a macvlan (802.1Q is not in every kernel) whose parent is down."""
    other_network(bench)
    bench.ip_and_back("link add vl7 link prod0 type macvlan", "link del vl7")
    bench.ip("link", "set", "vl7", "up")
    bench.edit(bench.etc / "appliance.toml", "pxe0", "vl7")
    bench.ip("link", "set", "prod0", "down")


def empty_bridge(bench: Bench) -> None:
    bench.ip_and_back("link add br8 type bridge", "link del br8")
    bench.ip("link", "set", "br8", "up")
    bench.edit(bench.etc / "appliance.toml", "pxe0", "br8")


def other_mac(bench: Bench) -> None:
    bench.edit(bench.etc / "appliance.toml", "subnet =", 'mac = "52:54:00:dd:00:01"\nsubnet =')


def taken(protocol: str, port: int) -> Callable[[Bench], None]:
    """A process has one of our ports before the daemon starts."""

    def plant(bench: Bench) -> None:
        bench.stopped()
        bench.listener(protocol, port)

    return plant


def proxy_server(bench: Bench) -> None:
    bench.listener("udp", 4011)


def second_dhcp(bench: Bench) -> None:
    """A dnsmasq on our interface that nobody of us started."""
    configuration = bench.spare / "second.conf"
    configuration.write_text(
        "port=0\ninterface=pxe0\nbind-dynamic\nno-ping\nleasefile-ro\npid-file=\nlog-facility=-\n"
        "dhcp-range=172.0.1.0,static\ndhcp-ignore=tag:!known\n"
    )
    process = bench.start("dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}", "--user=root")

    def listens() -> bool:
        return f"pid={process.pid}," in bench.inside("ss", "-lnup", "sport = :67")

    wait_until(listens, "the second dnsmasq to listen")


def second_daemon(bench: Bench) -> None:
    """Another root, the same network: its sockets are in nobody's way, its answers would be."""
    script = bench.spare / "pxe-appliance"
    script.write_text("import time\nprint('there', flush=True)\ntime.sleep(600)\n")
    bench.start(sys.executable, str(script), "serve", ready="there")


def rules(text: str) -> Callable[[Bench], None]:
    """A ruleset of nft."""
    return lambda bench: bench.nft(text)


def chain(hook: str, policy: str, *lines: str) -> str:
    """One chain that filters."""
    inside = "\n".join(lines)
    base = f"type filter hook {hook} priority 0; policy {policy};"
    return f"table inet host {{\nchain c {{\n{base}\n{inside}\n}}\n}}\n"


def iptables(bench: Bench) -> None:
    bench.undo.callback(bench.inside, "iptables", "-F", "INPUT")
    for number in ("67:69", "53"):
        bench.inside("iptables", "-A", "INPUT", "-i", "pxe0", "-p", "udp", "--dport", number, "-j", "DROP")


def ufw(bench: Bench) -> None:
    bench.program(
        "ufw",
        "cat <<E\nStatus: active\nDefault: deny (incoming), allow (outgoing), disabled (routed)\n"
        "\nTo                         Action      From\n--                         ------      ----\n"
        "22/tcp                     ALLOW IN    Anywhere\n67/udp on eth0             ALLOW IN    Anywhere\nE",
    )


def firewalld(bench: Bench) -> None:
    bench.program(
        "firewall-cmd",
        'case "$1" in --state) echo running;; --get-zone*) echo public;; '
        "*) printf 'public\\n  target: default\\n  services: dhcpv6-client ssh\\n  ports: \\n';; esac",
    )


def relay_way_elsewhere(bench: Bench) -> None:
    other_network(bench)
    bench.ip_and_back("route add 172.0.9.0/24 via 10.9.0.2 dev prod0", "route del 172.0.9.0/24")
    relayed = 'relayed = [{ subnet = "172.0.9.0/24", router = "172.0.9.1" }]\nsubnet ='
    bench.edit(bench.etc / "appliance.toml", "subnet =", relayed)
    bench.sysctl("net.ipv4.conf.pxe0.rp_filter", 1)


def bridged_frames(bench: Bench) -> None:
    bench.ip_and_back("link add br7 type bridge", "link del br7")
    bench.edit(bench.etc / "appliance.toml", "pxe0", "br7")
    bench.sysctl("net.bridge.bridge-nf-call-iptables", 1)
    bench.nft(chain("forward", "drop", 'iifname "docker0" accept'))


def forwards(bench: Bench) -> None:
    other_network(bench)
    bench.stopped()  # with it goes the guard, which lets nothing pass
    bench.sysctl("net.ipv4.ip_forward", 1)


def tftp_stopped(bench: Bench) -> None:
    """Both stand still: the daemon would end a child that hangs within three seconds."""
    bench.paused(bench.child("tftp"), bench.appliance.daemon_pid())


def daemon_stopped(bench: Bench) -> None:
    bench.paused(bench.appliance.daemon_pid())


def says_of_itself(more: Mapping[str, object]) -> Callable[[Bench], None]:
    """For the doctor alone, somebody else answers for the daemon: its own words, but for `more`."""

    def plant(bench: Bench) -> None:
        answers: dict[str, tuple[int, object]] = {
            "GET /v1/status": (200, {**bench.appliance.status(), **more}),
            "GET /v1/leases": (200, []),
        }
        fake = bench.spare / "fake.sock"
        bench.undo.enter_context(canned(fake, answers))
        bench.mounted(fake, str(bench.place("run/pxe-appliance/control.sock")))

    return plant


def damaged(name: str) -> Callable[[Bench], None]:
    """A first stage with one byte turned, in the TFTP root."""

    def plant(bench: Bench) -> None:
        _mended_by_nobody(bench)
        path = bench.state / "tftp" / name
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        bench.rewrite(path, bytes(content))

    return plant


def _mended_by_nobody(bench: Bench) -> None:
    """As while a sync goes on, when the daemon leaves the TFTP root to that."""
    bench.undo.enter_context(exclusive_lock(bench.place("run/pxe-appliance/lock")))


def missing_stage(bench: Bench) -> None:
    _mended_by_nobody(bench)
    path = bench.state / "tftp/undionly.kpxe"
    bench.undo.callback(shutil.move, bench.spare / "kept", path)
    shutil.move(path, bench.spare / "kept")


def linked(bench: Bench) -> None:
    path = bench.state / "tftp/passwd"
    _again_and_again(bench, path, lambda: path.symlink_to("/etc/passwd"))


def fifo(bench: Bench) -> None:
    path = bench.state / "tftp/pipe"
    _again_and_again(bench, path, lambda: os.mkfifo(path))


def _again_and_again(bench: Bench, path: Path, plant: Callable[[], None]) -> None:
    """Plant what the daemon takes away within seconds, as soon as it has, until it is taken back."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.02):
            with contextlib.suppress(FileExistsError):
                plant()

    thread = threading.Thread(target=keep)

    def back() -> None:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)

    plant()
    bench.undo.callback(back)
    thread.start()


def no_class(bench: Bench) -> None:
    """A host without the package's binaries."""
    empty = bench.spare / "no-ipxe"
    empty.mkdir(exist_ok=True)
    bench.mounted(empty, "/usr/lib/ipxe")


def arm_machine(bench: Bench) -> None:
    rack = bench.etc / "inventory.d/rack.toml"
    bench.edit(rack, 'ip = "172.0.1.21"', 'ip = "172.0.1.21"\narch = "arm64"')


def image_byte(bench: Bench) -> None:
    path = bench.state / "images/local/rescue/1.0/vmlinuz"
    bench.rewrite(path, b"V" + path.read_bytes()[1:])


def key_over(bench: Bench) -> None:
    """An operator's own key, which ended yesterday; and a stream of what it signs."""
    with Signer.make(subkey_expires=datetime.now(UTC) - timedelta(days=1)) as signer:
        certificate = signer.cert()
    (bench.etc / "keys.d").mkdir(exist_ok=True)
    bench.create(bench.etc / "keys.d/over.asc", certificate)
    folder = bench.state / "images/flatcar/stable"
    folder.mkdir(parents=True)
    bench.undo.callback(shutil.rmtree, folder.parent)
    settings = SETTINGS + '[images.flatcar]\nkeys = ["over.asc"]\n'
    bench.rewrite(bench.etc / "appliance.toml", settings.encode())


def pointer_gone(bench: Bench) -> None:
    path = bench.state / "images/local/rescue/current"
    target = path.readlink()
    bench.undo.callback(path.symlink_to, target)
    path.unlink()


def lease_of_a_removed_machine(bench: Bench) -> None:
    node_ack(bench, NODE2)
    rack = bench.etc / "inventory.d/rack.toml"
    block = f'[machine.node2]\nmac = "{NODE2}"\nip = "172.0.1.22"\nprofile = "lab"\n'
    bench.edit(rack, block, "")


def lease_of_a_moved_machine(bench: Bench) -> None:
    node_ack(bench, NODE2)
    bench.edit(bench.etc / "inventory.d/rack.toml", "172.0.1.22", "172.0.1.99")


def unsynced(bench: Bench) -> None:
    bench.edit(bench.etc / "inventory.d/rack.toml", "172.0.1.23", "172.0.1.77")


def many_machines(bench: Bench) -> None:
    lines = "".join(
        f'[machine.big{n}]\nmac = "52:54:00:ee:{n // 200:02x}:{n % 200:02x}"\nip = "172.0.1.{n + 30}"\n'
        for n in range(200)
    )
    bench.create(bench.etc / "inventory.d/big.toml", lines.encode())


def generation_damaged(bench: Bench) -> None:
    path = bench.state / "current/inventory.json"
    bench.rewrite(path.resolve(), path.read_bytes() + b" ")


def not_proven(bench: Bench) -> None:
    path = (bench.state / "current/proven").resolve()
    bench.undo.callback(path.write_bytes, b"")
    bench.paused(bench.appliance.daemon_pid())  # it would prove it again
    path.unlink()


def clock_went_back(bench: Bench) -> None:
    path = (bench.state / "current/manifest.json").resolve()
    year = f"{datetime.now(UTC).year}-"
    bench.edit(path, f'"at": "{year}', f'"at": "{datetime.now(UTC).year + 3}-')


def no_dnsmasq(bench: Bench) -> None:
    """All programs but one."""
    folder = bench.spare / "without"
    folder.mkdir(exist_ok=True)
    for place in ("/usr/sbin", "/usr/bin", "/sbin", "/bin", str(bench.bin)):
        for program in Path(place).iterdir():
            if program.name != "dnsmasq" and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    bench.only_path(str(folder))


def told(path: str, old: str, new: str) -> Callable[[Bench], None]:
    """A program on PATH says something else."""
    return lambda bench: bench.edit(bench.bin / path, old, new)


def shown(old: str, new: str) -> Callable[[Bench], None]:
    """systemctl show says something else."""
    assert old in SHOWN
    return told("unit.shown", old, new)


def governor(bench: Bench) -> None:
    tree = bench.spare / "cpu"
    for number in (0, 1):
        place = tree / f"cpu{number}/cpufreq"
        place.mkdir(parents=True, exist_ok=True)
        (place / "scaling_governor").write_text("powersave\n")
        (place / "scaling_driver").write_text("acpi-cpufreq\n")
    bench.mounted(tree, "/sys/devices/system/cpu")


def full_disk(bench: Bench) -> None:
    bench.small_disk(bench.state / "images", "size=64k", 'head -c 1m /dev/zero >"$d/fill" 2>/dev/null; true')


def no_inodes(bench: Bench) -> None:
    fill = 'for n in a b c d e f g h i j k l m n o p q r; do touch "$d/$n"; done 2>/dev/null; true'
    bench.small_disk(bench.state / "images", "size=16m,nr_inodes=16", fill)


def dns_too(bench: Bench) -> None:
    """A process on port 53 that the daemon calls its child."""
    pid = bench.listener("udp", 53)
    says_of_itself({"dnsmasq": {"children": [{"name": "dhcp:pxe", "state": "serving", "pid": pid}]}})(bench)


def shim(bench: Bench) -> None:
    bench.create(bench.state / "tftp/shimx64.efi", b"MZ")
