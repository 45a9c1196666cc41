"""Completion scripts for bash, zsh and fish, where each shell looks for them by itself. Pure."""

from __future__ import annotations

from typing import Final

# What --show-completion prints; typer has no other door to it.
from typer.completion import get_completion_script  # type: ignore[attr-defined]

# Below /usr/share (or /usr/local/share); how each shell finds them is in its completion system's own manual.
_PLACES: Final = {
    "bash": "bash-completion/completions/{name}",
    "zsh": "zsh/vendor-completions/_{name}",
    "fish": "fish/vendor_completions.d/{name}.fish",
}


def completions(name: str = "pxe-appliance") -> dict[str, str]:
    """The scripts by their path below a share directory; each asks the program itself what fits."""
    return {place.format(name=name): _script(name, shell) for shell, place in _PLACES.items()}


def _script(name: str, shell: str) -> str:
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    words = {"prog_name": name, "complete_var": variable, "shell": shell}
    script = get_completion_script(**words) + "\n"
    if shell == "zsh":
        # At the first TAB zsh runs the file as the function itself: what it defines has to be called, too.
        script += f'\n_{name.replace("-", "_")}_completion "$@"\n'
    return script
