"""What is looked at before a generation may become current: three readers that do not know each other.

Our own reader (`reparse`) reads the hosts file back and must find exactly the inventory; `dnsmasq --test`
reads the configuration with the reservations inlined (it never opens a hosts file by itself); and where a
network namespace of our own can be had, dnsmasq really starts on the staged files, touching no wire.
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


def check_files(desired: Desired, directory: Path) -> list[str]:
    """Check every dnsmasq file of a staged generation; what was checked, in words.

    Raises:
        OperatorError: dnsmasq would refuse something.
        ApplianceError: our own reader disagrees with what we rendered: a bug of ours, and no commit.
    """
    evidence = []
    for network in desired.settings.networks.values():
        evidence += _check_network(desired, network, directory / "network" / network.name)
    if desired.settings.networks:
        said = check_syntax(directory / "tftp" / "dnsmasq.conf")
        if said:
            raise ApplianceError(f"dnsmasq refuses the TFTP configuration: {said}")
    return evidence


def _check_network(desired: Desired, network: NetworkSettings, folder: Path) -> list[str]:
    configuration = (folder / "dnsmasq.conf").read_text(encoding="utf-8")
    hosts = (folder / "hosts").read_text(encoding="utf-8")
    try:
        entries = parse_hosts(hosts)
        scratch = inlined(configuration, hosts)
    except HostsSyntax as error:
        raise ApplianceError(f"the hosts file of {network.name} cannot be read back: {error}") from error
    if untagged(entries) != expected(desired.inventory.machines, network):
        raise ApplianceError(f"the hosts file of {network.name} does not say what the inventory says")
    with tempfile.NamedTemporaryFile("w", prefix="pxe-check-", suffix=".conf") as file:
        file.write(scratch)
        file.flush()
        said = check_syntax(Path(file.name))
    if said:
        raise OperatorError(
            f"dnsmasq refuses the configuration of network {network.name}",
            problems=[Problem(f"network {network.name}", 0, "", said)],
            hint="it comes from the shipped templates and from dnsmasq.d/: look at the latter first",
        )
    count = f"{network.name}: {len(entries)} lines read back as the inventory has them, dnsmasq --test passed"
    trial = trial_start(configuration, folder / "hosts")
    if trial.rejected:
        raise OperatorError(
            f"dnsmasq refuses what it was given for network {network.name}",
            problems=[Problem(f"network {network.name}", 0, "", line) for line in trial.rejected],
        )
    return [count, f"{network.name}: {trial.words}"]
