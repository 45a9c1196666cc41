"""Butane's YAML, node by node, so that every complaint has its line. Pure.

Scalars are read as what the key wants them to be, by the rules of Go's yaml.v3, which Butane uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from appliance.matchbox.errors import IgnitionError, Keys

_MAX_NODES: Final = 200_000
_MAX_DEPTH: Final = 40
_MODE_LIMIT: Final = 0o7777
_TRUE: Final = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"})
_FALSE: Final = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"})

_NOT_COVERED: Final = "translate the file with the butane program and name the .ign file instead"
_LOCAL: Final = frozenset({"local", "contents_local", "ssh_authorized_keys_local", "trees"})

Convert = Callable[[yaml.Node, str], object]


@dataclass(frozen=True, slots=True)
class Object:
    """A mapping: Butane key to Ignition key and converter; `base` stands there without being asked."""

    keys: Mapping[str, tuple[str, Convert]]
    required: tuple[str, ...] = ()
    base: Mapping[str, object] | None = None

    def __call__(self, node: yaml.Node, path: str) -> dict[str, object]:
        found: dict[str, object] = dict(self.base or {})
        seen: set[str] = set()
        wrong: list[IgnitionError] = []
        for key, value in pairs(node, path):
            name = key.value
            place = f"{path}.{name}" if path else name
            if name not in self.keys:
                wrong.append(refusal(key, place, "is not supported here", _not_covered(name)))
            elif name in seen:
                wrong.append(refusal(key, place, "stands twice"))
            elif not _is_null(value):
                target, convert = self.keys[name]
                try:
                    found[target] = convert(value, place)
                except IgnitionError as error:
                    wrong.append(error)
            seen.add(name)
        missing = [n for n in self.required if self.keys[n][0] not in found and n not in seen]
        wrong += [refusal(node, f"{path}.{name}" if path else name, "is missing") for name in missing]
        if wrong:
            raise _all_of(wrong)
        return found


def compose(content: bytes) -> yaml.Node:
    """The node tree of one YAML document.

    Raises:
        IgnitionError: it is not YAML, empty, or beyond the bounds.
    """
    try:
        text = content.decode("utf-8")
        _bound_nesting(text)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except UnicodeDecodeError as error:
        raise IgnitionError("the file is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise IgnitionError(f"not YAML: {error.problem}", line=line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise IgnitionError("not YAML, or nested too deeply") from error
    if root is None:
        raise IgnitionError("the file is empty")
    _bound(root)
    return root


def _bound_nesting(text: str) -> None:
    """Refuse deep nesting before it is composed, which libyaml's binding does by recursion in C."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise IgnitionError(
                "nested too deeply", line=event.start_mark.line + 1 if event.start_mark else 0
            )


def _bound(root: yaml.Node) -> None:
    """Refuse what aliases blow up, or turn into a circle."""
    count = 0
    todo = [(root, 0)]
    while todo:
        node, depth = todo.pop()
        count += 1
        if count > _MAX_NODES or depth > _MAX_DEPTH:
            raise IgnitionError("the file is too large or nested too deeply")
        if isinstance(node, yaml.SequenceNode):
            todo.extend((item, depth + 1) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            todo.extend((part, depth + 1) for pair in node.value for part in pair)


def pairs(node: yaml.Node, path: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """A mapping's keys and values, duplicates included."""
    if not isinstance(node, yaml.MappingNode):
        raise refusal(node, path, "must be a mapping")
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise refusal(key, path, "has a key that is no string")
    return list(node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def refusal(node: yaml.Node, path: str, message: str, hint: str = "") -> IgnitionError:
    """The error to raise about `node`."""
    line = node.start_mark.line + 1 if node.start_mark else 0
    return IgnitionError(
        f"{path} {message}" if path else f"the file {message}", line=line, path=path, hint=hint
    )


def line_of(root: yaml.Node, keys: Keys) -> int:
    """The line of what an Ignition document has at `keys`, or of the nearest thing above it."""
    node, line = root, 1
    for step in keys:
        below: yaml.Node | None = None
        if isinstance(step, int) and isinstance(node, yaml.SequenceNode) and step < len(node.value):
            below = node.value[step]
            line = below.start_mark.line + 1
        elif isinstance(step, str) and isinstance(node, yaml.MappingNode):
            names = {step, *in_butane((step,))}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in names:
                    below, line = value, key.start_mark.line + 1
        if below is None:
            break
        node = below
    return line


def in_butane(keys: Keys) -> Keys:
    """The same place in the words of Butane: `sizeMiB` is `size_mib`, `shouldExist` is `should_exist`."""
    return tuple(_snake(step) if isinstance(step, str) else step for step in keys)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.replace("MiB", "Mib")).lower()


def _not_covered(name: str) -> str:
    return f"put the text in place, with inline, or {_NOT_COVERED}" if name in _LOCAL else _NOT_COVERED


def _all_of(errors: list[IgnitionError]) -> IgnitionError:
    return IgnitionError.of(tuple(flaw for error in errors for flaw in error.flaws))


def text_of(node: yaml.Node, path: str) -> str:
    """A scalar as it is written."""
    if not isinstance(node, yaml.ScalarNode):
        raise refusal(node, path, "must be a string")
    return str(node.value)


def required_text(node: yaml.Node, path: str) -> str:
    """A scalar that is not empty."""
    if not (text := text_of(node, path)):
        raise refusal(node, path, "must not be empty")
    return text


def absolute(node: yaml.Node, path: str) -> str:
    """An absolute path."""
    text = text_of(node, path)
    if not text.startswith("/") or "\0" in text:
        raise refusal(node, path, f"must be an absolute path, not {text[:80]!r}")
    return text


def boolean(node: yaml.Node, path: str) -> bool:
    """True or false; yaml.v3 knows YAML 1.1's words where a bool is wanted."""
    text = text_of(node, path)
    if text not in _TRUE and text not in _FALSE:
        raise refusal(node, path, f"must be true or false, not {text[:40]!r}")
    return text in _TRUE


def integer(node: yaml.Node, path: str) -> int:
    """A number as Go's yaml.v3 reads it: a leading 0 or 0o is octal, 0x hexadecimal, 0b binary."""
    text = text_of(node, path).replace("_", "")
    quoted = isinstance(node, yaml.ScalarNode) and node.style in {"'", '"', "|", ">"}
    octal = re.fullmatch(r"0o?([0-7]+)", text, re.ASCII)
    if not quoted and len(text) < 20:
        if octal:
            return int(octal[1], 8)
        if re.fullmatch(r"0|[1-9][0-9]*|0x[0-9a-fA-F]+|0b[01]+", text, re.ASCII):
            return int(text, 0)
    raise refusal(node, path, f"must be a number, not {text[:40]!r}")


def mode(node: yaml.Node, path: str) -> int:
    """Permission bits."""
    if (value := integer(node, path)) > _MODE_LIMIT:
        raise refusal(node, path, f"{value} is no file mode; write it in octal, as in 0644")
    return value


def list_of(convert: Convert) -> Convert:
    """A converter of lists from one of their items."""

    def items(node: yaml.Node, path: str) -> list[object]:
        if not isinstance(node, yaml.SequenceNode):
            raise refusal(node, path, "must be a list")
        found, wrong = [], []
        for index, item in enumerate(node.value):
            try:
                found.append(convert(item, f"{path}[{index}]"))
            except IgnitionError as error:
                wrong.append(error)
        if wrong:
            raise _all_of(wrong)
        return found

    return items
