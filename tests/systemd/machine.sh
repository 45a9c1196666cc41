#!/bin/sh
# The other half of machine.py: what keeps a machine's disk, and what its PID 1 does before it is systemd.
#   machine.sh hold FOLDER NAME CHECKOUT   in a mount namespace of its own and in the machine's network
#   machine.sh boot ROOT GROUP NAME        as PID 1 of a boot, which goes on as `enter`
set -eu

# What else the host would start is left out: a test looks at the appliance, not at a whole Debian.
WANTED=" dbus.service dbus.socket systemd-journald.service systemd-journald.socket systemd-journal-flush.service \
systemd-journald-dev-log.socket systemd-tmpfiles-setup.service systemd-sysusers.service "

hold() {
    base=$1 name=$2 checkout=$3
    mount --make-rprivate /
    mount -t tmpfs -o mode=0755,size=4G machine "$base/disk"
    root=$base/disk/root
    mkdir "$base/disk/upper" "$base/disk/work" "$root" "$base/disk/groups"
    mount -t overlay -o "lowerdir=/,upperdir=$base/disk/upper,workdir=$base/disk/work" machine "$root"
    # A checkout on a file system of its own is not in the overlay.
    if [ "$(stat -c %d "$checkout")" != "$(stat -c %d /)" ]; then
        mkdir -p "$root$checkout"
        mount --bind -o ro "$checkout" "$root$checkout"
    fi
    (cd "$root" && furnish "$name")

    mount -t cgroup2 groups "$base/disk/groups"
    group=$base/disk/groups/$name
    for old in "$base"/disk/groups/pxe-m[0-9]*; do # of tests that were killed
        pid=${old##*/pxe-m}
        [ -d "/proc/${pid%%-*}" ] || remove "$old" || true
    done
    mkdir "$group"

    while :; do
        code=0
        setpriv --pdeathsig KILL unshare --mount --pid --uts --ipc --fork --kill-child=KILL \
            sh "$0" boot "$root" "$group" "$name" >"$base/console" 2>&1 || code=$?
        # reboot(2) in a PID namespace ends its PID 1 by SIGHUP; the other way is Machine.reset's.
        [ "$code" -eq 129 ] || rm "$base/reset" 2>/dev/null || break
    done
    remove "$group"
    exit "$code"
}

# Remove a control group and the groups below it, in which no process is left.
remove() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +; }

# The disk of a new machine, from the host's: $1 is its name.
furnish() {
    for place in etc lib usr/lib; do
        for link in "$place"/systemd/system/*.target.wants/*; do
            case $WANTED in *" ${link##*/} "*) ;; *) rm -f "$link" ;; esac
        done
    done
    # Links of other units, and whatever makes units out of fstab, init scripts and getty.
    find etc/systemd/system -maxdepth 1 -type l -delete
    rm -rf lib/systemd/system-generators/* lib/systemd/system-environment-generators/*
    rm -rf etc/systemd/network/* var/log/journal etc/dnsmasq.d etc/fstab etc/hostname etc/machine-id
    rm -rf etc/pxe-appliance var/lib/pxe-appliance
    mkdir -p var/log/journal etc/systemd/system.conf.d etc/systemd/journald.conf.d etc/systemd/network
    echo "$1" >etc/hostname
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >etc/machine-id
    cat >etc/systemd/system.conf.d/machine.conf <<END
[Manager]
DefaultTimeoutStopSec=10s
END
    cat >etc/systemd/journald.conf.d/machine.conf <<END
[Journal]
Storage=persistent
RateLimitBurst=0
ForwardToWall=no
END
    cat >etc/systemd/network/pxe.network <<END
[Match]
Name=pxe0
[Network]
Address=172.0.1.1/24
LinkLocalAddressing=no
END
    mkdir -p etc/systemd/system/multi-user.target.wants
    ln -s /lib/systemd/system/systemd-networkd.service etc/systemd/system/multi-user.target.wants/
    ln -s /lib/systemd/system/multi-user.target etc/systemd/system/default.target
}

boot() {
    echo 0 >"$2/cgroup.procs"
    exec unshare --cgroup sh "$0" enter "$@"
}

enter() {
    root=$1
    hostname "$3"
    # What a reboot takes away from a network.
    nft flush ruleset 2>/dev/null || true
    ip link set lo down
    ip addr flush dev pxe0
    ip link set pxe0 down

    mount --bind "$root" "$root"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
    mount -o remount,bind,ro "$root/proc/sys"
    [ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
    # Read-only: udev then knows that devices are none of its business here.
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=0755,nosuid tmpfs "$root/dev"
    for node in null zero full random urandom tty; do cp -a "/dev/$node" "$root/dev/$node"; done
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s /proc/self/fd/0 "$root/dev/stdin"
    ln -s /proc/self/fd/1 "$root/dev/stdout"
    ln -s /proc/self/fd/2 "$root/dev/stderr"
    ln -s pts/ptmx "$root/dev/ptmx"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
    mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs "$root/run"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
    # A checkout below /tmp, or on a file system of its own, is not in the overlay of the root.
    checkout=$(cd "$(dirname "$0")/../.." && pwd)
    if [ ! -e "$root$checkout/pyproject.toml" ]; then
        mkdir -p "$root$checkout"
        mount --bind "$checkout" "$root$checkout"
        mount -o remount,bind,ro "$root$checkout"
    fi

    cd "$root"
    pivot_root . .
    umount -l .
    mount --make-rshared /
    # Without these, nothing in here can reach the clock, the modules or the hardware of the host.
    exec env -i container=namespaces PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-mac_admin,-mac_override \
        /lib/systemd/systemd --log-target=journal --show-status=no </dev/null
}

"$@"
