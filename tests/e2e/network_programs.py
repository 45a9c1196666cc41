"""systemd-networkd and NetworkManager, as a small machine runs them.

networkd is this host's. NetworkManager is not installed, because a host that has it runs it: its package is
fetched with apt and unpacked into a cache, with those of its libraries that the host lacks.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from appliance.lab.kernel import CACHE
from appliance.system.command import run
from tests.e2e.small_machine import Program

_SYSTEMD = Path("/lib/systemd")
_PACKAGES = CACHE / "network-manager"
# As Flatcar's: DHCP on whatever is left, and where the root is in memory, on what containers have, too.
_GREEDY = b"[Match]\nName=*\n\n[Network]\nDHCP=yes\n"
_BUS = b"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""

_NETWORKD = r"""
start() {
    # What its unit gives it (RuntimeDirectory=); it gives root up for this user.
    mkdir -p /run/systemd/netif
    chown 998:998 /run/systemd/netif
    SYSTEMD_LOG_TARGET=console /lib/systemd/systemd-networkd 2>/program.log &
}
configured() {
    state=/run/systemd/netif/links/$(cat "/sys/class/net/$1/ifindex" 2>/dev/null)
    grep -qs ADMIN_STATE=configured "$state"
}
ready() {
    for device in $(cat /devices); do configured "$device" || return 1; done
}
summary() {
    echo "== online"
    /lib/systemd/systemd-networkd-wait-online --timeout=10 && echo yes
    echo "== log"; cat /program.log
}
state() { cat "/run/systemd/netif/links/$1"; }
"""

_MANAGER = r"""
start() {
    mkdir -p /run/dbus /run/NetworkManager
    dbus-daemon --config-file=/bus.conf --nofork --nosyslog >/bus.log 2>&1 &
    for try in $(seq 100); do [ -S /run/dbus/system_bus_socket ] && break; usleep 100000; done
    NetworkManager --debug >/program.log 2>&1 &
}
devices() { nmcli --colors no -t -f DEVICE,STATE,CONNECTION device; }
ready() {
    devices >/devices.now
    for device in $(cat /devices); do grep -q "^$device:connected:" /devices.now || return 1; done
}
summary() {
    echo "== devices"; devices
    echo "== resolv.conf"; cat /etc/resolv.conf
    echo "== log"; cat /program.log /bus.log
}
state() { :; }
"""


def networkd(*devices: str) -> Program:
    """systemd-networkd, which has to have configured `devices`."""
    shipped = {
        f"usr/lib/systemd/network/{name}.network": (0o644, _GREEDY) for name in ("yy-pxe", "zz-default")
    }
    names = ("systemd-networkd", "systemd-networkd-wait-online")
    return Program(
        _NETWORKD,
        {f"lib/systemd/{name}": _SYSTEMD / name for name in names},
        contents={
            **shipped,
            "devices": (0o644, " ".join(devices).encode()),
            "etc/passwd": (0o644, b"root:x:0:0::/:/bin/sh\nsystemd-network:x:998:998::/:/bin/false\n"),
            "etc/group": (0o644, b"root:x:0:\nsystemd-network:x:998:\n"),
        },
    )


def network_manager(*devices: str) -> Program:
    """NetworkManager, which has to have connected `devices`."""
    root = _unpacked()
    bus = next(path for path in (root / "usr/bin/dbus-daemon", Path("/usr/bin/dbus-daemon")) if path.exists())
    return Program(
        _MANAGER,
        {
            "bin/NetworkManager": root / "usr/sbin/NetworkManager",
            "bin/nmcli": root / "usr/bin/nmcli",
            "bin/dbus-daemon": bus,
        },
        root,
        {
            "bus.conf": (0o644, _BUS),
            "devices": (0o644, " ".join(devices).encode()),
            "etc/passwd": (0o644, b"root:x:0:0::/:/bin/sh\n"),
            "etc/resolv.conf": (0o644, b""),
            "etc/NetworkManager/NetworkManager.conf": (
                0o644,
                b"[main]\nplugins=keyfile\nauth-polkit=false\ndns=default\n",
            ),
            "var/lib/NetworkManager/.keep": (0o644, b""),
        },
    )


def _unpacked() -> Path:
    """Where NetworkManager's package is unpacked, with everything that it needs and this host lacks."""
    if Path("/usr/sbin/NetworkManager").exists():
        return Path("/")
    if not (_PACKAGES / "usr/sbin/NetworkManager").exists():
        simulated = run(
            ["apt-get", "install", "--simulate", "--no-install-recommends", "network-manager", "dbus"],
            timeout=60,
        )
        missing = re.findall(r"^Inst (\S+)", simulated.stdout, re.MULTILINE)
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=CACHE) as name:
            fetch = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *missing]
            proxies = {key: os.environ[key] for key in ("http_proxy", "no_proxy") if key in os.environ}
            run(["env", f"--chdir={name}", *fetch], timeout=300, env=proxies)
            for deb in Path(name).glob("*.deb"):
                run(["dpkg-deb", "--extract", str(deb), f"{name}/root"], timeout=60)
            shutil.rmtree(_PACKAGES, ignore_errors=True)
            Path(name, "root").rename(_PACKAGES)
    return _PACKAGES
