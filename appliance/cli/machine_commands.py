"""`machine add|remove|replace-mac`, `strays adopt`: the options, and which function carries each out."""

from __future__ import annotations

from typing import Annotated

import typer

from appliance.cli.common import Output, Session
from appliance.cli.known_names import MachineName

Ip = Annotated[str, typer.Option("--ip", metavar="IP|auto", help="Its address; auto: the next free one.")]
Network = Annotated[str | None, typer.Option("--network", help="Its network, where there are several.")]
Profile = Annotated[str | None, typer.Option("--profile", help="What it boots.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="K=V", help="A label of yours; may be repeated.")
]
File = Annotated[
    str | None,
    typer.Option("--file", help="A file of inventory.d/; default: where the network's others are."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")]
Sync = Annotated[bool, typer.Option("--sync", help="Apply it at once, as sync does.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --sync: do not ask.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]


def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The machine's name, and its host name.")],
    macs: Annotated[
        list[str],
        typer.Option("--mac", help="Its NIC on the PXE VLAN; repeated when any of several may boot."),
    ],
    ip: Ip = "auto",
    network: Network = None,
    profile: Profile = None,
    labels: Labels = None,
    file: File = None,
    dry_run: DryRun = False,
    sync: Sync = False,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a machine into the inventory file where its neighbours stand; comments stay."""
    from appliance.cli import editing  # with the route of a sync behind it

    wanted = editing.NewMachine(name, macs, ip, network, profile, _labels(labels), file)
    editing.add(_session(context).paths, wanted, editing.How(_dry(dry_run, sync), sync, yes, output))


def remove(
    context: typer.Context,
    name: MachineName,
    dry_run: DryRun = False,
    sync: Sync = False,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a machine, with its NICs and bonds, out of its inventory file; comments on others stay."""
    from appliance.cli import editing

    editing.remove(_session(context).paths, name, editing.How(_dry(dry_run, sync), sync, yes, output))


def replace_mac(
    context: typer.Context,
    name: MachineName,
    new: Annotated[str, typer.Argument(metavar="NEW-MAC", help="In any usual spelling.")],
    old: Annotated[
        str | None, typer.Option("--old", help="Which of its MACs goes, where it has several.")
    ] = None,
    dry_run: DryRun = False,
    sync: Sync = False,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a machine's NIC another MAC in its inventory file: a replaced board or card."""
    from appliance.cli import editing

    how = editing.How(_dry(dry_run, sync), sync, yes, output)
    editing.replace_mac(_session(context).paths, name, new, old, how)


def adopt(
    context: typer.Context,
    mac: Annotated[str, typer.Argument(help="A MAC address that strays lists.")],
    name: Annotated[str, typer.Option("--name", help="What the machine shall be called.")],
    ip: Ip = "auto",
    network: Network = None,
    profile: Profile = None,
    labels: Labels = None,
    file: File = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even if it seems to be a known machine with a new board.")
    ] = False,
    dry_run: DryRun = False,
    sync: Sync = False,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a machine of a stray: into the inventory, on the network where it was heard."""
    from appliance.cli import editing

    wanted = editing.NewMachine(name, [mac], ip, network, profile, _labels(labels), file)
    how = editing.How(_dry(dry_run, sync), sync, yes, output)
    editing.adopt(_session(context).paths, mac, wanted, how, anyway=anyway)


def register(machine_app: typer.Typer, strays_app: typer.Typer) -> None:
    """Add the commands to `machine` and `strays`."""
    machine_app.command("add")(add)
    machine_app.command("remove")(remove)
    machine_app.command("replace-mac")(replace_mac)
    strays_app.command("adopt")(adopt)


def _labels(raw: list[str] | None) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in raw or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is no NAME=VALUE", param_hint="--label")
        if key in labels:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint="--label")
        labels[key] = value
    return labels


def _dry(dry_run: bool, sync: bool) -> bool:
    if dry_run and sync:
        raise typer.BadParameter("--dry-run writes nothing: leave --sync out", param_hint="--dry-run")
    return dry_run


def _session(context: typer.Context) -> Session:
    session = context.obj
    assert isinstance(session, Session)
    return session
