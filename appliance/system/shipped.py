"""The files that ship with the appliance: beside this package in a checkout, inside it in a wheel."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_EXPLAIN = "docs/explain"


def shipped(folder: str) -> Traversable:
    """The shipped `conf.d`, `tftpboot`, `systemd` or `docs/explain` folder."""
    inside = files("appliance") / "shipped" / folder
    return inside if inside.is_dir() else Path(__file__).parents[2] / folder


def shipped_templates() -> dict[str, str]:
    """The dnsmasq configuration templates by file name."""
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in sorted(shipped("conf.d").iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".j2")
    }


def shipped_page() -> dict[str, bytes]:
    """The files of the page `/ui/`, by name. They are part of the package."""
    return {entry.name: entry.read_bytes() for entry in (files("appliance") / "page").iterdir()}


def shipped_scripts() -> dict[str, bytes]:
    """What iPXE finds in the TFTP root besides the binaries, by file name."""
    return {e.name: e.read_bytes() for e in shipped("tftpboot").iterdir() if e.name.endswith(".ipxe")}


def shipped_manifest() -> str:
    """The manifest of iPXE binaries."""
    return (shipped("tftpboot") / "manifest.toml").read_text(encoding="utf-8")


def explained_ids() -> tuple[str, ...]:
    """What `explain` has a page for, sorted."""
    names = (entry.name for entry in shipped(_EXPLAIN).iterdir())
    return tuple(sorted(name.removesuffix(".md") for name in names if name.endswith(".md")))


def explanation(identity: str) -> str:
    """The page about one of `explained_ids`."""
    return (shipped(_EXPLAIN) / f"{identity}.md").read_text(encoding="utf-8")
