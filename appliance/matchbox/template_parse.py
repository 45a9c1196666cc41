"""Go's text/template, second step: tokens to a tree. Pure.

Everything that can be known without data is refused here, when the file is read, and not at a machine's
boot: unknown functions and variables, unclosed blocks, nesting beyond what the interpreter bears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from appliance.matchbox.errors import TemplateError
from appliance.matchbox.template_functions import BUILT_INS
from appliance.matchbox.template_lex import Kind, Token, tokens_of
from appliance.matchbox.template_literals import number, unquoted
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
    Node,
    Pipe,
    Text,
    Variable,
)

MAX_DEPTH: Final = 40  # of blocks and parentheses; Python's own stack is the reason for a bound

FUNCTIONS: Final = frozenset({"and", "or", *BUILT_INS})
_KEYWORDS: Final = frozenset(
    ("block", "break", "continue", "define", "else", "end", "if", "range", "template", "with")
)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: what to carry out, and the templates that it defines by name."""

    body: Body
    defined: Mapping[str, Body] = field(default_factory=lambda: MappingProxyType({}))


def parse_template(source: str) -> Template:
    """Parse `source`.

    Raises:
        TemplateError: with the line.
    """
    return _Parser(tokens_of(source)).run()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._loops = 0
        self._variables = ["$"]
        self._defined: dict[str, Body] = {}

    def run(self) -> Template:
        body, ending = self._body(top=True)
        if ending != "":
            raise self._error(f"unexpected {{{{{ending}}}}}")
        return Template(body, MappingProxyType(self._defined))

    # blocks

    def _body(self, *, top: bool = False) -> tuple[Body, str]:
        """Nodes up to the end of the block, and what ended it: end, else, or nothing (the file did)."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep")
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind is Kind.END:
                ending = ""
                break
            if token.kind is Kind.TEXT:
                nodes.append(Text(token.text))
                continue
            word = self._keyword()  # the token taken was OPEN
            if word in {"end", "else"}:
                ending = word
                break
            node = self._action(word, top=top)
            if node is not None:
                nodes.append(node)
        self._depth -= 1
        return tuple(nodes), ending

    def _action(self, word: str, *, top: bool) -> Node | None:
        line = self._peek().line
        match word:
            case "if" | "with" | "range":
                return self._branch(word, line)
            case "template" | "block":
                return self._invoke(word, line)
            case "define":
                if not top:
                    raise self._error("define stands inside another block")
                self._define()
                return None
            case "break" | "continue":
                self._close()
                if not self._loops:
                    raise self._error(f"{word} outside of range", line)
                return Break() if word == "break" else Continue()
        pipe = self._pipe("command")
        self._close()
        return Action(pipe, line)

    def _branch(self, word: str, line: int) -> Branch:
        """One if, with or range; its else-ifs are read in a loop, for chains of them may be long."""
        known = len(self._variables)
        links: list[tuple[Pipe, Body]] = []
        while True:
            self._loops += word == "range"
            pipe = self._pipe(word, ranging=word == "range")
            self._close()
            body, ending = self._body()
            self._loops -= word == "range"
            links.append((pipe, body))
            if ending != "else" or not self._chained(word):
                break
        otherwise: Body = ()
        if ending == "else":
            self._close()
            otherwise, ending = self._body()
        self._expect_end(ending, word, line)
        del self._variables[known:]
        for pipe, body in reversed(links):
            branch = Branch(word, pipe, body, otherwise, pipe.line)
            otherwise = (branch,)
        return branch

    def _chained(self, word: str) -> bool:
        """`{{else if}}` and `{{else with}}` (Go 1.23) continue the block and share its end."""
        token = self._peek()
        if token.kind is Kind.WORD and token.text == word and word in {"if", "with"}:
            self._next()
            return True
        return False

    def _invoke(self, word: str, line: int) -> Invoke:
        name = self._name(word)
        pipe = None if self._peek().kind is Kind.CLOSE else self._pipe(word)
        if word == "block" and pipe is None:
            raise self._error("missing value for block", line)
        self._close()
        if word == "block":
            self._define_body(name, line)
        return Invoke(name, pipe, line)

    def _define(self) -> None:
        line = self._peek().line
        name = self._name("define")
        self._close()
        self._define_body(name, line)

    def _define_body(self, name: str, line: int) -> None:
        outer, self._variables = self._variables, ["$"]
        loops, self._loops = self._loops, 0
        body, ending = self._body()
        self._expect_end(ending, "define", line)
        self._variables, self._loops = outer, loops
        # A definition of nothing but white space gives way to one with content (text/template).
        if _says_something(self._defined.get(name, ())):
            if _says_something(body):
                raise self._error(f"multiple definition of template {name!r}", line)
        else:
            self._defined[name] = body

    def _name(self, word: str) -> str:
        token = self._next()
        if token.kind not in {Kind.STRING, Kind.RAW}:
            raise self._error(f"{word} needs a quoted name")
        return unquoted(token)

    # pipelines

    def _pipe(self, context: str, *, ranging: bool = False) -> Pipe:
        line = self._peek().line
        declared, assigns = self._declaration(ranging=ranging)
        commands: list[Command] = []
        while True:
            commands.append(self._command(first=not commands, context=context))
            token = self._peek()
            if token.kind is Kind.MARK and token.text == "|":
                self._next()
                continue
            break
        if not assigns:
            self._variables.extend(declared)
        return Pipe(tuple(declared), assigns, tuple(commands), line)

    def _declaration(self, *, ranging: bool) -> tuple[list[str], bool]:
        """The variables that a pipeline sets, and whether they must exist already."""
        names: list[str] = []
        start = self._at
        while self._peek().kind is Kind.VARIABLE:
            names.append(self._next().text)
            token = self._peek()
            if token.kind is Kind.DECLARE or (token.kind is Kind.MARK and token.text == "="):
                assigns = token.kind is Kind.MARK
                for name in names if assigns else ():
                    self._known(name)
                if len(names) > (2 if ranging else 1):
                    raise self._error("too many declarations")
                self._next()
                return names, assigns
            if not (ranging and token.kind is Kind.MARK and token.text == "," and len(names) == 1):
                break
            self._next()
        self._at = start
        return [], False

    def _command(self, *, first: bool, context: str) -> Command:
        arguments: list[Expression] = []
        while self._starts_operand():
            if arguments and not self._peek().spaced:
                raise self._error(f"unexpected {self._peek().text!r} in operand")
            arguments.append(self._operand())
        if not arguments:
            raise self._error(f"missing value for {context}")
        if not first and isinstance(arguments[0], Literal | Nil | Dot):
            raise self._error("non executable command in a pipeline")
        return Command(tuple(arguments))

    def _starts_operand(self) -> bool:
        token = self._peek()
        if token.kind is Kind.MARK:
            return token.text == "("
        return token.kind not in {Kind.CLOSE, Kind.END, Kind.TEXT, Kind.OPEN, Kind.DECLARE}

    def _operand(self) -> Expression:
        token = self._next()
        expression = self._term(token)
        fields: list[str] = []
        while self._peek().kind is Kind.FIELD and not self._peek().spaced:
            fields.append(self._next().text[1:])
        if not fields:
            return expression
        match expression:
            case Field(names):
                return Field((*names, *fields))
            case Variable(name, names):
                return Variable(name, (*names, *fields))
            case Literal() | Nil() | Dot():
                raise self._error(f"unexpected .{fields[0]} after a literal", token.line)
            case _:
                return Chain(expression, tuple(fields))

    def _term(self, token: Token) -> Expression:
        match token.kind:
            case Kind.FIELD:
                return Field((token.text[1:],))
            case Kind.DOT:
                return Dot()
            case Kind.VARIABLE:
                self._known(token.text)
                return Variable(token.text)
            case Kind.NUMBER | Kind.CHAR:
                return Literal(number(token))
            case Kind.STRING | Kind.RAW:
                return Literal(unquoted(token))
            case Kind.MARK if token.text == "(":
                return self._parenthesised()
            case Kind.WORD:
                return self._word(token)
        raise self._error(f"unexpected {token.text!r}", token.line)

    def _parenthesised(self) -> Pipe:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep")
        known = len(self._variables)
        pipe = self._pipe("parenthesized pipeline")
        if self._next().text != ")":
            raise self._error("unclosed left parenthesis")
        del self._variables[known:]
        self._depth -= 1
        return pipe

    def _word(self, token: Token) -> Expression:
        match token.text:
            case "true" | "false":
                return Literal(token.text == "true")
            case "nil":
                return Nil()
            case name if name in FUNCTIONS:
                return Function(name)
        raise self._error(f"function {token.text[:40]!r} not defined", token.line)

    # tokens

    def _keyword(self) -> str:
        """The keyword that an action begins with, or nothing. What follows an `else` is left to its block."""
        token = self._peek()
        if token.kind is Kind.WORD and token.text in _KEYWORDS:
            self._next()
            if token.text == "end":
                self._close()
            return token.text
        return ""

    def _known(self, name: str) -> None:
        if name not in self._variables:
            raise self._error(f"undefined variable {name[:40]!r}")

    def _expect_end(self, ending: str, word: str, line: int) -> None:
        if ending != "end":
            raise self._error(f"{word} is never ended" if not ending else f"unexpected else in {word}", line)

    def _close(self) -> None:
        if self._next().kind is not Kind.CLOSE:
            raise self._error(f"unexpected {self._tokens[self._at - 1].text[:40]!r}")

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _error(self, message: str, line: int = 0) -> TemplateError:
        return TemplateError(message, line=line or self._peek().line)


def _says_something(body: Body) -> bool:
    return any(not isinstance(node, Text) or node.text.strip() for node in body)
