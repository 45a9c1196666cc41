"""The faults, as data: a name, what plants it, and the check that has to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.doctor.bench import Bench
from tests.doctor.planting import (
    NODE2,
    arm_machine,
    bridged_frames,
    chain,
    clock_went_back,
    daemon_stopped,
    damaged,
    default_route,
    dns_too,
    down,
    empty_bridge,
    fifo,
    firewalld,
    forwards,
    full_disk,
    generation_damaged,
    gone,
    governor,
    image_byte,
    in_a_bridge,
    iptables,
    jumbo,
    key_over,
    lease_of_a_moved_machine,
    lease_of_a_removed_machine,
    linked,
    many_machines,
    missing_stage,
    no_class,
    no_dnsmasq,
    no_inodes,
    not_proven,
    other_mac,
    parent_down,
    peer_down,
    pointer_gone,
    proxy_server,
    relay_way_elsewhere,
    rival_route,
    rules,
    says_of_itself,
    second_daemon,
    second_dhcp,
    shim,
    shown,
    small_mtu,
    taken,
    tftp_stopped,
    told,
    ufw,
    unsynced,
    wrong_address,
    wrong_prefix,
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a host. `verdict` is what its check must say."""

    name: str
    plant: Callable[[Bench], None]
    expected: str
    verdict: str = "error"
    says: str = ""  # a word of the message, the evidence or the fix
    check: str = ""  # to ask for, where it is not what is found


FAULTS: Final = (
    # interface
    Fault("the interface is gone", gone, "interface-present", says="other0"),
    Fault("the interface is down", down, "interface-up", says="ip link set pxe0 up"),
    Fault("no carrier", peer_down, "interface-carrier", says="ethtool pxe0"),
    Fault("another address", wrong_address, "interface-address", says="ip addr add 172.0.1.1/24 dev pxe0"),
    Fault("another prefix", wrong_prefix, "interface-prefix", says="/16"),
    Fault("part of the subnet is elsewhere", rival_route, "interface-subnet", says="172.0.1.0/25 dev prod0"),
    Fault("jumbo frames", jumbo, "interface-mtu", "warning", "9000"),
    Fault("a small MTU", small_mtu, "interface-mtu", "warning", "ip link set pxe0 mtu 1500"),
    Fault("another NIC has the name", other_mac, "interface-mac", says="52:54:00:dd:00:01"),
    Fault("the default route", default_route, "interface-default-route", says="name the interface"),
    Fault("the parent is down", parent_down, "interface-parent", says="prod0"),
    Fault("a bridge without ports", empty_bridge, "interface-parent", says="br8"),
    Fault("a port of a bridge", in_a_bridge, "interface-member", says="br9"),
    # ports
    Fault("our dnsmasq answers DNS", dns_too, "port-53", "warning", "dnsmasq"),
    Fault("67 is taken", taken("udp", 67), "port-67", says="python"),
    Fault("69 is taken", taken("udp", 69), "port-69", says="kill"),
    Fault("8080 is taken", taken("tcp", 8080), "port-http", says="tcp/8080"),
    Fault("4011 is served", proxy_server, "port-4011", "warning", "proxy DHCP"),
    Fault("a second DHCP server", second_dhcp, "dhcp-servers", says="dnsmasq"),
    Fault("67 beside us", second_dhcp, "port-67", says="beside us"),
    # firewall
    Fault(
        "policy drop",
        rules(chain("input", "drop", 'iifname "lo" accept')),
        "firewall-dhcp",
        says='nft insert rule inet host c iifname "pxe0" udp dport 67 accept',
    ),
    Fault(
        "a rule drops TFTP",
        rules(chain("input", "accept", "udp dport 69 drop")),
        "firewall-tftp",
        says="handle",
    ),
    Fault(
        "stateless: what follows a TFTP request is dropped",
        rules(chain("input", "drop", "udp dport { 67, 69 } accept", "tcp dport 8080 accept")),
        "firewall-tftp",
        says="ct state established,related",
    ),
    Fault(
        "HTTP is rejected",
        rules(
            chain("input", "accept", "ct state established accept", 'iifname "pxe*" tcp dport 1-65535 reject')
        ),
        "firewall-http",
        says="tcp dport 8080",
    ),
    Fault(
        "a set of ports, behind a jump",
        rules(
            "table ip t {\nset s { type inet_service; elements = { 67, 68 } }\n"
            "chain d { udp dport @s drop\n}\n"
            "chain i { type filter hook input priority 0; iifname pxe0 jump d\n}\n}\n"
        ),
        "firewall-dhcp",
    ),
    Fault(
        "a verdict map",
        rules(
            "table inet t {\nchain i { type filter hook input priority 0; policy accept;\n"
            "udp dport vmap { 53 : accept, 67 : drop }\n}\n}\n"
        ),
        "firewall-dhcp",
        says="vmap",
    ),
    Fault(
        "before routing",
        rules(
            "table ip raw {\nchain p { type filter hook prerouting priority raw; policy accept;\n"
            "fib daddr type broadcast drop\n}\n}\n"
        ),
        "firewall-dhcp",
    ),
    Fault(
        "our answers are dropped",
        rules(chain("output", "accept", "udp sport 67 drop")),
        "firewall-replies",
        says="OFFER",
    ),
    Fault(
        "iptables", iptables, "firewall-dhcp", says="iptables -I INPUT -i pxe0 -p udp --dport 67 -j ACCEPT"
    ),
    Fault("ufw", ufw, "firewall-ufw", says="ufw allow in on pxe0 to any port 67 proto udp"),
    Fault("firewalld", firewalld, "firewall-firewalld", says="--add-service=dhcp"),
    # forwarding
    Fault("ip_forward", forwards, "forwarding", "warning", "pxe0 -> prod0"),
    Fault("rp_filter and a relay", relay_way_elsewhere, "reverse-path", says="rp_filter"),
    Fault("bridge-nf-call-iptables", bridged_frames, "bridge-netfilter", says="bridge-nf-call-iptables"),
    # daemon, fetching
    Fault("no daemon", lambda b: b.stopped(), "daemon-running", says="systemctl start"),
    Fault("the daemon stands still", daemon_stopped, "daemon-answers", says="restart"),
    Fault("HTTP stands still", daemon_stopped, "http-health", says="no answer"),
    Fault("TFTP stands still", tftp_stopped, "tftp-fetch", says="no answer"),
    Fault("a second daemon", second_daemon, "daemon-single", says="serve"),
    Fault(
        "another version runs",
        says_of_itself({"daemon": {"running": True, "version": "0.0.9"}}),
        "daemon-version",
        "warning",
        "0.0.9",
    ),
    Fault(
        "a child does not come up",
        says_of_itself(
            {
                "dnsmasq": {
                    "children": [
                        {
                            "name": "dhcp:pxe",
                            "state": "backoff",
                            "pid": None,
                            "restarts": 9,
                            "said": "no room",
                        }
                    ]
                }
            }
        ),
        "dnsmasq-children",
        says="no room",
    ),
    Fault(
        "another server was heard",
        says_of_itself(
            {
                "rogue_servers": [
                    {"ip": "172.0.1.66", "mac": "52:54:00:66:66:66", "network": "pxe", "how": "probe"}
                ]
            }
        ),
        "rogue-server",
        says="52:54:00:66:66:66",
    ),
    Fault(
        "a problem of the daemon's own",
        says_of_itself(
            {
                "problems": [
                    {
                        "id": "held",
                        "severity": "warning",
                        "message": "node1 is held: loop",
                        "fix": "machine release node1",
                    }
                ]
            }
        ),
        "held",
        "warning",
        "node1 is held",
        "status",
    ),
    Fault("a damaged first stage", damaged("undionly.kpxe"), "tftp-fetch", says="pxe-appliance sync"),
    Fault("a damaged first stage for HTTP boot", damaged("ipxe.efi"), "http-fetch", says="ipxe.efi"),
    # boot files
    Fault("a first stage is missing", missing_stage, "boot-published", says="undionly.kpxe"),
    Fault("no iPXE on this host", no_class, "boot-files", says="apt install ipxe"),
    Fault("arm64 without a first stage", arm_machine, "boot-arch", says="arm64"),
    Fault("a shim before what is not signed", shim, "secure-boot", "warning", "shimx64.efi"),
    # files
    Fault(
        "anybody may write the inventory",
        lambda b: b.mode(b.etc / "inventory.d/rack.toml", 0o666),
        "files-etc",
        says="chmod o-w",
    ),
    Fault(
        "the state is another's",
        lambda b: b.owner(b.state / "history.db", 12345),
        "files-state",
        says="chown",
    ),
    Fault(
        "the socket is open to all",
        lambda b: b.mode(b.place("run/pxe-appliance/control.sock"), 0o666),
        "files-run",
        says="control.sock",
    ),
    Fault(
        "Ignition is open to all",
        lambda b: b.mode(b.etc / "ignition.d", 0o755),
        "files-secrets",
        "warning",
        says="lab.ign",
    ),
    Fault("a link in the TFTP root", linked, "files-tftp", says="/etc/passwd"),
    Fault("a FIFO in the TFTP root", fifo, "files-tftp", says="no plain file"),
    Fault("a first stage is another's", lambda b: b.owner(b.state / "tftp/snponly.efi", 12345), "files-tftp"),
    # packages
    Fault(
        "an old dnsmasq",
        told("packages", "2.90-4~deb12u2", "2.90-4~deb12u1"),
        "package-dnsmasq",
        says="apt install dnsmasq-base",
    ),
    Fault(
        "no iPXE package", told("packages", "installed ipxe", "not-installed ipxe"), "package-ipxe", "warning"
    ),
    Fault(
        "the window manager",
        told("packages", "installed ipxe", "installed matchbox 1.2-1\ninstalled ipxe"),
        "package-matchbox",
        "warning",
        "apt purge matchbox",
    ),
    Fault("dnsmasq is not there", no_dnsmasq, "programs", says="apt install dnsmasq-base"),
    # host
    Fault("a full disk", full_disk, "disk-space", says="df -h"),
    Fault("no inodes", no_inodes, "disk-inodes", says="df -i"),
    Fault("the clock is free", told("clock", "=yes", "=no"), "clock-synchronised", "warning", "set-ntp"),
    Fault("the clock went back", clock_went_back, "clock-sane", says="future"),
    Fault("powersave", governor, "cpu-governor", "warning", "performance"),
    Fault("more machines than a buffer holds", many_machines, "receive-buffer", "warning", "rmem_default"),
    # leases, sources
    Fault("a lease of a removed machine", lease_of_a_removed_machine, "leases-removed", "warning", "node2"),
    Fault("a lease of a moved machine", lease_of_a_moved_machine, "leases-moved", "warning", "172.0.1.99"),
    Fault("not synced", unsynced, "inventory-synced", "warning", "node3"),
    Fault(
        "broken settings",
        lambda b: b.edit(b.etc / "appliance.toml", "subnet", "sub net"),
        "settings",
        says="appliance.toml",
    ),
    Fault(
        "a broken inventory",
        lambda b: b.edit(b.etc / "inventory.d/rack.toml", NODE2, "52:54:00:aa:00:01"),
        "inventory",
        says="rack.toml",
    ),
    Fault("a damaged generation", generation_damaged, "generation", says="rollback"),
    Fault("a generation that is not proven", not_proven, "generation-proven", "warning"),
    # unit
    Fault("no unit", shown("LoadState=loaded", "LoadState=not-found"), "unit-installed", "warning"),
    Fault("a masked unit", shown("LoadState=loaded", "LoadState=masked"), "unit-installed", says="unmask"),
    Fault("not enabled", shown("=enabled", "=disabled"), "unit-enabled", "warning", "systemctl enable"),
    Fault("failed", shown("ActiveState=active", "ActiveState=failed"), "unit-active", says="journalctl"),
    Fault("crashes", shown("NRestarts=0", "NRestarts=77"), "unit-restarts", "warning", "77"),
    Fault(
        "root after all",
        told("unit.text", "User=pxe-appliance", "User=root"),
        "unit-hardening",
        "warning",
        "root",
    ),
    Fault(
        "a sandbox with a hole",
        told("unit.text", "ProtectSystem=strict", ""),
        "unit-hardening",
        "warning",
        "ProtectSystem",
    ),
    Fault(
        "one more capability",
        told("unit.text", "CapabilityBoundingSet=", "CapabilityBoundingSet=CAP_SYS_ADMIN "),
        "unit-hardening",
        "warning",
        "CAP_SYS_ADMIN",
    ),
    # images
    Fault("a damaged image", image_byte, "images-damaged", says="vmlinuz"),
    Fault(
        "a file that nobody pinned",
        lambda b: b.create(b.state / "images/local/rescue/1.0/planted"),
        "images-unpinned",
        "warning",
        "planted",
    ),
    Fault("no current release", pointer_gone, "images-current", says="images use"),
    Fault("an expired key", key_over, "images-keys", says="flatcar"),
    Fault("images.lock is no TOML", lambda b: b.rewrite(b.etc / "images.lock", b"]["), "images-lock"),
    # the doctor itself
    Fault(
        "a program that hangs",
        lambda b: b.program("timedatectl", "exec sleep 600"),
        "doctor-time",
        "warning",
        "timedatectl",
    ),
)
