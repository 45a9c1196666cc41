"""The boot board as lines for a terminal: the rows, order, cells and words are those of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from appliance.daemon.board import Cell, Mood
from appliance.plain_text import safe_text

_GROUPS: Final = (4, 3, 4)  # address, loader, system
_STYLES: Final[Mapping[str, str]] = {
    Mood.STUCK: "bold red",
    Mood.HELD: "yellow",
    Mood.NOTED: "yellow",
    Mood.BOOTING: "cyan",
    Mood.BOOTED: "",
    Mood.IDLE: "dim",
}
_SIGNS: Final[Mapping[str, tuple[str, str]]] = {  # as it should be, and in ASCII
    Mood.STUCK: ("✕", "X"),
    Mood.HELD: ("■", "#"),
    Mood.NOTED: ("!", "!"),
    Mood.BOOTING: ("◐", ">"),
    Mood.BOOTED: ("✓", "+"),
    Mood.IDLE: ("○", "."),
}
_CELLS: Final[Mapping[str, tuple[str, str]]] = {
    Cell.REACHED: ("━", "="),
    Cell.CURRENT: ("●", "@"),
    Cell.FAILED: ("✕", "X"),
    Cell.EXPECTED: ("┄", "?"),
    Cell.SKIPPED: ("─", "-"),
    Cell.AHEAD: ("·", "."),
}
_LEVELS: Final = {"well": ("green", "✓", "+"), "warning": ("yellow", "!", "!"), "error": ("red", "✕", "X")}
_IN_FULL: Final = 3  # machines whose reason and remedy are folded into lines, not cut
_FOLDED: Final = 5  # lines that a text may take
_LOW: Final = 16  # lines below which the machines get the room of what else there is to say
_STALE: Final = 12.0  # seconds without a word, where one comes every five


@dataclass
class Seen:
    """What the daemon has told so far. `ahead` is how far its clock is ahead of ours."""

    rows: dict[str, Mapping[str, object]] = field(default_factory=dict)
    status: Mapping[str, object] = field(default_factory=dict)
    health: Mapping[str, object] = field(default_factory=dict)
    ahead: timedelta = timedelta()
    heard: datetime | None = None  # by our clock
    connected: bool = False
    complaint: str = ""
    hint: str = ""

    def take(self, event: str, facts: Mapping[str, object], at: datetime) -> None:
        """One message of the daemon's, heard at `at`."""
        self.heard = at
        match event:
            case "hello":
                self.rows.clear()
                self._clock(facts, at)
            case "beat":
                self._clock(facts, at)
            case "ready":
                self.connected, self.complaint = True, ""
                self._clock(facts, at)
            case "status":
                self.status, self.health = _table(facts.get("status")), _table(facts.get("health"))
            case "rows":
                for row in _list(facts.get("rows")):
                    self.rows[str(_table(row).get("name"))] = _table(row)
                for name in _list(facts.get("gone")):
                    self.rows.pop(str(name), None)

    def _clock(self, facts: Mapping[str, object], at: datetime) -> None:
        told = _time(facts.get("now"))
        if told is not None:
            self.ahead = told - at


@dataclass(frozen=True, slots=True)
class Paper:
    """What there is to draw on: columns and lines, and whether no more than ASCII can be shown."""

    width: int
    height: int
    plain: bool = False

    def sign(self, pair: tuple[str, str]) -> str:
        """The one of two signs that can be shown."""
        return pair[1] if self.plain else pair[0]


def draw(seen: Seen, paper: Paper, at: datetime) -> list[Text]:
    """The whole screen at the moment `at`, a line each, none longer or more than there is room for."""
    above = list(_above(seen, paper, at))
    below: list[Text] = []
    room = max(paper.height - len(above) - 1, 1)
    ranked = sorted(seen.rows.values(), key=lambda row: str(row.get("key")))
    shown = 0
    for row in ranked:
        lines = list(_row(row, paper, at + seen.ahead, most=_FOLDED if shown < _IN_FULL else 1))
        if len(below) + len(lines) > room:
            if shown:
                break
            lines = lines[:room]  # a machine that needs a person is named, however little room there is
        below += lines
        shown += 1
    if shown < len(ranked):
        below.append(Text(f"… and {len(ranked) - shown} more: pxe-appliance machines", "dim"))
    lines = [*above, *below]
    for line in lines:
        if paper.plain:
            line.plain = "".join(c if c.isascii() else "~" if c == "…" else "?" for c in line.plain)
        line.truncate(paper.width, overflow="crop" if paper.plain else "ellipsis")
    return lines[: paper.height]


def duration(seconds: float) -> str:
    """How long, in at most seven characters: 42 s, 3:34, 2 h 05, 3 d."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600} h {whole % 3600 // 60:02d}" if whole < 86400 else f"{whole // 86400} d"


def _above(seen: Seen, paper: Paper, at: datetime) -> Iterator[Text]:
    away = (at - seen.heard).total_seconds() if seen.heard else None
    if not seen.connected or (away is not None and away > _STALE):
        words = seen.complaint or "connecting"
        if seen.status and seen.heard:
            words = (
                f"not connected for {duration(away or 0)}, what you see is of {seen.heard:%H:%M:%S}Z: {words}"
            )
        yield Text(safe_text(words, limit=400), "bold red" if seen.complaint else "")
        if seen.hint:
            yield Text(safe_text(seen.hint, limit=400), "dim")
    if not seen.status:
        return
    colour, good, ascii_sign = _LEVELS.get(str(seen.health.get("level")), _LEVELS["warning"])
    most, low = (2, True) if paper.height < _LOW else (_FOLDED, False)
    sign = paper.sign((good, ascii_sign))
    yield from folded(str(seen.health.get("sentence", "")), paper.width, f"{sign} ", f"bold {colour}", most)
    if causes := _causes(seen.health, paper):
        yield from folded(causes, paper.width, "  ", f"{colour}", most)
    if not low:
        yield from folded(str(seen.health.get("detail") or ""), paper.width, "  ", "", most)
        arrow = paper.sign(("→", "->"))
        yield from folded(str(seen.health.get("fix") or ""), paper.width, f"  {arrow} ", "", most)
        facts = paper.sign(("  ·  ", "  |  ")).join(_facts(seen.status))
        yield Text("  " + safe_text(facts, limit=400), "dim")
        yield Text()
    yield _census(seen, paper)
    if not low:
        yield Text()


def _causes(health: Mapping[str, object], paper: Paper) -> str:
    """Why machines are stuck, when more than one is: the board says it of a single one."""
    found = [(_table(cause).get("count"), _table(cause).get("id")) for cause in _list(health.get("causes"))]
    counted = [(count, reason) for count, reason in found if isinstance(count, int)]
    if sum(count for count, _ in counted) < 2:
        return ""
    times = paper.sign(("×", "x"))
    return ", ".join(f"{count} {times} {reason}" for count, reason in counted)


def folded(text: str, width: int, before: str = "", style: str = "", most: int = _FOLDED) -> Iterator[Text]:
    """Text in lines of so many columns, `before` in front of the first and as much room of the others.

    What needs more than `most` lines ends with an ellipsis; nothing at all for an empty text.
    """
    indent = " " * cell_len(before)
    room = max(width - len(indent), 8)
    lines = list(_broken(safe_text(text, limit=400), room)) if text else []
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]} {lines[most]}…"]  # cut where the screen ends
    for number, line in enumerate(lines):
        yield Text(f"{indent if number else before}{line}", style)


def _broken(text: str, room: int) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and cell_len(line) + 1 + cell_len(word) > room:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
        while cell_len(line) > room:
            head = set_cell_size(line, room).rstrip(" ")
            yield head
            line = line[len(head) :]
    if line:
        yield line


def _facts(status: Mapping[str, object]) -> Iterator[str]:
    generation = _table(status.get("generation"))
    if generation.get("id"):
        proven = "proven" if generation.get("proven") else "not proven yet"
        yield f"generation {generation['id']}, {'to be confirmed' if status.get('pending') else proven}"
    for network in [_table(n) for n in _list(status.get("networks"))][:4]:
        yield f"{network.get('name')} {network.get('subnet')} {'up' if network.get('up') else 'waits'}"
    if strays := status.get("strays"):
        yield f"{strays} strays"
    if problems := _list(status.get("problems")):
        yield f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"


def _census(seen: Seen, paper: Paper) -> Text:
    counts = Counter(str(row.get("mood")) for row in seen.rows.values())
    line = Text()
    for mood in Mood:
        if counts[mood]:
            line.append(f"{paper.sign(_SIGNS[mood])} {counts[mood]} {mood.value}   ", _STYLES[mood])
    return line


def _row(row: Mapping[str, object], paper: Paper, now: datetime, most: int = 1) -> Iterator[Text]:
    mood = str(row.get("mood") or Mood.IDLE)
    style = _STYLES.get(mood, "")
    since = _time(row.get("rung_at"))
    stands = duration((now - since).total_seconds()) if since else ""
    name = safe_text(str(row.get("name")), limit=63)
    line = Text()
    line.append(_sized(name, 20 if paper.width >= 60 else 14), "bold" if mood != Mood.IDLE else "dim")
    if paper.width >= 90:
        line.append(f" {safe_text(str(row.get('ip') or ''), limit=15):<15}", "dim")
    if paper.width >= 44:
        line.append(" ").append_text(_ladder(str(row.get("cells", "")), paper, style))
    line.append(f" {paper.sign(_SIGNS.get(mood, ('?', '?')))} {mood:<8}", style)
    if paper.width >= 70:
        line.append(f"{safe_text(str(row.get('rung') or '')):<9}")
    line.append(f"{stands:>7}", "dim")
    says = safe_text(str(row.get("says") or ""), limit=400)
    verdict = _table(row.get("verdict"))
    if not verdict:
        if paper.width >= 110:
            line.append(f"  {says}", "dim")
        yield line
        return
    yield line
    indent = "    " if paper.width >= 60 else "  "
    yield from folded(says, paper.width, indent, style, most)
    remedy = str(verdict.get("remedy") or "")
    yield from folded(remedy, paper.width, f"{indent}{paper.sign(('→', '->'))} ", "", most)


def _ladder(letters: str, paper: Paper, style: str) -> Text:
    line, at = Text(), 0
    wide = 2 if paper.width >= 100 else 1
    for size in _GROUPS:
        for letter in letters[at : at + size]:
            drawn = paper.sign(_CELLS.get(letter, ("?", "?")))
            beside = drawn if letter in {Cell.REACHED, Cell.SKIPPED, Cell.EXPECTED} else " "
            loud = letter in {Cell.CURRENT, Cell.FAILED}
            line.append(drawn + beside * (wide - 1), style if loud else "dim" if letter == Cell.AHEAD else "")
        line.append(" ")
        at += size
    return line


def _sized(text: str, width: int) -> str:
    """Text in exactly so many columns, cut in its middle: the ends of names tell neighbours apart."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    end = text[-(width // 2) :]
    return set_cell_size(text, max(width - 1 - cell_len(end), 1)) + "…" + end


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC) if value else None
    except ValueError:
        return None
