"""What lets a machine call home, and what tunes it: scripts and one-shot units for its Ignition. Pure.

Flatcar and Fedora CoreOS both have bash and curl. Scripts below /etc are run by bash explicitly: SELinux lets
no unit execute a file of /etc.
"""

from __future__ import annotations

from typing import Final

from appliance.inventory.model import Machine, Profile, Tuning
from appliance.matchbox.ignition_merge import PLACEHOLDER
from appliance.provisioned import Provisioned, ProvisionedFile, ProvisionedUnit
from appliance.settings import NetworkSettings, Settings

FOLDER: Final = "/etc/pxe-appliance"
CALL_HOME_UNIT: Final = "pxe-appliance-call-home.service"
TUNING_UNIT: Final = "pxe-appliance-tuning.service"

# ROOT is the file system that it looks at: another one for whoever tries it out.
_CALL_HOME: Final = r"""#!/bin/bash
# Tells pxe-appliance how far this machine has come: call-home [STAGE [MESSAGE]].
# Without a stage: installed when the system runs from a disk; else done, or, where it is to be installed,
# installing. An installer calls "call-home installed" when the disk is written, before it reboots.
set -u
root=${ROOT:-}
. "$root/etc/pxe-appliance/call-home.env"

quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "$(printf '%s' "$text" | tr -d '\000-\037')"
}

fact() { facts+="${facts:+,}$(quoted "$1"):$(quoted "$2")"; }

from_memory() {
    [ -e "$root/run/ostree-live" ] && return 0
    case $(awk '$2 == "/" { kind = $3 } END { print kind }' "$root/proc/mounts") in
        tmpfs | ramfs | rootfs | overlay | squashfs) return 0 ;;
    esac
    return 1
}

stage=${1:-}
if [ -z "$stage" ]; then
    if ! from_memory; then
        stage=installed
    elif [ "$POLICY" = install-once ]; then
        stage=installing
    else
        stage='done'
    fi
fi

facts=
name=$(. "$root/etc/os-release" 2>/dev/null && printf '%s' "${PRETTY_NAME:-}")
fact os "$name"
fact kernel "$(uname -r)"
fact uptime "$(cut -d ' ' -f 1 "$root/proc/uptime" 2>/dev/null) s"
fact boot_id "$(cat "$root/proc/sys/kernel/random/boot_id" 2>/dev/null)"
if [ -r "$root/run/pxe-appliance-tuning" ]; then
    while IFS='=' read -r key value; do
        fact "$key" "$value"
    done <"$root/run/pxe-appliance-tuning"
fi

body="{\"stage\":$(quoted "$stage"),\"message\":$(quoted "${2:-}"),\"mac\":$(quoted "$MAC"),"
body+="\"token\":$(quoted "$TOKEN"),\"facts\":{$facts}}"

# Patience grows to a minute; a quarter of an hour in all, for a switch port or an appliance that is late.
pause=${PAUSE:-2}
for ((try = 1; try <= ${TRIES:-20}; try++)); do
    status=$(curl --silent --show-error --max-time 10 --output /dev/null --write-out '%{http_code}' \
        --header 'Content-Type: application/json' --data-binary @- "$URL" <<<"$body")
    case $status in
        200)
            echo "called home: $stage"
            exit 0
            ;;
        400 | 404)
            echo "pxe-appliance does not understand the report ($status): $stage" >&2
            exit 1
            ;;
    esac
    sleep "$pause"
    pause=$((pause * 2 > 60 ? 60 : pause * 2))
done
echo "pxe-appliance does not take the report at $URL (last answer: $status): $stage" >&2
exit 1
"""

_TUNING: Final = r"""#!/bin/bash
# Performance: every CPU at its highest frequency, whatever that costs. Leaves what it came to for call-home.
set -u
root=${ROOT:-}
cpus=$root/sys/devices/system/cpu

put() {
    local file
    for file in "$cpus"/cpu[0-9]*/"$1"; do
        if [ -w "$file" ]; then printf '%s\n' "$2" >"$file" 2>/dev/null; fi
    done
}

is() {
    local found
    found=$(cat "$cpus"/cpu[0-9]*/"$1" 2>/dev/null | sort -u | paste -s -d ' ')
    printf '%s' "${found:-none}"
}

put cpufreq/scaling_governor performance
put cpufreq/energy_performance_preference performance
put power/energy_perf_bias 0
{
    echo "tuning=performance"
    echo "governor=$(is cpufreq/scaling_governor)"
    echo "energy=$(is cpufreq/energy_performance_preference)"
    echo "energy_bias=$(is power/energy_perf_bias)"
} >"$root/run/pxe-appliance-tuning"
exit 0
"""


def call_home(
    settings: Settings, network: NetworkSettings, machine: Machine, profile: Profile
) -> Provisioned:
    """Script, its settings, and the unit that runs it when the machine is online; nothing when turned off."""
    if not profile.call_home:
        return Provisioned()
    url = f"http://{network.address}:{settings.http.port}/v1/report"
    # An external Matchbox hands out one document for all boots: there is no token to put into it.
    token = PLACEHOLDER if settings.matchbox.builtin else ""
    facts = {"URL": url, "MAC": machine.mac.text, "TOKEN": token, "POLICY": profile.boot.value}
    env = "".join(f"{key}={value}\n" for key, value in facts.items())
    after = f"{TUNING_UNIT} " if profile.tuning else ""
    unit = (
        "[Unit]\n"
        "Description=Tell pxe-appliance how far this machine has come\n"
        "Wants=network-online.target\n"
        f"After={after}network-online.target\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/bin/bash {FOLDER}/call-home\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    return Provisioned(
        (
            ProvisionedFile(f"{FOLDER}/call-home", _CALL_HOME, 0o755),
            ProvisionedFile(f"{FOLDER}/call-home.env", env, 0o600),
        ),
        (ProvisionedUnit(CALL_HOME_UNIT, unit),),
    )


def tuning(profile: Profile) -> Provisioned:
    """What a profile is tuned for."""
    if profile.tuning is not Tuning.PERFORMANCE:
        return Provisioned()
    unit = (
        "[Unit]\n"
        "Description=Tune this machine for performance\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/bin/bash {FOLDER}/tuning\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    script = ProvisionedFile(f"{FOLDER}/tuning", _TUNING, 0o755)
    return Provisioned((script,), (ProvisionedUnit(TUNING_UNIT, unit),))
