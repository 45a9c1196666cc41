"""What an operator may say to dnsmasq; and that dnsmasq itself reads no more in a file than we do."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from appliance.dnsmasq.directives import _WHY, ALLOWED, not_allowed
from appliance.dnsmasq.process import check_syntax

FILE = "/etc/pxe-appliance/dnsmasq.d/10.conf"
# Undone promises, other doors, programs: each of them passed once.
DANGERS = """\
conf-script=/tmp/x
conf-file=/etc/shadow
conf-dir=/tmp
servers-file=/tmp/x
dhcp-script=/tmp/x
dhcp-luascript=/tmp/x
dhcp-scriptuser=root
script-arp
script-on-renewal
dhcp-leasefile=/tmp/x
leasefile-ro
user=root
group=root
pid-file=/tmp/x
port=53
interface=eth0
except-interface=pxe0
listen-address=0.0.0.0
bind-interfaces
bind-dynamic
no-dhcp-interface=pxe0
bridge-interface=pxe0,eth0
tftp-root=/
enable-tftp
tftp-secure
tftp-no-fail
dhcp-hostsfile=/tmp/h
dhcp-hostsdir=/tmp
dhcp-optsfile=/tmp/h
dhcp-optsdir=/tmp
dhcp-host=52:54:00:00:00:01,172.0.1.99
dhcp-range=172.0.1.100,172.0.1.200
dhcp-relay=172.0.1.1,10.0.0.1
dhcp-proxy
shared-network=eth0,172.0.1.1
read-ethers
bootp-dynamic
enable-ra
log-facility=/tmp/x
log-async
quiet-dhcp
quiet-tftp
addn-hosts=/etc/shadow
dumpfile=/etc/passwd
enable-dbus
address=/x/10.0.0.1
dhcp-rapid-commit
no-such-directive
""".splitlines()
HARMLESS = """
# a comment, conf-script=/tmp/x
dhcp-option=option:router,172.0.1.254
dhcp-option-force=tag:x,6,1.1.1.1 # DNS
\tdhcp-match = set:x,60,"PXE Client # 1"
dhcp-mac=set:lab,52:54:00:*:*:*
tag-if=set:b,tag:a
dhcp-boot=tag:b-7,mine.efi,,172.0.1.1
pxe-service=x86PC,"Boot",mine
dhcp-ignore=tag:known
dhcp-authoritative
no-ping # nobody answers
dhcp-lease-max=10000
"""


@pytest.mark.parametrize("line", DANGERS)
def test_what_is_not_about_clients_is_refused_with_its_place_and_the_reason(line: str) -> None:
    (problem,) = not_allowed(FILE, f"# mine\nno-ping\n{line}\n".encode())
    assert (problem.file, problem.line) == (FILE, 3)
    name = line.partition("=")[0]
    assert f"{name} is not allowed here: " in problem.message
    judged = "nobody has judged it" not in problem.message
    assert judged == (line not in {"dhcp-rapid-commit", "no-such-directive"})
    assert "dhcp-option" in problem.hint


@pytest.mark.parametrize(
    "line",
    [
        b"  conf-script=/tmp/x",
        b"\tconf-script = /tmp/x # c",
        b"\x0b\x0cconf-script=/tmp/x\r",
        b'"conf-script"=/tmp/x',
        b"conf-scrip\\t=/tmp/x",
        b"--conf-script=/tmp/x",
        b"conf-script /tmp/x",
        b"Conf-Script=/tmp/x",
        b"conf-scri=/tmp/x",
        b"6=/tmp/x",
        b"# " + b"a" * 1021 + b"conf-script=/tmp/x",
        b"#" + b"a" * 1022 + b"\nconf-script=/tmp/x",
        b"dhcp-option=6,1.1.1.1" + b" " * 1010 + b"conf-script=/tmp/x",
        b"\xef\xbb\xbfconf-script=/tmp/x",
        b"=x",
    ],
)
def test_no_spelling_gets_around_it(line: bytes) -> None:
    assert not_allowed(FILE, line)
    assert not_allowed(FILE, b"no-ping\n" + line + b"\nno-ping")


def test_what_is_about_clients_may_stand_there() -> None:
    assert not_allowed(FILE, HARMLESS.encode()) == []
    assert not_allowed(FILE, HARMLESS.replace("\n", "\r\n").encode()) == []
    assert not_allowed(FILE, b"") == []


def test_dnsmasq_takes_it_too(tmp_path: Path) -> None:
    file = tmp_path / "x.conf"
    file.write_text(HARMLESS)
    assert check_syntax(file) == ""


def test_a_file_s_name_cannot_be_a_directive() -> None:
    (problem,) = not_allowed(FILE.replace("10", "10\nconf-script=x\n"), b"")
    assert "\n" not in problem.file


def test_every_name_is_one_of_dnsmasq_s() -> None:
    """A name that is misspelt here would allow or refuse nothing."""
    done = subprocess.run(["dnsmasq", "--help"], capture_output=True, text=True, check=True, env=os.environ)
    known = set(re.findall(r"--([a-z0-9-]+)", done.stdout))
    assert known >= ALLOWED
    assert set(_WHY) - known == set()
    assert not ALLOWED & set(_WHY)
