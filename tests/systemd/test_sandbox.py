"""The service's walls: what systemd and the kernel say of them, and that all of it works inside."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess

import pytest

from tests.fakes.webhook_receiver import receiving
from tests.figures import Figures
from tests.netns.machines import Machine as Client
from tests.netns.wire import inside, tftp_get
from tests.systemd.machine import CHECKOUT, CLIENT_ADDRESS, Machine
from tests.systemd.operator import OPT, SETTINGS

pytestmark = pytest.mark.netns
UNIT = "pxe-appliance.service"
ALLOWED = 1 << 10 | 1 << 12  # CAP_NET_BIND_SERVICE, CAP_NET_ADMIN


def _score(unit: str) -> float:
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=17"]
    done = subprocess.run(
        [*argv, str(CHECKOUT / "systemd" / unit)], capture_output=True, text=True, check=False
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert done.returncode == 0, f"{unit} is above 1.7: {found[1]}"
    return float(found[1])


@pytest.mark.parametrize("unit", ["pxe-appliance.service", "pxe-appliance-images.service"])
def test_exposure(unit: str, figures: Figures) -> None:
    figures.tell("service", f"exposure of {unit}", f"{_score(unit):.1f}", "<= 1.7")


def test_no_process_is_root_or_could_become_it(host: Machine, node1: Client) -> None:
    node1.acquire()
    found = host.processes(UNIT)
    assert {process["Name"] for process in found} >= {"pxe-appliance", "dnsmasq"}
    for process in found:
        assert "0" not in process["Uid"].split() + process["Gid"].split(), process["Name"]
        for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh"):
            assert int(process[name], 16) & ~ALLOWED == 0, (process["Name"], name, process[name])
        assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2"), process["Name"]


# Each of these has to fail, with an error of the kernel's; what is printed is what did not.
FORBIDDEN = r"""
import ctypes, os, resource, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *args):
    if getattr(libc, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), name)

def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

def run(*argv):
    subprocess.run(argv, check=True, capture_output=True)

def others():
    mine = os.getuid()
    if all(os.stat(f"/proc/{p}").st_uid == mine for p in os.listdir("/proc") if p.isdigit()):
        raise PermissionError("none is visible")

def port(number):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.5", number))

# What it needs: were this refused, the rest would say nothing.
write("/var/lib/pxe-appliance/own")
port(68)
os.listdir("/etc/pxe-appliance/inventory.d")

tried = {
    "write /etc": lambda: write("/etc/pxe-appliance/appliance.toml"),
    "make a file in /etc": lambda: write("/etc/x"),
    "write the program": lambda: write("OPT/x"),
    "write /var": lambda: write("/var/x"),
    "read shadow": lambda: open("/etc/shadow"),
    "list /root": lambda: os.listdir("/root"),
    "list secrets.d": lambda: os.listdir("/etc/pxe-appliance/secrets.d"),
    "write images.lock": lambda: write("/etc/pxe-appliance/images.lock"),
    "AF_PACKET": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "AF_INET6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "AF_VSOCK": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    "AF_ALG": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "raw ICMP": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "setuid 0": lambda: os.setuid(0),
    "unshare a network": lambda: call("unshare", 0x40000000),
    "unshare users": lambda: call("unshare", 0x10000000),
    "mount": lambda: call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, 0),
    "chroot": lambda: os.chroot("/tmp"),
    "ptrace": lambda: call("ptrace", 0, 0, 0, 0),
    "read another's memory": lambda: open("/proc/1/mem", "rb"),
    "see other processes": others,
    "kill another's": lambda: os.kill(1, 0),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "SCHED_FIFO": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20)),
    "W+X memory": lambda: __import__("mmap").mmap(-1, 4096, prot=7),
    "/dev/mem": lambda: open("/dev/mem"),
    "/dev/kmsg": lambda: open("/dev/kmsg"),
    "forwarding": lambda: open("/proc/sys/net/ipv4/ip_forward", "w"),
    "control groups": lambda: write("/sys/fs/cgroup/x"),
    "setuid file": lambda: (write("/var/lib/pxe-appliance/s"), os.chmod("/var/lib/pxe-appliance/s", 0o4755)),
    "load a module": lambda: call("syscall", 313, 0, b"", 0),
    "keyrings": lambda: call("syscall", 250, 0, -3, 1),
    "bpf": lambda: call("syscall", 321, 0, 0, 0),
    "host name": lambda: socket.sethostname("x"),
    "sudo": lambda: run("/bin/su", "-c", "true"),
    "start a unit": lambda: run("systemctl", "start", "systemd-timesyncd"),
}
for what, attempt in tried.items():
    try:
        attempt()
    except (OSError, ValueError, subprocess.CalledProcessError):
        continue
    print("ALLOWED", what)
print("tried", len(tried))
"""


def _in_the_sandbox(host: Machine, python: str, script: str) -> str:
    """Run a script in the shipped unit instead of the daemon; what it printed."""
    host.write(f"{OPT}/attempt.py", script)
    unit = host.read(f"/usr/local/lib/systemd/system/{UNIT}")
    unit = re.sub(r"^(Type|Notify|Restart|Watchdog|ExecReload|Runtime).*\n", "", unit, flags=re.MULTILINE)
    start = f"Type=oneshot\nExecStart={python} {OPT}/attempt.py"
    host.write("/run/systemd/system/attempt.service", re.sub(r"(?m)^ExecStart=.*", start, unit))
    host.run("systemctl", "daemon-reload")
    invocation = host.run("journalctl", "--show-cursor", "--lines=0", "--quiet").stdout
    cursor = invocation.partition("-- cursor: ")[2].strip()
    done = host.run("systemctl", "start", "attempt", check=False)
    said = host.log("--unit=attempt", "--output=cat", f"--after-cursor={cursor}")
    assert done.returncode == 0, said
    return said


def test_what_is_forbidden_fails(host: Machine, figures: Figures) -> None:
    said = _in_the_sandbox(host, "/usr/bin/python3", FORBIDDEN.replace("OPT", OPT))
    tried = re.search(r"^tried (\d+)$", said, re.MULTILINE)
    assert tried, said
    assert "ALLOWED" not in said
    figures.tell("service", "forbidden actions that the sandbox stopped", tried[1], "all")


TRIAL = """
from pathlib import Path
from appliance.dnsmasq.trial import trial_start
hosts = Path("/tmp/hosts")
hosts.write_text("52:54:00:aa:00:01,172.0.1.21,node1\\nnot a line of hosts,x,,y\\n")
conf = Path("/var/lib/pxe-appliance/current/network/pxe/dnsmasq.conf").read_text()
print(trial_start(conf, hosts))
"""


def test_a_trial_start_in_the_sandbox_sees_what_dnsmasq_rejects(host: Machine) -> None:
    said = _in_the_sandbox(host, f"{OPT}/bin/python3", TRIAL)
    assert "at line 2 of /tmp/hosts" in said, said
    assert "dnsmasq rejected lines at a trial start" in said


def test_a_client_boots(host: Machine, node1: Client) -> None:
    ack = node1.acquire()
    assert ack.yiaddr == "172.0.1.21"
    name = ack.file or ack.options[67].decode()
    got = tftp_get(host.clients, CLIENT_ADDRESS, "172.0.1.1", name)
    published = (host.root / "var/lib/pxe-appliance/tftp" / name).read_bytes()
    assert hashlib.sha256(got).digest() == hashlib.sha256(published).digest()
    script = node1.boot()
    assert script.status == 200
    assert "/assets/lab/vmlinuz" in script.text
    document = node1.ignition()
    assert (document.status, json.loads(document.text)["ignition"]["version"]) == (200, "3.3.0")
    proof = host.run("pxe-appliance", "prove")
    assert "Proven:" in proof.stdout, proof.stdout
    doctor = json.loads(host.run("pxe-appliance", "doctor", "-o", "json", check=False).stdout)
    assert [finding for finding in doctor if finding["verdict"] == "error"] == []


def test_a_change_is_read_by_dnsmasq_in_the_sandbox_too(host: Machine) -> None:
    """Without a namespace: on the loopback interface, and what it rejects is not applied."""
    rack = "/etc/pxe-appliance/inventory.d/rack.toml"
    before = host.read(rack)
    host.write(rack, before.replace("52:54:00:aa:00:21", "52:54:00:aa:00:29"))
    said = host.run("pxe-appliance", "sync", "--yes").stdout
    assert "pxe: dnsmasq started on it on the loopback interface and rejected nothing" in said
    assert "is current, active and verified" in said
    host.write(rack, before)
    host.run("pxe-appliance", "sync", "--yes")
    assert len(host.processes(UNIT)) == 3, "the daemon and two dnsmasq: what was tried is gone"


def test_the_control_socket_is_the_groups(host: Machine) -> None:
    host.run("useradd", "--groups", "pxe-appliance", "member")
    host.run("useradd", "stranger")
    rack = "/etc/pxe-appliance/inventory.d/rack.toml"
    before = host.read(rack)
    host.write(rack, before.replace("52:54:00:aa:00:21", "52:54:00:aa:00:2a"))
    said = host.run("pxe-appliance", "sync", "--yes", user="member")
    assert "is current, active and verified" in said.stdout
    listed = json.loads(host.run("pxe-appliance", "generations", "-o", "json", user="member").stdout)
    assert listed[-1]["who"] == "member"
    host.write(rack, before)
    host.run("pxe-appliance", "sync", "--yes", user="member")
    for command in (["status"], ["sync", "--yes"], ["machine", "hold", "node1"]):
        refused = host.run("pxe-appliance", *command, check=False, user="stranger")
        assert refused.returncode in (4, 5), (command, refused.stdout, refused.stderr)
        assert "permission denied" in refused.stderr.lower(), refused.stderr


def test_secrets_are_roots_and_reach_the_service(host: Machine) -> None:
    """systemd hands them over; a webhook is signed with one, over the network."""
    secret = b"0123456789abcdef0123456789abcdef"
    place = "/etc/pxe-appliance/secrets.d/hook"
    host.write(place, secret, mode=0o600)
    assert host.run("stat", "-c", "%a %U", "/etc/pxe-appliance/secrets.d").stdout.strip() == "700 root"
    listener = inside(host.clients, lambda: socket.create_server((CLIENT_ADDRESS, 0)))
    with receiving(secret, listener=listener) as receiver:
        hook = f'[webhook.hook]\nurl = "http://{CLIENT_ADDRESS}:{receiver.port}/"\nsecret = "hook"\n'
        host.write("/etc/pxe-appliance/appliance.toml", SETTINGS + hook)
        host.run("systemctl", "restart", UNIT)
        host.run("pxe-appliance", "webhook", "test", "hook")
        assert [d.genuine for d in receiver.deliveries if d.body["type"] == "test"] == [True]
    told = host.run("pxe-appliance", "check", user="nobody", check=False)
    assert secret.decode() not in told.stdout + told.stderr
    seen = host.run("sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline", check=False).stdout
    assert secret.decode() not in seen + host.log()


def test_the_unit_starts_without_secrets_d(host: Machine) -> None:
    host.run("rm", "-r", "/etc/pxe-appliance/secrets.d")
    host.write("/etc/pxe-appliance/appliance.toml", SETTINGS)
    host.run("systemctl", "restart", UNIT)
    host.run("systemd-tmpfiles", "--create", "/usr/local/lib/tmpfiles.d/pxe-appliance.conf")
    assert host.show(UNIT, "ActiveState") == {"ActiveState": "active"}


# docs/install.md has it: without webhooks and an external endpoint, no packet need go anywhere else.
WIRE_ONLY = """
[Service]
IPAddressDeny=any
IPAddressAllow=127.0.0.0/8 172.0.1.0/24 0.0.0.0/32 255.255.255.255/32
"""
ELSEWHERE = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"", ("172.0.1.250", 9))
    sock.sendto(b"", ("192.0.2.1", 9))
"""


def test_no_packet_elsewhere_where_none_is_needed(host: Machine, node1: Client) -> None:
    host.run("ip", "route", "add", "192.0.2.0/24", "dev", "pxe0")
    host.write("/tmp/elsewhere.py", ELSEWHERE)
    limits = [f"--property={line}" for line in WIRE_ONLY.split("\n") if line.startswith("IPAddress")]
    for properties, words in (([], ""), (limits, "PermissionError")):
        argv = ["systemd-run", "--pipe", "--quiet", "--wait", *properties, "python3", "/tmp/elsewhere.py"]
        done = host.run(*argv, check=False)
        assert (done.returncode != 0, words in done.stderr) == (bool(words), True), done.stderr
    host.write(f"/etc/systemd/system/{UNIT}.d/wire.conf", WIRE_ONLY)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", UNIT)
    try:
        assert node1.boot().status == 200
        assert "Proven:" in host.run("pxe-appliance", "prove").stdout
    finally:
        host.run("rm", "-r", f"/etc/systemd/system/{UNIT}.d")
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", UNIT)
