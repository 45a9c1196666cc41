"""Templates in ignition.d/: Jinja2, sandboxed, strict about undefined names, without a file system. Pure.

What is rendered becomes YAML or JSON, so the filters `tojson` and `quote` make what both read alike: JSON in
which everything is escaped that YAML 1.1 takes for a line break or refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from jinja2 import FunctionLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_OUTPUT: Final = 8 * 2**20  # characters; Ignition's own limit of a document
_FILE: Final = "<template>"
# What an operator's expression can end in; everything else is a bug of ours.
_FAILURES: Final = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
# Raw, YAML takes these for line breaks or refuses them; an escape means the same to both below U+10000.
_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
# Private characters around a line number, put into a second rendering to see where its text comes from.
_MARK: Final = re.compile("\ue0a0([0-9]+)\ue0a1")


class CannotRender(ValueError):
    """A template that cannot be carried out: why, and on which of its lines (0: unknown)."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template that was read once; `source` for the lines of what it makes."""

    source: str
    template: Template


def quoted(value: object) -> str:
    """A value as JSON that YAML 1.1 reads as the same value."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def compile_template(source: str) -> Compiled:
    """Read a template.

    Raises:
        CannotRender: its syntax is wrong.
    """
    try:
        return Compiled(source, _environment().from_string(source))
    except TemplateSyntaxError as error:
        raise CannotRender(_sentence(error), error.lineno) from error
    except _FAILURES as error:
        raise CannotRender(f"it cannot be read: {error}") from error


def render(compiled: Compiled, variables: Mapping[str, object]) -> str:
    """What a template makes of the variables of one machine.

    Raises:
        CannotRender: with the line of the template.
    """
    return _rendered(compiled.template, variables)


def lines_of(compiled: Compiled, variables: Mapping[str, object], text: str) -> tuple[int, ...]:
    """For each line of a rendered `text` the line of the template that made it; empty when it is unknown."""
    environment = _environment()
    tree = environment.parse(compiled.source)
    for output in _outputs(tree):
        output.nodes = list(_marked(output.nodes))
    try:
        code = environment.compile(tree, filename=_FILE)
        template = Template.from_code(environment, code, environment.make_globals(None))
        marked = _rendered(template, variables)
    except CannotRender:
        return ()
    if _MARK.sub("", marked) != text:
        return ()  # an expression looked at its own output
    found, last = [], 1
    for line in marked.split("\n"):
        marks = [int(mark[1]) for mark in _MARK.finditer(line)]
        begins = _MARK.match(line)
        found.append(int(begins[1]) if begins else marks[0] if marks else last)
        last = marks[-1] if marks else last
    return tuple(found)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, loader=FunctionLoader(_nothing)
    )
    filters: dict[str, Callable[..., object]] = environment.filters
    filters["tojson"] = quoted
    filters["quote"] = lambda value: quoted(str(value))
    return environment


def _nothing(_: str) -> None:
    """There is no other template: a file of ignition.d/ stands for itself."""


def _rendered(template: Template, variables: Mapping[str, object]) -> str:
    parts, length = [], 0
    try:
        for part in template.generate(dict(variables)):
            length += len(part)
            if length > MOST_OUTPUT:
                raise CannotRender(f"it makes more than {MOST_OUTPUT // 2**20} MiB")
            parts.append(part)
        text = "".join(parts)
        text.encode()
    except CannotRender:
        raise
    except _FAILURES as error:
        raise CannotRender(_sentence(error), _line(error)) from error
    return text


def _outputs(tree: nodes.Node) -> Iterator[nodes.Output]:
    """What goes straight into the text: not what macros and filters work on."""
    for node in tree.iter_child_nodes():
        if isinstance(node, nodes.Output):
            yield node
        elif not isinstance(node, nodes.Macro | nodes.CallBlock | nodes.FilterBlock | nodes.AssignBlock):
            yield from _outputs(node)


def _marked(parts: list[nodes.Expr]) -> Iterator[nodes.Expr]:
    for part in parts:
        if isinstance(part, nodes.TemplateData):
            lines = part.data.split("\n")
            marked = (f"\ue0a0{part.lineno + index}\ue0a1{line}" for index, line in enumerate(lines))
            yield nodes.TemplateData("\n".join(marked), lineno=part.lineno)
        else:
            yield nodes.TemplateData(f"\ue0a0{part.lineno}\ue0a1", lineno=part.lineno)
            yield part


def _sentence(error: BaseException) -> str:
    if isinstance(error, TemplateNotFound):
        return "templates cannot include, import or extend others"
    if isinstance(error, MemoryError | RecursionError):
        return "it needs too much memory, or calls itself without an end"
    text = str(error) or type(error).__name__
    return text[:300]


def _line(error: BaseException) -> int:
    """The line in the template, from the traceback that Jinja2 has put it into."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
