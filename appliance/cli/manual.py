"""The manual, made from the command line itself: a page for each command and group, and one for each format.

Pure: the tree of commands goes in, man(7) pages come out. Whoever adds an option has documented it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from appliance import __version__
from appliance.cli.manual_formats import format_pages
from appliance.cli.manual_words import ENVIRONMENT, EXAMPLES, EXIT_STATUS, FILES
from appliance.cli.roff import (
    bold,
    entry,
    example,
    heading,
    italic,
    literal,
    paragraphs,
    prose,
    subheading,
    title,
)

PROGRAM: Final = "pxe-appliance"
_SOURCE: Final = f"{PROGRAM} {__version__}"
_SECTION: Final = 1
_FORMATS: Final = (f"{PROGRAM}-settings(5)", f"{PROGRAM}-inventory(5)")

_NUMBERS: Final = (int, float)


def man_pages(root: TyperGroup, date: str = "") -> dict[str, str]:
    """Every page by file name: `pxe-appliance.1`, `pxe-appliance-sync.1` and so on; the formats in section 5.

    Args:
        root: the whole tree of commands (`typer.main.get_command(app)`, or `context.find_root().command`).
        date: of the release, as YYYY-MM-DD; it stands at the foot of each page.
    """
    pages = {f"{PROGRAM}.{_SECTION}": _program(root, date)}
    for name, command in _shown(root):
        pages[f"{PROGRAM}-{name}.{_SECTION}"] = _command_page(name, command, date)
    return pages | format_pages(date, _SOURCE)


def _program(root: TyperGroup, date: str) -> str:
    commands = "".join(
        entry(bold(name), f"{_described(command)} See {prose(f'{PROGRAM}-{name}({_SECTION})')}.")
        for name, command in _shown(root)
    )
    listing = "Every listing takes --output json (-o json), for programs; the names in it stay."
    return "".join(
        (
            title(PROGRAM, _SECTION, date, _SOURCE),
            _name_section(PROGRAM, root),
            heading("SYNOPSIS"),
            f"{bold(PROGRAM)} [{italic('options')}] {italic('command')} [{italic('arguments')}]\n",
            heading("DESCRIPTION"),
            paragraphs((*_help(root), prose(listing))),
            heading("OPTIONS"),
            _options(root),
            heading("COMMANDS"),
            commands,
            heading("EXIT STATUS"),
            "".join(entry(bold(str(int(code))), prose(text)) for code, text in EXIT_STATUS),
            heading("ENVIRONMENT"),
            "".join(entry(bold(name), prose(text)) for name, text in ENVIRONMENT),
            heading("FILES"),
            "".join(entry(italic(place), prose(text)) for place, text in FILES),
            heading("EXAMPLES"),
            "".join(f"{'.PP' + chr(10) if n else ''}{paragraphs([prose(what)])}{example(lines)}"
                    for n, (what, lines) in enumerate(EXAMPLES)),
            _see_also((*_FORMATS, "dnsmasq(8)", "systemctl(1)")),
        )
    )  # fmt: skip


def _command_page(name: str, command: TyperCommand | TyperGroup, date: str) -> str:
    whole = f"{PROGRAM}-{name}"
    head = title(whole, _SECTION, date, _SOURCE) + _name_section(whole, command)
    also = _see_also((f"{PROGRAM}({_SECTION})", *_FORMATS))
    status = heading("EXIT STATUS") + paragraphs([prose(f"As of {PROGRAM}({_SECTION}).")])
    described = heading("DESCRIPTION") + paragraphs(_help(command))
    if not isinstance(command, TyperGroup):
        synopsis = heading("SYNOPSIS") + _usage((name,), command) + "\n"
        return "".join((head, synopsis, described, _parameters(command), status, also))
    below = list(_leaves((name,), command))
    lines = [_usage((name,), command)] if command.invoke_without_command else []
    lines += [_usage(words, leaf) for words, leaf in below]
    synopsis = heading("SYNOPSIS") + "\n.br\n".join(lines) + "\n"
    own = heading("OPTIONS") + _options(command) if command.invoke_without_command else ""
    parts = heading("COMMANDS") + "".join(_part(words, leaf) for words, leaf in below)
    return "".join((head, synopsis, described, own, parts, status, also))


def _part(words: Sequence[str], command: TyperCommand) -> str:
    """One command of a group, in the group's page."""
    return (
        subheading(_usage(words, command))
        + paragraphs(_help(command))
        + _arguments(command)
        + _options(command)
    )


def _parameters(command: TyperCommand | TyperGroup) -> str:
    arguments = _arguments(command)
    return (heading("ARGUMENTS") + arguments if arguments else "") + heading("OPTIONS") + _options(command)


def _usage(words: Sequence[str], command: TyperCommand | TyperGroup) -> str:
    required = [
        f"{bold(max(p.opts, key=len))} {italic(_value(p))}"
        for p in command.params
        if isinstance(p, TyperOption) and p.required
    ]
    arguments = []
    for argument in _positional(command):
        name = italic(_argument_name(argument)) + ("..." if argument.nargs == -1 else "")
        arguments.append(name if argument.required else f"[{name}]")
    options = f"[{italic('options')}]"
    return " ".join((bold(" ".join((PROGRAM, *words))), options, *required, *arguments))


def _arguments(command: TyperCommand | TyperGroup) -> str:
    return "".join(
        entry(italic(_argument_name(argument)), prose(_sentence(argument.help or "")) + _fallback(argument))
        for argument in _positional(command)
    )


def _options(command: TyperCommand | TyperGroup) -> str:
    found = "".join(
        entry(_flags(p), prose(_sentence(p.help or "")) + _fallback(p))
        for p in command.params
        if isinstance(p, TyperOption) and not p.hidden
    )
    return found + entry(f"{bold('--help')}, {bold('-h')}", "Print a summary, and nothing else.")


def _flags(option: TyperOption) -> str:
    names = ", ".join(bold(name) for name in [*option.opts, *option.secondary_opts])
    return names if option.is_bool_flag else f"{names} {italic(_value(option))}"


def _value(option: TyperOption) -> str:
    if option.metavar:
        return option.metavar
    kind = option.type_descriptor
    if kind.is_choice:
        return "|".join(str(choice) for choice in kind.choices or ())
    if kind.annotation in _NUMBERS:
        return "N"
    return "PATH" if kind.is_path else max(option.opts, key=len).lstrip("-").upper()


def _argument_name(argument: TyperArgument) -> str:
    return argument.metavar or (argument.name or "").upper()


def _fallback(parameter: TyperOption | TyperArgument) -> str:
    """What holds when it is not given, where that is more than nothing."""
    said = []
    if isinstance(parameter, TyperOption) and parameter.required:
        said.append("Has to be given.")
    default = parameter.default
    if isinstance(default, str | int) and not isinstance(default, bool) and default != "":
        said.append(f"Default: {bold(str(default))}.")
    if isinstance(parameter.envvar, str):
        said.append(f"Environment: {bold(parameter.envvar)}.")
    return "".join(f" {text}" for text in said)


def _positional(command: TyperCommand | TyperGroup) -> list[TyperArgument]:
    return [p for p in command.params if isinstance(p, TyperArgument) and not p.hidden]


def _shown(group: TyperGroup) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, TyperCommand | TyperGroup) and not command.hidden:
            yield name, command


def _leaves(words: tuple[str, ...], group: TyperGroup) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    for name, command in _shown(group):
        if isinstance(command, TyperGroup):
            yield from _leaves((*words, name), command)
        else:
            yield (*words, name), command


def _help(command: TyperCommand | TyperGroup) -> list[str]:
    return [prose(part) for part in (command.help or "").split("\n\n") if part.strip()]


def _described(command: TyperCommand | TyperGroup) -> str:
    return (_help(command) or [""])[0]


def _name_section(name: str, command: TyperCommand | TyperGroup) -> str:
    """One line, as whatis(1) takes it."""
    said = " ".join((command.help or "").split("\n\n")[0].split()).rstrip(".")
    return heading("NAME") + paragraphs([f"{literal(name)} \\- {prose(said[:1].lower() + said[1:])}"])


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a name: os/stream, amd64."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+[ ,:;.]", text) else text


def _see_also(names: Sequence[str]) -> str:
    shown = [f"\\fB{literal(name.partition('(')[0])}\\fR({name.partition('(')[2]}" for name in names]
    return heading("SEE ALSO") + ",\n".join(shown) + "\n"
