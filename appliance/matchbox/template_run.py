"""Go's text/template, last step: a tree and data to text. Pure, and bounded in work, depth and output.

A missing key of a map is an error, as Matchbox asks for (`missingkey=error`): better no answer than half a
configuration. An error anywhere gives no output at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.matchbox.errors import TemplateError
from appliance.matchbox.template_functions import call
from appliance.matchbox.template_parse import Template
from appliance.matchbox.template_tree import (
    Action,
    Body,
    Branch,
    Break,
    Chain,
    Command,
    Continue,
    Dot,
    Expression,
    Field,
    Function,
    Invoke,
    Literal,
    Nil,
    Pipe,
    Text,
    Variable,
)
from appliance.matchbox.template_values import show_printed, truth, type_name

MAX_STEPS: Final = 100_000
MAX_OUTPUT: Final = 8 << 20  # characters
MAX_DEPTH: Final = 80  # of blocks and of templates invoking templates, for the sake of Python's stack

_NOTHING: Final = object()  # no value came down the pipe


class _BreakLoop(Exception):
    """`{{break}}` on its way to its range."""


class _NextTurn(Exception):
    """`{{continue}}` on its way to its range."""


def run_template(template: Template, data: Mapping[str, object]) -> str:
    """The text that `template` gives for `data`.

    Raises:
        TemplateError: with the line; nothing of the output is given then.
    """
    return _Run(template, data).text()


class _Run:
    def __init__(self, template: Template, data: Mapping[str, object]) -> None:
        self._template = template
        self._data = data
        self._variables: list[tuple[str, object]] = [("$", data)]
        self._pieces: list[str] = []
        self._size = 0
        self._steps = 0
        self._depth = 0
        self._line = 0

    def text(self) -> str:
        try:
            self._body(self._template.body, self._data)
        except TemplateError as error:
            raise TemplateError(error.message, line=error.line or self._line) from error
        return "".join(self._pieces)

    # nodes

    def _body(self, body: Body, dot: object) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TemplateError(f"blocks and templates are nested more than {MAX_DEPTH} deep")
        try:
            self._nodes(body, dot)
        finally:
            self._depth -= 1

    def _nodes(self, body: Body, dot: object) -> None:
        for node in body:
            self._step()
            match node:
                case Text(text):
                    self._write(text)
                case Action(pipe, line):
                    self._line = line
                    value = self._pipe(pipe, dot)
                    if not pipe.variables:
                        self._write(show_printed(value))
                case Branch():
                    self._branch(node, dot)
                case Invoke():
                    self._invoke(node, dot)
                case Break():
                    raise _BreakLoop
                case Continue():
                    raise _NextTurn

    def _branch(self, branch: Branch, dot: object) -> None:
        known = len(self._variables)
        while True:  # a chain of else-ifs is walked, not nested
            self._step()
            self._line = branch.line
            value = self._pipe(branch.pipe, dot)
            if branch.word == "range":
                self._range(branch, value, dot)
                break
            if truth(value):
                self._body(branch.body, value if branch.word == "with" else dot)
                break
            match branch.otherwise:
                case (Branch(word) as following,) if word == branch.word != "range":
                    branch = following
                case otherwise:
                    self._body(otherwise, dot)
                    break
        del self._variables[known:]

    def _range(self, branch: Branch, value: object, dot: object) -> None:
        turns = self._turns(value)
        if not turns:
            self._body(branch.otherwise, dot)
            return
        known = len(self._variables)
        for key, item in turns:
            self._step()
            self._bind(branch.pipe, key, item)
            try:
                self._body(branch.body, item)
            except _BreakLoop:
                break
            except _NextTurn:
                continue
            finally:
                del self._variables[known:]

    def _turns(self, value: object) -> list[tuple[object, object]]:
        match value:
            case None:
                return []
            case list():
                return list(enumerate(value))
            case Mapping():
                return [(key, value[key]) for key in sorted(value)]
            case int() if not isinstance(value, bool):
                self._steps += max(value, 0)  # before the list is built
                self._step()
                return [(i, i) for i in range(value)]
        raise TemplateError(f"range can't iterate over a {type_name(value)}")

    def _bind(self, pipe: Pipe, key: object, item: object) -> None:
        match pipe.variables:
            case (one,):
                values = [(one, item)]
            case (first, second):
                values = [(first, key), (second, item)]
            case _:
                return
        for name, value in values:
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))

    def _invoke(self, node: Invoke, dot: object) -> None:
        self._line = node.line
        body = self._template.defined.get(node.name)
        if body is None:
            raise TemplateError(f"template {node.name[:40]!r} not defined")
        argument = None if node.pipe is None else self._pipe(node.pipe, dot)
        outer, self._variables = self._variables, [("$", argument)]
        self._body(body, argument)
        self._variables = outer

    # expressions

    def _pipe(self, pipe: Pipe, dot: object) -> object:
        value: object = _NOTHING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        for name in pipe.variables:  # a range sets both to what it ranges over, before its first turn
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _command(self, command: Command, dot: object, final: object) -> object:
        self._step()
        first, rest = command.arguments[0], command.arguments[1:]
        if isinstance(first, Function):
            return self._call(first.name, rest, dot, final)
        if rest or final is not _NOTHING:
            raise TemplateError("can't give an argument to what is no function")
        if isinstance(first, Nil):
            raise TemplateError("nil is not a command")
        return self._value(first, dot)

    def _call(self, name: str, rest: tuple[Expression, ...], dot: object, final: object) -> object:
        if name in {"and", "or"}:
            return self._short_circuit(name, rest, dot, final)
        arguments = [self._value(argument, dot) for argument in rest]
        if final is not _NOTHING:
            arguments.append(final)
        return call(name, arguments)

    def _short_circuit(self, name: str, rest: tuple[Expression, ...], dot: object, final: object) -> object:
        value: object = _NOTHING
        for argument in rest:
            value = self._value(argument, dot)
            if truth(value) == (name == "or"):
                return value
        if final is not _NOTHING:
            return final
        if value is _NOTHING:
            raise TemplateError(f"wrong number of args for {name}: want at least 1 got 0")
        return value

    def _value(self, expression: Expression, dot: object) -> object:
        self._step()
        match expression:
            case Dot():
                return dot
            case Nil():
                return None
            case Literal(constant):
                return constant
            case Field(names):
                return self._fields(dot, names)
            case Variable(name, names):
                return self._fields(self._variable(name), names)
            case Chain(base, names):
                return self._fields(self._value(base, dot), names)
            case Function(name):
                return self._call(name, (), dot, _NOTHING)
            case Pipe():
                known = len(self._variables)
                value = self._pipe(expression, dot)
                del self._variables[known:]
                return value

    def _fields(self, value: object, names: tuple[str, ...]) -> object:
        for name in names:
            if value is None:
                raise TemplateError(f"nil data; no entry for key {name[:40]!r}")
            if not isinstance(value, Mapping):
                raise TemplateError(f"can't evaluate field {name[:40]} in type {type_name(value)}")
            if name not in value:
                raise TemplateError(f"map has no entry for key {name[:40]!r}")
            value = value[name]
        return value

    def _variable(self, name: str) -> object:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise TemplateError(f"undefined variable {name[:40]!r}")

    def _assign(self, name: str, value: object) -> None:
        for i in range(len(self._variables) - 1, -1, -1):
            if self._variables[i][0] == name:
                self._variables[i] = (name, value)
                return
        raise TemplateError(f"undefined variable {name[:40]!r}")

    # bounds

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TemplateError(f"it takes more than {MAX_STEPS} steps")

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateError(f"the output is larger than {MAX_OUTPUT} characters")
        self._pieces.append(text)
