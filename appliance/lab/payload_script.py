"""What the small system of a lab machine does: it proves what the machine was given. Pure text.

It takes a lease on the NIC that it was booted from, sees that its other NICs get none, fetches the Ignition
that its kernel command line names, checks that it speaks of this very machine, calls home and powers off. Who
the machine is comes from its hardware (SMBIOS serial, MAC), never from the network that is on trial.

Words of the command line make it more than that: an installer (`INSTALL`), one that never gets home (`LOOP`),
a thief (`STEAL`), or one that compares its Ignition's networks with its own NICs (`EXPECT`).
"""

from __future__ import annotations

from typing import Final

INSTALL: Final = "lab.install"  # =/dev/DISK: write the disk image there and call home as installed
LOOP: Final = "lab.loop"  # =yes: end where an installer would begin, and say nothing to anybody
STEAL: Final = "lab.steal"  # =MAC,ADDRESS: try to read and to speak for that machine
EMPTY_BEFORE: Final = "was empty"  # how an installer's report ends, by what was on the disk
SYSTEM_BEFORE: Final = "had a system on it"
EXPECT: Final = "lab.expect"  # =BOND,VLAN,ADDRESS: the networks that the Ignition has to make
NOTHING_OF: Final = "and nothing of"  # how the thief's report ends, before the word of its command line
MAKES: Final = "which makes"

# `wget -T` of Debian 12's static busybox ends in a segmentation fault: `timeout` bounds it from outside.
INIT: Final = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null

say() { echo "lab: $*"; }
word() { sed -n "s|.* $1=\([^ ]*\).*|\1|p" /cmdline; }
parameter() { printf '%s' "$url" | sed -n "s|.*[?&]$1=\([^&]*\).*|\1|p"; }
report() {
    # report STAGE MESSAGE MAC TOKEN. A quote or a backslash would leave the JSON string.
    text=$(printf '%s' "$2" | tr -d '"\\\n')
    timeout 10 wget -q -O - --header 'Content-Type: application/json' \
        --post-data "{\"stage\":\"$1\",\"mac\":\"$3\",\"message\":\"$text\"${4:+,\"token\":\"$4\"}}" \
        "$server/v1/report" >/tmp/answer 2>&1
}
home() {
    for try in 1 2 3 4 5; do
        report "$1" "$2" "$mac" "$token" && return 0
        sleep 1
    done
    say "cannot call home: $(cat /tmp/answer)"
    return 1
}
fail() {
    say "FAILED: $*"
    home failed "$*"
    poweroff -f
}

install() {
    [ -b "$1" ] || fail "there is no disk $1"
    before="was empty"
    dd if="$1" bs=512 count=1 2>/dev/null | grep -q "lab: " && before="had a system on it"
    timeout 60 wget -q -O /tmp/disk "$server/assets/lab/disk.img" || fail "cannot fetch the disk image"
    dd if=/tmp/disk of="$1" bs=64k conv=fsync 2>/dev/null || fail "cannot write to $1"
    size=$(wc -c </tmp/disk)
    dd if="$1" bs="$size" count=1 2>/dev/null | cmp - /tmp/disk || fail "$1 has something else"
    home installed "$serial is installed on $1, which $before" || fail "no answer to the report"
    say "installed on $1, which $before"
    poweroff -f
}

wants() {
    timeout 10 wget -q -O /tmp/loot "$server/$1" 2>/dev/null || return 0
    grep -q "$2" /tmp/loot && echo "$1$3" >>/tmp/stolen
}
stolen_by_asking() {
    for key in "" "&token=$token" "&token="; do
        wants "ignition?mac=$1$key" . "$2"
        wants "ipxe?mac=$1$key" token= "$2"
    done
    wants boot.ipxe token= "$2"
    for key in "" "$token"; do
        report installed "$serial speaks" "$1" "$key" && echo "v1/report$2" >>/tmp/stolen
    done
}
steal() {
    victim=${1%,*}
    address=${1#*,}
    wants "ignition?mac=$mac" . ", its own, without a token"
    stolen_by_asking "$victim" ""
    # The same from the other's address: whoever answers for it is still this NIC.
    ip addr flush dev "$nic"
    ip addr add "$address/24" dev "$nic"
    stolen_by_asking "$victim" ", from $address"
    ip addr flush dev "$nic"
    ip addr add "$ip/24" dev "$nic"
    [ ! -e /tmp/stolen ] || fail "got what is not its own: $(tr '\n' ' ' </tmp/stolen)"
}

unpack_networks() {
    mkdir /tmp/network
    for path in $(grep -o '"path":"/etc/systemd/network/[^"]*"' /tmp/ignition | cut -d '"' -f 4); do
        encoded=$(sed -n "s|.*\"path\":\"$path\"[^}]*\"source\":\"data:,\([^\"]*\)\".*|\1|p" /tmp/ignition)
        printf '%b' "$(printf '%s' "$encoded" | sed 's/%/\\x/g')" >"/tmp/network/${path##*/}"
    done
}
made() {
    # made WHAT LINE...: a file has to hold all these lines.
    what=$1
    shift
    for file in /tmp/network/*; do
        for line in "$@"; do
            grep -qxF "$line" "$file" || continue 2
        done
        return 0
    done
    fail "no file of its Ignition makes $what ($*)"
}
expect() {
    bond=${1%%,*}
    address=${1##*,}
    vlan=${1#*,}
    vlan=${vlan%,*}
    unpack_networks
    made "an interface to PXE on" "PermanentMACAddress=$booted" DHCP=ipv4 UseGateway=no
    made "the bond" "Name=$bond" Kind=bond Mode=802.3ad
    for other in $others; do
        made "$other a member" "PermanentMACAddress=$(cat "/sys/class/net/$other/address")" "Bond=$bond"
    done
    name=$(sed -n 's/^VLAN=//p' /tmp/network/*)
    made "the VLAN" "Name=$name" Kind=vlan "Id=$vlan"
    made "its address" "Name=$name" "Address=$address"
}

echo " $(cat /proc/cmdline) " >/cmdline
for module in $(cat /modules); do
    insmod "/lib/$module.ko" || say "cannot load $module"
done

serial=$(cat /sys/class/dmi/id/product_serial 2>/dev/null)
url=$(word ignition.config.url)
server=$(printf '%s' "$url" | sed -n 's|^\(http://[^/]*\)/.*|\1|p')
booted=$(parameter mac | tr '-' ':' | tr 'A-F' 'a-f')
token=$(parameter token)
mac=$booted
[ -n "$serial" ] || fail "SMBIOS has no serial number"
[ -n "$server" ] || fail "no http:// address in ignition.config.url"
nic=
others=
for there in /sys/class/net/*; do
    name=${there##*/}
    [ "$name" = lo ] && continue
    if [ "$(cat "$there/address")" = "$booted" ]; then nic=$name; else others="$others $name"; fi
done
[ -n "$nic" ] || fail "none of my NICs is $booted, which the command line says I booted from"
say "I am $serial, booted from $nic ($booted)"

(
    for other in $others; do
        ip link set "$other" up
        udhcpc -i "$other" -n -q -t 2 -T 1 -s /bin/true >/dev/null 2>&1 && echo "$other" >>/tmp/leased
    done
) &
trying=$!

ip link set "$nic" up
udhcpc -i "$nic" -n -q -t 10 -T 1 -s /lease >/dev/null 2>&1 || fail "no lease on $nic"
ip=$(cat /tmp/ip)
say "lease: $ip"
timeout 20 wget -q -O /tmp/ignition "$url" || fail "cannot fetch my Ignition"
grep -q "data:,$serial[\"]" /tmp/ignition || fail "the Ignition does not name $serial"
grep -q "data:,$mac[\"]" /tmp/ignition || fail "the Ignition does not name $mac"
say "the Ignition is mine"
wait "$trying"
[ ! -e /tmp/leased ] || fail "NIC $(cat /tmp/leased) got an address and should not have one"

said="$serial has $ip and its own Ignition$(cat /release 2>/dev/null)"
if [ -n "$(word lab.loop)" ]; then
    say "I never call home"
    poweroff -f
fi
[ -z "$(word lab.install)" ] || install "$(word lab.install)"
if [ -n "$(word lab.steal)" ]; then
    steal "$(word lab.steal)"
    said="$said, and nothing of $(word lab.steal)"
fi
if [ -n "$(word lab.expect)" ]; then
    expect "$(word lab.expect)"
    said="$said, which makes $(word lab.expect)"
fi
home done "$said" || fail "no answer to the report"
say "done"
poweroff -f
"""

LEASE: Final = r"""#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
echo "$ip" >/tmp/ip
"""
