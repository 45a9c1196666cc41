"""`images …`: the options, and which function carries each command out.

What carries them out is imported by each command: HTTP and OpenPGP take longer to import than every other
command takes to run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import Output, Session
from appliance.errors import OperatorError
from appliance.images.wishes import Limits, Wishes

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]
_Images = Annotated[list[str] | None, typer.Argument(help="os/stream[@version], such as flatcar/stable.")]
_Arch = Annotated[str | None, typer.Option("--arch", help="amd64 or arm64; default: the settings'.")]
_Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="The digest of an archive that nobody signs (iPXE), in hex.")
]
_Downgrade = Annotated[
    bool, typer.Option("--allow-downgrade", help="Take a version below one that is pinned already.")
]
_Legacy = Annotated[
    bool,
    typer.Option("--legacy-sha1", help="Believe the retired CoreOS keys, which rely on SHA-1 (gpgv)."),
]


def images(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """The image store: what machines boot, proven, pinned, and one command away from the release before."""
    from appliance.cli import images as commands

    if context.invoked_subcommand is None:
        commands.list_images(_session(context).paths, output=output)


def fetch(
    context: typer.Context,
    images: _Images = None,
    arch: _Arch = None,
    use: Annotated[bool, typer.Option("--use", help="Make it current, too.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--from", help="For local/NAME: the directory with vmlinuz and initrd.img.")
    ] = None,
    sha256: _Sha256 = None,
    pin: Annotated[
        bool,
        typer.Option(
            "--pin/--no-pin", help="Write images.lock; without, what is new is proven and waits for its pin."
        ),
    ] = True,
    allow_downgrade: _Downgrade = False,
    legacy_sha1: _Legacy = False,
    patience: Annotated[
        float, typer.Option(min=0.1, help="Seconds without bytes before another attempt.")
    ] = 30.0,
    tries: Annotated[int, typer.Option(min=1, max=100, help="Attempts in a row that bring nothing new.")] = 6,
    deadline: Annotated[float, typer.Option(min=1, help="Seconds that one file may take.")] = 21600.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Fetch releases, prove and pin them; without a name, those that profiles name.

    The first release of a stream is current at once; a later one waits for `images use`.
    """
    from appliance.cli import images as commands

    raise typer.Exit(
        commands.fetch_images(
            _session(context).paths,
            images or [],
            arch=_arch(arch),
            folder=folder,
            use=use,
            wishes=Wishes(allow_downgrade, legacy_sha1, pin=pin, digest=_digest(sha256)),
            limits=Limits(patience=patience, tries=tries, deadline=deadline),
            output=output,
        )
    )


def verify(
    context: typer.Context,
    images: _Images = None,
    pin: Annotated[
        bool,
        typer.Option("--pin", help="Prove what is not pinned by the signatures kept with it; pin it."),
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="With --pin: also local images, which nobody signed, as they are.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hash every file of the store again and hold it against its pins."""
    from appliance.cli import images as commands

    raise typer.Exit(
        commands.verify(_session(context).paths, images or [], pin=pin, local=local, output=output)
    )


def use(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="[IMAGE] VERSION", help="IMAGE@VERSION, or a VERSION that one has."),
    ],
    machines: Annotated[
        list[str] | None,
        typer.Option("--machines", help="For these only (a canary), comma-separated or repeated."),
    ] = None,
    arch: _Arch = None,
) -> None:
    """Make a release current, at once and without a restart; or give it to some machines.

    VERSION `current` with --machines takes a canary back.
    """
    from appliance.cli import images as commands

    names = [name.strip() for word in machines or [] for name in word.split(",") if name.strip()]
    if machines is not None and not names:  # an empty variable in a script must not mean all of them
        raise OperatorError("cannot tell which machine --machines means: it names none")
    commands.use(_session(context).paths, words, names, _arch(arch))


def rollback(
    context: typer.Context,
    image: Annotated[str | None, typer.Argument(help="The image, where more than one can go back.")] = None,
    arch: _Arch = None,
) -> None:
    """Go back to the release that was current before."""
    from appliance.cli import images as commands

    commands.rollback(_session(context).paths, image, _arch(arch))


def prune(
    context: typer.Context,
    images: _Images = None,
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many of the newest stay.")] = 2,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove old releases; never one that is current, pinned by a profile or canary, or being booted."""
    from appliance.cli import images as commands

    commands.prune(_session(context).paths, images or [], keep=keep, output=output)


def keys(
    context: typer.Context,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the projects for their keys.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Whose signatures are believed, and until when."""
    from appliance.cli import carrying

    raise typer.Exit(carrying.keys(_session(context).paths, refresh=refresh, output=output))


def bundle_export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The tar file to write.")],
    images: _Images = None,
) -> None:
    """Write releases (default: what is current) into one file, with what proves them."""
    from appliance.cli import carrying

    carrying.bundle_export(_session(context).paths, file, images or [])


def bundle_import(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The tar file.")],
    local: Annotated[
        bool, typer.Option("--local", help="Also take local images, which nobody signed, as they come.")
    ] = False,
    sha256: _Sha256 = None,
    allow_downgrade: _Downgrade = False,
    legacy_sha1: _Legacy = False,
) -> None:
    """Bring a bundle's releases into the store, each proven by this site's pins as a download is."""
    from appliance.cli import carrying

    wishes = Wishes(allow_downgrade, legacy_sha1, local, digest=_digest(sha256))
    carrying.bundle_import(_session(context).paths, file, wishes)


def register(app: typer.Typer) -> None:
    """Add `images` to `app`."""
    group = typer.Typer(help="The image store.", invoke_without_command=True)
    group.callback()(images)
    commands: tuple[Callable[..., None], ...] = (fetch, verify, use, rollback, prune, keys)
    for command in commands:
        group.command()(command)
    bundles = typer.Typer(help="Images for a site without internet.", no_args_is_help=True)
    bundles.command("export")(bundle_export)
    bundles.command("import")(bundle_import)
    group.add_typer(bundles, name="bundle")
    app.add_typer(group, name="images")


def _digest(raw: str | None) -> str | None:
    if raw is None:
        return None
    digest = raw.strip().lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise typer.BadParameter("a SHA-256 has 64 hexadecimal digits", param_hint="--sha256")
    return digest


def _arch(raw: str | None) -> str | None:
    known = {"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64"}
    if raw is not None and raw not in known:
        raise typer.BadParameter("write amd64 or arm64", param_hint="--arch")
    return known[raw] if raw is not None else None


def _session(context: typer.Context) -> Session:
    session = context.obj
    assert isinstance(session, Session)
    return session
