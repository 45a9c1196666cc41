"""The program's entry: commands, global options, and the one place where an error becomes an exit code.

What the larger commands need is imported by themselves: dnsmasq's templates, HTTP and OpenPGP would double
the time and the memory of every other command.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from appliance import __version__
from appliance.cli import config as config_command
from appliance.cli import (
    doctor_commands,
    images_commands,
    listings,
    machine_commands,
    service,
    serving,
    strays_commands,
    webhooks,
    why,
)
from appliance.cli import init as init_command
from appliance.cli import lab as lab_command
from appliance.cli import prove as prove_command
from appliance.cli.common import (
    INTERRUPTED,
    ROOT_VARIABLE,
    Listing,
    Output,
    Session,
    report_error,
    session_paths,
    stderr_console,
)
from appliance.cli.known_names import MachineName
from appliance.errors import ApplianceError, ExitCode, SurroundingsError

app = typer.Typer(
    name="pxe-appliance",
    help="Owns a PXE VLAN: reservations for known machines, nothing for strangers, a hand-off to Matchbox.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="The settings in force.", no_args_is_help=True)
machine_app = typer.Typer(help="One machine.", no_args_is_help=True)
export_app = typer.Typer(help="The inventory for others to use.", no_args_is_help=True)
lab_app = typer.Typer(help="The virtual rack: machines in QEMU that really PXE-boot.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(machine_app, name="machine")
app.add_typer(export_app, name="export")
app.add_typer(lab_app, name="lab")

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]
WithinOption = Annotated[
    str | None,
    typer.Option(
        "--confirm-within",
        metavar="DURATION",
        help="Take it back unless it is confirmed in time: 5s to 24h, such as 120s.",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"pxe-appliance {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            envvar=ROOT_VARIABLE,
            metavar="DIR",
            help="Put /etc, /var and /run of the appliance under DIR.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more; tracebacks of our bugs.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    context.obj = Session(session_paths(root), verbose)


@app.command()
def init(
    context: typer.Context,
    interface: Annotated[str, typer.Option(help="The NIC, VLAN device or bridge that faces the PXE VLAN.")],
    subnet: Annotated[str, typer.Option(help="Its network, such as 172.0.1.0/24.")],
    address: Annotated[str | None, typer.Option(help="Ours on it; default: the first host address.")] = None,
) -> None:
    """Write commented settings and an example inventory."""
    init_command.init(_session(context).paths, interface=interface, subnet=subnet, address=address)


@app.command()
def check(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Validate settings and inventory, offline: every problem with file and line."""
    from appliance.cli import check as check_command

    raise typer.Exit(check_command.check(_session(context).paths, output=output))


@config_app.command("show")
def config_show(
    context: typer.Context,
    origin: Annotated[bool, typer.Option("--origin", help="Where each value was written.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """The effective settings."""
    config_command.config_show(_session(context).paths, origin=origin, output=output)


@app.command()
def plan(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 10 when something would change.")
    ] = False,
) -> None:
    """What sync would change, and whether that needs a reload or a restart. Changes nothing."""
    from appliance.cli import syncing

    raise typer.Exit(syncing.plan(_session(context).paths, output=output, exit_code=exit_code))


@app.command()
def sync(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask (only a terminal is asked).")] = False,
    why: Annotated[str, typer.Option("--why", "-m", help="A line for the list of generations.")] = "sync",
    allow_mass_change: Annotated[
        bool, typer.Option("--allow-mass-change", help="More than a fifth of the machines may vanish.")
    ] = False,
    confirm_within: WithinOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring the wire in line with the inventory: plan, check, apply, verify, or leave it as it was."""
    from appliance.cli import confirming, syncing

    within = confirming.within_option(confirm_within)
    syncing.sync(
        _session(context).paths,
        yes=yes,
        why=why,
        allow_mass_change=allow_mass_change,
        output=output,
        within=within,
    )


@app.command()
def confirm(
    context: typer.Context,
    generation: Annotated[
        int | None,
        typer.Argument(min=1, help="The generation that is meant; refused when another one waits."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep the change of a sync or rollback with --confirm-within; the daemon takes it back otherwise."""
    from appliance.cli import confirming

    confirming.confirm(_session(context).paths, generation, output=output)


@app.command()
def generations(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """What was applied: when, by whom, why."""
    from appliance.cli import syncing

    syncing.list_generations(_session(context).paths, output=output)


@app.command()
def rollback(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Argument(help="The generation; default: the proven one before.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    confirm_within: WithinOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Go back to an earlier generation, verified like any change."""
    from appliance.cli import confirming, syncing

    within = confirming.within_option(confirm_within)
    syncing.rollback(_session(context).paths, number, yes=yes, output=output, within=within)


@app.command()
def serve(context: typer.Context) -> None:
    """The daemon: supervises dnsmasq, serves HTTP, follows every boot. Syncs at start."""
    session = _session(context)
    raise typer.Exit(serving.serve(session.paths, verbose=session.verbose))


@app.command()
def status(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Follow it with the board; in a pipe a block a second, with -o json a line."
        ),
    ] = False,
) -> None:
    """Is it well? Daemon, dnsmasq, networks, machines, problems."""
    raise typer.Exit(listings.status(_session(context).paths, output=output, watch=watch))


@app.command()
def machines(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """The boot board: every machine and the rung it stands on."""
    listings.machines(_session(context).paths, output=output)


@machine_app.command("show")
def machine_show(
    context: typer.Context,
    name: MachineName,
    ignition: Annotated[
        bool, typer.Option("--ignition", help="The Ignition document that it would be given, instead.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """One machine: what the inventory says, and its last boot rung by rung."""
    if ignition:
        from appliance.cli.ignition import show_ignition  # the daemon's reading of a generation, and more

        show_ignition(_session(context).paths, name)
        return
    listings.machine_show(_session(context).paths, name, output=output)


@machine_app.command("reinstall")
def machine_reinstall(context: typer.Context, name: MachineName) -> None:
    """Give an installed machine (boot = "install-once") its installer again at its next boot."""
    listings.machine_turn(_session(context).paths, name, "reinstall")


@machine_app.command("hold")
def machine_hold(
    context: typer.Context,
    name: MachineName,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Shown on the machine's own screen.")] = "",
) -> None:
    """Give a machine nothing to boot until it is released; its screen says why."""
    listings.machine_turn(_session(context).paths, name, "hold", reason=reason)


@machine_app.command("release")
def machine_release(context: typer.Context, name: MachineName) -> None:
    """Let a held machine go on where it was."""
    listings.machine_turn(_session(context).paths, name, "release")


@export_app.command("switchports")
def export_switchports(
    context: typer.Context,
    output: Annotated[Listing, typer.Option("--output", "-o", help="How to print it.")] = Listing.TABLE,
) -> None:
    """What each switch port has to be: host port or trunk, VLANs, LACP, spanning tree, MTU."""
    from appliance.cli import export

    export.switchports(_session(context).paths, output=output)


@app.command()
def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen.")] = False,
    machine: Annotated[str | None, typer.Option("--machine", help="Of this machine only.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=10_000, help="How many of the past.")
    ] = 200,
    output: OutputOption = Output.TABLE,
) -> None:
    """What happened on the wire, newest last. JSON is one object a line."""
    listings.events(_session(context).paths, follow=follow, machine=machine, limit=limit, output=output)


@app.command()
def leases(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Who holds which address, until when."""
    listings.leases(_session(context).paths, output=output)


doctor_commands.register(app)
lab_command.register(lab_app)
images_commands.register(app)
strays_commands.register(app)
prove_command.register(app)
why.register(app)
machine_commands.register(machine_app, strays_commands.strays_app)
webhooks.register(app)
service.register(app)


def main() -> None:
    """Run a command; say in one place what went wrong."""
    try:
        app(standalone_mode=True)
    except ApplianceError as error:
        sys.exit(report_error(error))
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is left to say to it
        sys.exit(ExitCode.FINE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:  # what no command expected of the host it runs on
        place = f"{error.filename}: " if error.filename else ""
        hint = "run it as root" if isinstance(error, PermissionError) else ""
        sys.exit(report_error(SurroundingsError(f"{place}{error.strerror or error}", hint=hint)))
    except Exception as error:  # noqa: BLE001 - the program's border: a bug of ours, said as such
        console = stderr_console()
        console.print(f"internal error: {type(error).__name__}: {error}", markup=False)
        if "-v" in sys.argv or "--verbose" in sys.argv:
            console.print(traceback.format_exc(), markup=False)
        else:
            console.print("this is a bug in pxe-appliance; --verbose prints where", markup=False)
        sys.exit(ExitCode.BUG)


def _session(context: typer.Context) -> Session:
    session = context.obj
    assert isinstance(session, Session)
    return session
