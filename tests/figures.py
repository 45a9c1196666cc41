"""Figures that tests measure, printed as one table at the end of the run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_NUMBER: Final = re.compile(r"(<=|>=|<|>)?\s*([\d,]+(?:\.\d+)?)\s*(ms\b)?")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: what it is of, how much, and what is promised ("" when it is only told)."""

    topic: str
    what: str
    value: str
    promise: str = ""

    @property
    def missed(self) -> bool:
        """Whether a promise such as "<= 5 s" is not kept; a busy machine misses what its test allows for."""
        bound, found = _NUMBER.match(self.promise), _NUMBER.match(self.value)
        if bound is None or bound[1] is None or found is None:
            return False
        limit, value = (float(x[2].replace(",", "")) / (1000 if x[3] else 1) for x in (bound, found))
        kept = {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}
        return not kept[bound[1]]


@dataclass
class Figures:
    """All figures of one run, in the order in which they were measured."""

    rows: list[Figure] = field(default_factory=list)

    def tell(self, topic: str, what: str, value: str, promise: str = "") -> None:
        """Add a row. A test that measures several times tells once, what matters of it."""
        self.rows.append(Figure(topic, what, value, promise))

    def table(self) -> list[str]:
        """The lines of the table, grouped by topic; none without a figure."""
        if not self.rows:
            return []
        head = Figure("topic", "measured", "figure", "promised")
        rows = [head, *sorted(self.rows, key=lambda row: row.topic)]
        widths = [max(len(getattr(row, name)) for row in rows) for name in ("topic", "what", "value")]
        return [
            f"{row.topic:<{widths[0]}}  {row.what:<{widths[1]}}  {row.value:>{widths[2]}}  {row.promise}"
            + ("  MISSED" if row.missed else "")
            for row in rows
        ]
