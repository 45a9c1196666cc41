"""Starting dnsmasq with no more rights than it needs.

Measured on 2.90 with `no-ping`: the DHCP side needs exactly CAP_NET_BIND_SERVICE and CAP_NET_ADMIN, the TFTP
side the first alone. A daemon that runs unprivileged passes these on as ambient capabilities; one that runs
as root keeps the uid and drops every other capability, so that a state directory only root can enter still
works. dnsmasq's privileged helper is never there: we use no dhcp-script.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from appliance.system.command import run

DNSMASQ = "dnsmasq"
DHCP_CAPABILITIES = ("net_bind_service", "net_admin")
TFTP_CAPABILITIES = ("net_bind_service",)
# A child that outlives us would go on answering from a configuration that nobody watches.
_DIE_WITH_US = ("--pdeathsig", "KILL")


def child_argv(
    configuration: Path, capabilities: Sequence[str], *, root: bool, more_on_stdin: bool = False
) -> list[str]:
    """The command line of a child that stays in the foreground under `capabilities` alone.

    `more_on_stdin`: it reads further lines of configuration from its standard input.
    """
    kept = ",".join(f"+{c}" for c in capabilities)
    dnsmasq = [DNSMASQ, "--keep-in-foreground", f"--conf-file={configuration}"]
    dnsmasq += ["--conf-file=-"] if more_on_stdin else []
    if root:
        # Without SETUID and SETGID it must not try to become anybody else; an empty group is the only way
        # to keep 2.90 from changing to its default one.
        bounds = ["--bounding-set", f"-all,{kept}", "--inh-caps", f"-all,{kept}"]
        return [
            "setpriv",
            "--no-new-privs",
            *_DIE_WITH_US,
            *bounds,
            "--",
            *dnsmasq,
            "--user=root",
            "--group=",
        ]
    ambient = ["--inh-caps", f"-all,{kept}", "--ambient-caps", f"-all,{kept}"]
    return ["setpriv", "--no-new-privs", *_DIE_WITH_US, *ambient, "--", *dnsmasq]


def dies_with_us(argv: Sequence[str]) -> list[str]:
    """The command line with which `argv` ends when this process does, however that ends.

    For what runs as it is, without `child_argv`. Whoever died before the kernel was told to signal is no
    longer the parent: then it does not begin.
    """
    only_ours = 'test "$PPID" -eq "$0" && exec "$@"'
    return ["setpriv", *_DIE_WITH_US, "--", "sh", "-c", only_ours, str(os.getpid()), *argv]


def check_syntax(configuration: Path) -> str:
    """What `dnsmasq --test` says against a configuration; empty when it has nothing to say.

    It reads no hosts file, sees no missing directory and no interface (measured), so it is one check of
    several.
    """
    done = run([DNSMASQ, "--test", f"--conf-file={configuration}"], timeout=30, check=False)
    if done.rc == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"dnsmasq --test exited with {done.rc}"
