"""The manual's pages about what an operator writes: settings and inventory, from the schemas. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from appliance.cli.roff import bold, entry, example, heading, italic, literal, paragraphs, prose, title
from appliance.inventory.schema import inventory_schema, settings_schema

_SECTION: Final = 5
_EACH: Final = "NAME"  # stands for a name of the operator's choice

_SETTINGS_ABOUT: Final = """\
/etc/pxe-appliance/appliance.toml is a TOML file. pxe-appliance init writes one with comments, pxe-appliance
check names every mistake with its line, and pxe-appliance config show --origin prints what is in force. A key
that is not known is an error, which names the nearest known one.
"""
_SETTINGS_EXAMPLE: Final = (
    "[network.pxe]",
    'interface = "eno4"',
    'subnet    = "172.0.1.0/24"',
    'address   = "172.0.1.1"',
    'mode      = "dhcp"',
)
_INVENTORY_ABOUT: Final = """\
Every file in /etc/pxe-appliance/inventory.d/ whose name ends in .toml, .yaml, .json or .csv counts, and all
of them together are one inventory. The keys are the same in each format. A CSV file has a row for each
machine, with columns name, mac, ip, profile, network; any other column is a label.

pxe-appliance check names every mistake with file and line; nothing reaches the wire before pxe-appliance
sync.
"""
_INVENTORY_EXAMPLE: Final = (
    "[profile.worker]",
    'image = "flatcar/stable"',
    'boot  = "install-once"',
    "",
    "[machine.node1]",
    'mac     = "52:54:00:aa:00:01"',
    'ip      = "172.0.1.21"',
    'profile = "worker"',
)


def format_pages(date: str, source: str) -> dict[str, str]:
    """`pxe-appliance-settings.5` and `pxe-appliance-inventory.5`; `source` is program and version."""
    settings = _page(
        ("pxe-appliance-settings", "settings of pxe-appliance, in appliance.toml", date, source),
        _SETTINGS_ABOUT,
        settings_schema(),
        _SETTINGS_EXAMPLE,
        "pxe-appliance-inventory",
    )
    inventory = _page(
        ("pxe-appliance-inventory", "machines and profiles of pxe-appliance, in inventory.d", date, source),
        _INVENTORY_ABOUT,
        inventory_schema(),
        _INVENTORY_EXAMPLE,
        "pxe-appliance-settings",
    )
    return {f"pxe-appliance-settings.{_SECTION}": settings, f"pxe-appliance-inventory.{_SECTION}": inventory}


def _page(
    named: tuple[str, str, str, str],
    about: str,
    schema: Mapping[str, object],
    shown: tuple[str, ...],
    other: str,
) -> str:
    name, what, date, source = named
    sections = "".join(_section(key, table) for key, table in sorted(_properties(schema).items()))
    return "".join(
        (
            title(name, _SECTION, date, source),
            heading("NAME"),
            paragraphs([f"{literal(name)} \\- {prose(what)}"]),
            heading("DESCRIPTION"),
            paragraphs(prose(text) for text in about.split("\n\n")),
            sections,
            heading("EXAMPLE"),
            example(shown),
            heading("SEE ALSO"),
            f"{bold('pxe-appliance')}(1),\n{bold(other)}({_SECTION})\n",
        )
    )


def _section(key: str, table: Mapping[str, object]) -> str:
    """A table of the first level: its own heading, and every key below it by its whole path."""
    about = _text(table, "description")
    items = "".join(entry(_path(path), text) for path, text in _walk((key,), table) if text or len(path) > 1)
    return heading(f"THE TABLE {key}") + (paragraphs([prose(_sentence(about))]) if about else "") + items


def _walk(path: tuple[str, ...], node: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every key with what may stand there; tables of tables and lists of tables are walked into."""
    required = node.get("required")
    needed = set(required) if isinstance(required, list) else set()
    for name, below in _properties(node).items():
        place = (*path, name)
        yield place, _described(below, needed=name in needed)
        yield from _walk(place, below)
    for word, key in ((_EACH, "additionalProperties"), ("[]", "items")):
        inner = node.get(key)
        if isinstance(inner, Mapping) and _properties(inner):
            yield from _walk((*path, word), inner)


def _described(node: Mapping[str, object], *, needed: bool) -> str:
    said = [prose(_sentence(_text(node, "description")))]
    values = node.get("enum")
    if isinstance(values, list):
        said.append(f"One of {', '.join(bold(str(value)) for value in values)}.")
    else:
        said.append(prose(_kind(node)))
    if needed:
        said.append("Has to be there.")
    return " ".join(part for part in said if part)


def _kind(node: Mapping[str, object]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    match node.get("type"):
        case "integer" if low is not None and high is not None:
            return f"A number, {low} to {high}."
        case "integer":
            return "A number."
        case "boolean":
            return "true or false."
        case "array":
            most = node.get("maxItems")
            return f"A list, of at most {most}." if most is not None else "A list."
        case "object":
            return "A table."
        case "string" if "maxLength" in node:
            return f"Text, of at most {node['maxLength']} characters."
        case _:
            return ""


def _path(path: tuple[str, ...]) -> str:
    words = [italic(word) if word == _EACH else bold(word) for word in path]
    return ".".join(words).replace(f".{bold('[]')}", "[]")


def _properties(node: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    found = node.get("properties")
    if not isinstance(found, Mapping):
        return {}
    return {str(key): value for key, value in found.items() if isinstance(value, Mapping)}


def _text(node: Mapping[str, object], key: str) -> str:
    found = node.get(key)
    return found if isinstance(found, str) else ""


def _sentence(text: str) -> str:
    if not text:
        return ""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
