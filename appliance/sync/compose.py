"""Settings, inventory and what they name, made into the tree of one generation. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from appliance.boot.firmware import Selection
from appliance.dnsmasq.directives import not_allowed
from appliance.dnsmasq.render import render_dhcp, render_hosts, render_tftp
from appliance.errors import OperatorError, Problem, SurroundingsError
from appliance.inventory.model import Inventory
from appliance.inventory.serialize import dump_inventory
from appliance.matchbox.handoff import boot_url
from appliance.paths import Paths
from appliance.settings import NetworkMode, NetworkSettings, Settings
from appliance.sync.bases import Bases, with_netconf
from appliance.sync.documents import document_notes
from appliance.sync.plan import Desired
from appliance.tree import Activation, RenderedFile, Tree

# Without these no usual server boots, so a sync that cannot serve them is refused: BIOS and x86-64 UEFI.
_NEEDED_CLASSES = (0, 7)


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Everything a generation is made from, read once.

    `bases` holds the operator's finished Ignition; `extra` the operator's directives by name; `selection`
    says which boot file each client class gets.
    """

    paths: Paths
    settings: Settings
    settings_text: str
    inventory: Inventory
    bases: Bases
    templates: Mapping[str, str]
    extra: Mapping[str, bytes]
    selection: Selection


def compose(given: Ingredients) -> Desired:
    """The tree that settings and inventory ask for.

    Raises:
        OperatorError: an Ignition file or a line of dnsmasq.d/ cannot be used.
        SurroundingsError: a boot file that every rack needs is not on this host.
    """
    for arch in _NEEDED_CLASSES:
        missing = given.selection.missing.get(arch)
        if missing is not None:
            raise SurroundingsError(
                f"cannot serve {missing.client.words}: {missing.reason}", hint=missing.remedy
            )
    if given.bases.problems:
        message = "cannot use what machines would be given as Ignition"
        raise OperatorError(message, problems=given.bases.problems)
    inventory = with_netconf(given.inventory, given.bases.variants)
    files = [
        RenderedFile("appliance.toml", given.settings_text.encode()),
        RenderedFile("inventory.json", dump_inventory(inventory).encode()),
        RenderedFile("boot.json", _boot_files(given.selection)),
        # Finished, so that a rollback brings them back too.
        *(RenderedFile(f"ignition/{key}", made, mode=0o640) for key, made in given.bases.files.items()),
    ]
    for network in given.settings.networks.values():
        files += _network(given, network)
    if given.settings.networks:
        files.append(_tftp(given))
    refusals = tuple(
        f"{m.client.words} is refused: {m.reason}; {m.remedy}" for m in given.selection.missing.values()
    )
    refusals += tuple(
        f"network {n.name} is in proxy mode: UEFI HTTP clients (16, 19) get no answer there, and no event"
        for n in given.settings.networks.values()
        if n.mode is NetworkMode.PROXY
    )
    notes = tuple(document_notes(given.settings, inventory, given.bases.files))
    return Desired(given.settings, inventory, Tree.of(*files), notes, refusals)


def log_path(paths: Paths, child: str) -> str:
    """Where a child logs: on the run-time file system, which is memory on a host."""
    return str(paths.run / "log" / f"{child.replace(':', '-')}.log")


def _network(given: Ingredients, network: NetworkSettings) -> Iterator[RenderedFile]:
    folder = f"network/{network.name}"
    configuration = render_dhcp(
        network,
        templates=given.templates,
        boot_url=boot_url(network.address, given.settings.http.port),
        http_port=given.settings.http.port,
        hosts_path=str(given.paths.current / folder / "hosts"),
        log_path=log_path(given.paths, f"dhcp:{network.name}"),
        boot_files=given.selection.boot_files,
        extra=_extra(given),
    )
    hosts = render_hosts(given.inventory.machines, network)
    yield RenderedFile(f"{folder}/dnsmasq.conf", configuration.encode(), activation=Activation.RESTART)
    yield RenderedFile(f"{folder}/hosts", hosts.encode(), activation=Activation.RELOAD)


def _tftp(given: Ingredients) -> RenderedFile:
    text = render_tftp(
        given.settings.networks.values(),
        templates=given.templates,
        tftp_root=str(given.paths.tftp),
        log_path=log_path(given.paths, "tftp"),
    )
    return RenderedFile("tftp/dnsmasq.conf", text.encode(), activation=Activation.RESTART)


def _boot_files(selection: Selection) -> bytes:
    facts = {
        "files": {c.file: {"sha256": c.sha256, "release": c.release} for c in selection.binaries},
        "classes": {str(arch): file for arch, file in selection.boot_files.items()},
        "refused": {str(arch): f"{m.reason}; {m.remedy}" for arch, m in sorted(selection.missing.items())},
    }
    return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()


def _extra(given: Ingredients) -> str:
    """The operator's own directives, file by file."""
    problems, parts = [], []
    for name, content in given.extra.items():
        file = str(given.paths.dnsmasq_extra / name)
        try:
            parts.append(f"# {name}\n{content.decode()}")
        except UnicodeDecodeError:
            problems.append(Problem(file, 0, "", "is not text in UTF-8"))
        else:
            problems += not_allowed(file, content)
    if problems:
        raise OperatorError("cannot use the files in dnsmasq.d", problems=problems)
    return "\n".join(parts)
