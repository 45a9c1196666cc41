"""Files as nobody would write them by hand: whatever their habits, an edit keeps what it is not about."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.addresses import Hostname, Mac
from appliance.errors import OperatorError, Refused
from appliance.inventory.edit import FORMATS, Addition, Edit, MacChange, Removal, edited, macs_of
from appliance.inventory.parse import Drafts
from tests.hostile import STRINGS

NEW = Mac.parse("de:ad:be:ef:00:01")
NAMES = ["node1", "n", "no", "0x10", "Rack-7", "machine", "a--b"]
# What means something in one of the formats.
BITS = [
    "", "\n", "\n\n", "\r", "\t", " ", "#", "# x\n", '"', "'", '"""', "{", "}", "[", "]", "[[", ",", ":",
    ": ", "=", ".", "|", ">", "-", "- ", "? ", "---\n", "...\n", "&a ", "*a", "!t ", "<<: ", "%", "\\",
    "\u2028", "\x85", "[machine.node1]\n", "[machine.n.nic]\n", "machine = {}\n", "machine:\n",
    "x: |\n   a\n", "é", "\0",
]  # fmt: skip
PLAIN, MANY = st.booleans(), st.integers(0, 2)


@dataclass(frozen=True)
class File:
    """A text, its format, and the machines in it: for each the marks of the comments that are its own."""

    suffix: str
    text: str
    names: tuple[str, ...]


def spelt(draw: st.DrawFn, number: int) -> str:
    digits = f"5254{number:08x}"
    style = draw(st.sampled_from([":", "-", ".", ""]))
    size = 4 if style == "." else 2
    text = style.join(digits[i : i + size] for i in range(0, 12, size))
    return text.upper() if draw(PLAIN) else text


def blanks(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", " ", "  ", "\t"]))


def free(draw: st.DrawFn, indent: str = "") -> list[str]:
    """Comments that are nobody's, with a blank line on both sides."""
    return ["", f"{indent}# free {draw(st.integers(0, 9))}", ""] if draw(PLAIN) else [""] * draw(MANY)


def remark(draw: st.DrawFn, name: str) -> str:
    return f"{draw(st.sampled_from([' ', '   ']))}# own {name}." if draw(PLAIN) else ""


def above(draw: st.DrawFn, name: str, indent: str = "") -> list[str]:
    return [f"{indent}# own {name}. [machine.{name}] x = {{"] * draw(MANY)


@st.composite
def toml_files(draw: st.DrawFn) -> File:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    lines = ["# head of the file", "", *free(draw)] if draw(PLAIN) else []
    first = draw(st.sampled_from(["0 dotted", "1 inline"]))  # TOML forbids [machine] behind the one
    shapes = sorted(draw(st.sampled_from([first, "2 section"])) for _ in names)
    opened = False
    for index, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        quote = draw(st.sampled_from(['"', "'"]))
        key = f"{quote}{name}{quote}" if draw(PLAIN) else name
        macs = [f"{quote}{spelt(draw, index * 16 + n)}{quote}" for n in range(1 + draw(MANY))]
        mac = f"mac{blanks(draw)}={blanks(draw)}{macs[0]}"
        if len(macs) > 1:
            gap = "\n\t" if draw(PLAIN) and shape != "1 inline" else " "
            mac = f"macs = [{gap}{f',{gap}'.join(macs)}{gap}]"
        if shape == "1 inline" and not opened:
            lines += [*free(draw), "[machine]"]
            opened = True
        lines += [*(free(draw) if lines else []), *(above(draw, name) if lines else [])]
        if shape == "0 dotted":
            lines += [
                f"machine.{key}.{mac}{remark(draw, name)}",
                f'"machine".{key} . ip = "10.0.0.{index + 1}"',
            ]
        elif shape == "1 inline":
            lines.append(f'{key} = {{ {mac}, ip="10.0.0.{index + 1}" }}{remark(draw, name)}')
        else:
            indent = blanks(draw)
            lines.append(f"{indent}[{blanks(draw)}machine.{key}]{remark(draw, name)}")
            body = [f"{indent}{mac}{remark(draw, name)}", f"{indent}ip = '10.0.0.{index + 1}'"]
            lines += draw(st.permutations(body))
            if draw(PLAIN):
                nic = f'mac = "{spelt(draw, 4096 + index)}"{remark(draw, name)}'
                lines += [*[""] * draw(MANY), *above(draw, name), f"[machine.{key}.nic.eno2]", nic]
        if shape == "2 section" and draw(PLAIN):
            lines += [*free(draw), f"[profile.p{index}]", 'image = "flatcar/stable"', *free(draw)]
    return File(".toml", ended(draw, lines), tuple(names))


@st.composite
def yaml_files(draw: st.DrawFn) -> File:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    outer, step = " " * draw(st.integers(1, 4)), " " * draw(st.integers(1, 4))
    lines = ["# head of the file", "", *free(draw)] if draw(PLAIN) else []
    before = draw(PLAIN)
    lines += ["profile: {p: {image: flatcar/stable}}", *free(draw)] if before else []
    lines += ["machine:"]
    for index, name in enumerate(names):
        quote = draw(st.sampled_from(['"', "'"]))
        key = f"{quote}{name}{quote}" if draw(PLAIN) or name == "0x10" else name
        macs = [f"{quote}{spelt(draw, index * 16 + n)}{quote}" for n in range(1 + draw(MANY))]
        flow = f"mac: {macs[0]}" if len(macs) == 1 else f"macs: [{', '.join(macs)}]"
        lines += [*free(draw, outer), *above(draw, name, outer)]
        if draw(PLAIN):
            lines.append(f"{outer}{key}: {{{flow}, ip: 10.0.0.{index + 1}}}{remark(draw, name)}")
            continue
        inner = outer + step
        lines.append(f"{outer}{key}:{remark(draw, name)}")
        if len(macs) > 1 and draw(PLAIN):
            lines += [f"{inner}macs:", *(f"{inner}- {mac}{remark(draw, name)}" for mac in macs)]
        else:
            lines += [f"{inner}{flow}{remark(draw, name)}"]
        lines += [f"{inner}ip: '10.0.0.{index + 1}'", *above(draw, name, inner)]
        if draw(PLAIN):
            lines += [f"{inner}nic:", f'{inner} eno2: {{mac: "{spelt(draw, 4096 + index)}"}}']
    lines += [*free(draw), *(["profile: # none"] if not before and draw(PLAIN) else [])]
    return File(".yaml", ended(draw, lines), tuple(names))


@st.composite
def json_files(draw: st.DrawFn) -> File:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    machines: dict[str, object] = {}
    for index, name in enumerate(names):
        macs = [spelt(draw, index * 16 + n) for n in range(1 + draw(MANY))]
        machines[name] = {
            **({"mac": macs[0]} if len(macs) == 1 else {"macs": macs}),
            "ip": f"10.0.0.{index + 1}",
            "labels": {"x": draw(st.sampled_from(['{"', "\\", "é", "}", ","]))},
        }
    data: dict[str, object] = {"machine": machines, "profile": {"p": {"image": "flatcar/stable"}}}
    if draw(PLAIN):
        data = dict(reversed(data.items()))
    separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]))
    text = json.dumps(
        data,
        indent=draw(st.sampled_from([None, 0, 1, 4, "\t"])),
        separators=separators,
        ensure_ascii=draw(PLAIN),
    )
    return File(".json", ended(draw, text.split("\n")), tuple(names))


@st.composite
def csv_files(draw: st.DrawFn) -> File:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    delimiter = draw(st.sampled_from([",", ";", "\t"]))
    columns = draw(st.permutations(["name", "mac", "ip", "rack", "a note"]))
    always = draw(PLAIN)

    def cell(text: str) -> str:
        quoted = always or delimiter in text or '"' in text or draw(PLAIN)
        return '"' + text.replace('"', '""') + '"' if quoted else text

    lines = [*(["# free 1", ""] if draw(PLAIN) else []), delimiter.join(columns)]
    for index, name in enumerate(names):
        macs = "  ".join(spelt(draw, index * 16 + n) for n in range(1 + draw(MANY)))
        note = draw(st.sampled_from(["", "a, b; c", 'say "x"', "é"]))
        row = {"name": name, "mac": macs, "ip": f"10.0.0.{index + 1}", "rack": "r1", "a note": note}
        lines += [*free(draw), delimiter.join(cell(row[c]) for c in columns)]
    return File(".csv", ended(draw, lines), tuple(names))


def ended(draw: st.DrawFn, lines: Sequence[str]) -> str:
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = newline.join("\n".join(lines).split("\n"))
    return text + newline * draw(MANY)


FILES = st.one_of(toml_files(), yaml_files(), json_files(), csv_files())


def said(text: str, suffix: str) -> dict[str, dict[str, object]]:
    document = FORMATS[suffix].read(text, "f", [])
    assert document is not None
    found = document.data.get("machine")
    return dict(found) if isinstance(found, dict) else {}


def within(part: str, whole: str) -> bool:
    """Whether `part` is `whole` with some characters left out."""
    rest: Iterator[str] = iter(whole)
    return all(character in rest for character in part)


def marks(text: str) -> list[str]:
    return [line.split("#", 1)[1] for line in text.splitlines() if "# own" in line or "# free" in line]


@settings(max_examples=300, deadline=None)
@given(FILES, st.sampled_from(["mac", "macs"]))
def test_what_was_there_stays_when_a_machine_comes(file: File, key: str) -> None:
    mac = "52:54:00:00:99:99"
    data = {
        key: mac if key == "mac" else [mac, "52:54:00:00:99:98"],
        "ip": "10.0.0.99",
        "labels": {"rack": "7"},
    }
    if file.suffix == ".csv" and "rack" not in file.text:
        return
    new = edited(file.text, file.suffix, "f", Addition(Hostname.parse("node99"), data))
    assert within(file.text, new)
    after = said(new, file.suffix)
    assert after.pop("node99") == data
    assert after == said(file.text, file.suffix)
    assert new.endswith("\n") == file.text.endswith("\n")
    if "\r\n" in file.text:
        assert "\n" not in new.replace("\r\n", "")


@settings(max_examples=300, deadline=None)
@given(FILES, st.data())
def test_nothing_but_its_own_goes_with_a_machine(file: File, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(file.names))
    new = edited(file.text, file.suffix, "f", Removal(name))
    assert within(new, file.text)
    before = said(file.text, file.suffix)
    del before[name]
    assert said(new, file.suffix) == before
    assert marks(new) == [mark for mark in marks(file.text) if f" own {name}." not in mark]
    assert ("# head" in new) == ("# head" in file.text)


@settings(max_examples=300, deadline=None)
@given(FILES, st.data())
def test_a_mac_and_its_opposite_leave_the_file_as_it_was(file: File, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(file.names))
    document = FORMATS[file.suffix].read(file.text, "f", [])
    assert document is not None
    path, raw = data.draw(st.sampled_from(list(macs_of(document.data, name))))
    old = Mac.parse(raw)
    new = edited(file.text, file.suffix, "f", MacChange(name, old, NEW))
    assert len(new) == len(file.text)
    drafts = Drafts()
    after = FORMATS[file.suffix].read(new, "f", [])
    assert after is not None
    drafts.take(after)
    assert Mac.parse(dict(macs_of(after.data, name))[path]) == NEW
    assert edited(new, file.suffix, "f", MacChange(name, NEW, old)) == file.text


@settings(max_examples=600, deadline=None)
@given(FILES, st.data())
def test_a_mangled_file_is_edited_rightly_or_refused(file: File, data: st.DataObject) -> None:
    text = file.text
    for _ in range(data.draw(st.integers(1, 4))):
        at, width = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(BITS)) + text[at + width :]
    name = data.draw(st.sampled_from(file.names))
    edits: list[Edit] = [
        Addition(Hostname.parse("node99"), {"mac": "52:54:00:00:99:99", "ip": "10.0.0.99"}),
        Removal(name),
        MacChange(name, Mac.parse("52:54:00:00:00:00"), NEW),
    ]
    for edit in edits:
        with contextlib.suppress(OperatorError, Refused):  # never anything else
            edited(text, file.suffix, "f", edit)


@settings(max_examples=300, deadline=None)
@given(FILES, STRINGS, STRINGS)
def test_a_hostile_text_is_a_text_and_nothing_else(file: File, key: str, value: str) -> None:
    if file.suffix == ".csv":
        return
    text = value.encode("utf-8", "ignore").decode()
    name = key.encode("utf-8", "ignore").decode()
    printable = {
        "x" + "".join(c for c in name if c.isprintable()): "".join(c for c in text if c.isprintable())
    }
    data = {"mac": "52:54:00:00:99:99", "ip": "10.0.0.99", "labels": printable}
    new = edited(file.text, file.suffix, "f", Addition(Hostname.parse("node99"), data))
    assert said(new, file.suffix)["node99"] == data
