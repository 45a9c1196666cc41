"""One change of one inventory file: its text in, its new text out, or a reason why not.

The new text is read by the same reader that a sync uses, and must hold exactly what was meant: everything
else that an edit might have done to a file that is written in an unusual way ends here.

Pure.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from appliance.addresses import Hostname, Mac
from appliance.errors import OperatorError, Problem, Refused
from appliance.inventory.edit_csv import add_to_csv, remove_from_csv, set_in_csv
from appliance.inventory.edit_json import add_to_json, remove_from_json, set_in_json
from appliance.inventory.edit_toml import add_to_toml, remove_from_toml, set_in_toml
from appliance.inventory.edit_yaml import add_to_yaml, remove_from_yaml, set_in_yaml
from appliance.inventory.parse_csv import read_csv
from appliance.inventory.parse_json import read_json
from appliance.inventory.parse_yaml import read_yaml
from appliance.inventory.spans import CannotEdit
from appliance.reading import Document, Path
from appliance.toml_lines import read_toml

_TABLE: Final = "machine"
_BY_HAND: Final = "edit the file by hand, then run pxe-appliance check"
_Tree = dict[str, object]
_Reader = Callable[[str, str, list[Problem]], Document | None]


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is read, and the three things that can be done to a text of it."""

    read: _Reader
    add: Callable[[str, str, Mapping[str, object]], str]
    remove: Callable[[str, str], str]
    set_texts: Callable[[str, Mapping[Path, str]], str]


_YAML: Final = Format(read_yaml, add_to_yaml, remove_from_yaml, set_in_yaml)
FORMATS: Final[Mapping[str, Format]] = {
    ".toml": Format(read_toml, add_to_toml, remove_from_toml, set_in_toml),
    ".yaml": _YAML,
    ".yml": _YAML,
    ".json": Format(read_json, add_to_json, remove_from_json, set_in_json),
    ".csv": Format(read_csv, add_to_csv, remove_from_csv, set_in_csv),
}


class Edit(Protocol):
    """A change that is meant: of the text, and of what the text says."""

    def of_text(self, text: str, data: Mapping[str, object], form: Format) -> str:
        """The new text."""

    def of_data(self, data: _Tree) -> None:
        """Do to the parsed file what the new text has to mean; tables below the top are shared, not ours."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A new machine. `data` holds its keys as a file does: texts, lists of texts, and tables of texts."""

    name: Hostname
    data: Mapping[str, object]

    def of_text(self, text: str, data: Mapping[str, object], form: Format) -> str:
        """See `Edit`."""
        if any(name.lower() == self.name.text for name in _machines(data)):
            raise CannotEdit(f"{self.name} is in it already")
        return form.add(text, self.name.text, self.data)

    def of_data(self, data: _Tree) -> None:
        """See `Edit`."""
        data[_TABLE] = {**_machines(data), self.name.text: dict(self.data)}


@dataclass(frozen=True, slots=True)
class Removal:
    """A machine goes, with its NICs and bonds. `written` is its name as the file spells it."""

    written: str

    def of_text(self, text: str, data: Mapping[str, object], form: Format) -> str:
        """See `Edit`."""
        if self.written not in _machines(data):
            raise CannotEdit(f"{self.written} is not in it")
        return form.remove(text, self.written)

    def of_data(self, data: _Tree) -> None:
        """See `Edit`."""
        data[_TABLE] = {name: raw for name, raw in _machines(data).items() if name != self.written}


@dataclass(frozen=True, slots=True)
class MacChange:
    """A machine's NIC gets another MAC, wherever the old one stands and however it is spelt."""

    written: str
    old: Mac
    new: Mac

    def of_text(self, text: str, data: Mapping[str, object], form: Format) -> str:
        """See `Edit`. The new one is spelt as the old one was."""
        return form.set_texts(text, {p: respelt(raw, self.new) for p, raw in self._found(data)})

    def of_data(self, data: _Tree) -> None:
        """See `Edit`."""
        found = list(self._found(data))
        data[_TABLE] = {**_machines(data), self.written: copy.deepcopy(_machines(data)[self.written])}
        for path, raw in found:
            _put(data, path, respelt(raw, self.new))

    def _found(self, data: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
        """Where the old MAC stands, and how it is written there."""
        found = [(path, raw) for path, raw in macs_of(data, self.written) if _mac(raw) == self.old]
        if not found:
            raise CannotEdit(f"{self.old} is not a NIC of {self.written} in it")
        yield from found


def edited(text: str | None, suffix: str, shown: str, edit: Edit) -> str:
    """The text of a file after an edit; None is a file that is not there yet.

    `suffix` is the file's ending in lower case, `shown` its name for messages.

    Raises:
        OperatorError: the file is wrong as it is.
        Refused: its shape is not one that this can edit.
    """
    form = FORMATS[suffix]
    problems: list[Problem] = []
    before = form.read(text, shown, problems) if text is not None else Document(shown, {}, lambda _: 0)
    if before is None:
        raise OperatorError(f"cannot edit {shown}: it is wrong as it is", problems=problems)
    meant: _Tree = {
        **before.data,
        _TABLE: dict(_machines(before.data)),
    }  # what an edit does not touch is shared
    try:
        new = edit.of_text(text or "", before.data, form)
        edit.of_data(meant)
    except CannotEdit as reason:
        raise Refused(f"cannot edit {shown}: {reason}", hint=reason.hint) from reason
    after = form.read(new, shown, problems)
    if (
        after is None
        or _without_nothing(after.data) != _without_nothing(meant)
        or not _same_order(after, meant)
    ):
        why = f": {problems[0].message}" if problems else ""
        raise Refused(f"cannot edit {shown}: the result would not say what is meant{why}", hint=_BY_HAND)
    return new


def macs_of(data: Mapping[str, object], written: str) -> Iterator[tuple[Path, str]]:
    """Every MAC of a machine's NICs as written, with its path: `mac`, `macs`, and those of other NICs."""
    machine = _machines(data).get(written)
    if not isinstance(machine, Mapping):
        return
    base: Path = (_TABLE, written)
    macs = machine.get("macs")
    nics = machine.get("nic")
    pairs: list[tuple[Path, object]] = [((*base, "mac"), machine.get("mac"))]
    pairs += [((*base, "macs", i), raw) for i, raw in enumerate(macs if isinstance(macs, list) else ())]
    for name, nic in nics.items() if isinstance(nics, Mapping) else ():
        pairs.append(((*base, "nic", name, "mac"), nic.get("mac") if isinstance(nic, Mapping) else None))
    yield from ((path, raw) for path, raw in pairs if isinstance(raw, str))


def respelt(old: str, new: Mac) -> str:
    """`new` in the spelling of `old`: its separators, and upper case where that one has it."""
    digits = new.text.replace(":", "")
    old = old.strip()
    if "." in old:
        text = ".".join(digits[i : i + 4] for i in range(0, 12, 4))
    elif found := re.search("[:-]", old):
        text = found[0].join(digits[i : i + 2] for i in range(0, 12, 2))
    else:
        text = digits
    return text.upper() if old != old.lower() else text


def _mac(raw: str) -> Mac | None:
    try:
        return Mac.parse(raw)
    except ValueError:
        return None


def _put(node: object, path: Path, value: str) -> None:
    """Put a text where another one stands."""
    step, rest = path[0], path[1:]
    if isinstance(node, dict) and isinstance(step, str):
        if rest:
            _put(node[step], rest, value)
        else:
            node[step] = value
    elif isinstance(node, list) and isinstance(step, int):
        node[step] = value


def _machines(data: Mapping[str, object]) -> Mapping[str, object]:
    machines = data.get(_TABLE)
    return machines if isinstance(machines, Mapping) else {}


def _same_order(after: Document, meant: Mapping[str, object]) -> bool:
    """Whether the machines stand in the order in which they stood, a new one behind them."""
    return list(_machines(after.data)) == list(_machines(meant))


def _without_nothing(data: Mapping[str, object]) -> Mapping[str, object]:
    """A table of machines that is empty, and one that is not there, say the same."""
    return {k: v for k, v in data.items() if k != _TABLE or v}
