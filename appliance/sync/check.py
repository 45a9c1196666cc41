"""What is looked at before a generation may become current: three readers that do not know each other.

Our own reader (`reparse`) reads the hosts file back and must find exactly the inventory; `dnsmasq --test`
reads the configuration with the reservations inlined (it never opens a hosts file by itself); and where a
network namespace of our own can be had, dnsmasq really starts on the staged files, touching no wire.

What dnsmasq is given are copies that are ours alone: a configuration can run programs (`conf-script`), and
root checks what lies in a directory of the service's user.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from appliance.dnsmasq.process import check_syntax
from appliance.dnsmasq.reparse import HostsSyntax, expected, inlined, parse_hosts, untagged
from appliance.dnsmasq.trial import trial_start
from appliance.errors import ApplianceError, OperatorError, Problem
from appliance.settings import NetworkSettings
from appliance.sync.plan import Desired
from appliance.system.files import read_as_owner

_LIMIT = 256 * 2**20


def check_files(desired: Desired, directory: Path) -> list[str]:
    """Check every dnsmasq file of a staged generation; what was checked, in words.

    Raises:
        OperatorError: dnsmasq would refuse something.
        ApplianceError: our own reader disagrees with what we rendered: a bug of ours, and no commit.
    """
    evidence = []
    with tempfile.TemporaryDirectory(prefix="pxe-check-", ignore_cleanup_errors=True) as ours:
        for network in desired.settings.networks.values():
            evidence += _check_network(desired, network, directory, Path(ours))
        if desired.settings.networks:
            said = _said_of(_staged(desired, directory, "tftp/dnsmasq.conf"), Path(ours))
            if said:
                raise ApplianceError(f"dnsmasq refuses the TFTP configuration: {said}")
    return evidence


def _staged(desired: Desired, directory: Path, path: str) -> str:
    """The text of a staged file, as it was rendered and lies on disk.

    Raises:
        ApplianceError: these are two.
    """
    file = desired.tree.get(path)
    try:
        found = read_as_owner(directory / path, _LIMIT)
    except ValueError as error:
        raise ApplianceError(f"cannot check {directory / path}: {error}") from error
    if file is None or found != file.content:
        raise ApplianceError(f"{directory / path} is not what was written there a moment ago")
    return found.decode()


def _said_of(configuration: str, ours: Path) -> str:
    scratch = ours / "dnsmasq.conf"
    scratch.write_text(configuration, encoding="utf-8")
    return check_syntax(scratch)


def _check_network(desired: Desired, network: NetworkSettings, directory: Path, ours: Path) -> list[str]:
    configuration = _staged(desired, directory, f"network/{network.name}/dnsmasq.conf")
    hosts = _staged(desired, directory, f"network/{network.name}/hosts")
    try:
        entries = parse_hosts(hosts)
        scratch = inlined(configuration, hosts)
    except HostsSyntax as error:
        raise ApplianceError(f"the hosts file of {network.name} cannot be read back: {error}") from error
    if untagged(entries) != expected(desired.inventory.machines, network):
        raise ApplianceError(f"the hosts file of {network.name} does not say what the inventory says")
    said = _said_of(scratch, ours)
    if said:
        raise OperatorError(
            f"dnsmasq refuses the configuration of network {network.name}",
            problems=[Problem(f"network {network.name}", 0, "", said)],
            hint="it comes from the shipped templates and from dnsmasq.d/: look at the latter first",
        )
    count = f"{network.name}: {len(entries)} lines read back as the inventory has them, dnsmasq --test passed"
    (ours / "hosts").write_text(hosts, encoding="utf-8")
    trial = trial_start(configuration, ours / "hosts")
    if trial.rejected:
        raise OperatorError(
            f"dnsmasq refuses what it was given for network {network.name}",
            problems=[Problem(f"network {network.name}", 0, "", line) for line in trial.rejected],
        )
    return [count, f"{network.name}: {trial.words}"]
