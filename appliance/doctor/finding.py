"""What a check says: its id, a verdict, what was seen, and the command that mends it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended. What could not be tried has no finding at all."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer. `evidence` is what it was judged by; `fix` a command, empty when all is well."""

    id: str
    verdict: Verdict
    message: str
    evidence: tuple[str, ...] = ()
    fix: str = ""

    def as_json(self) -> dict[str, object]:
        """The public shape of a row of `doctor -o json`."""
        return {
            "id": self.id,
            "verdict": self.verdict.value,
            "message": self.message,
            "evidence": list(self.evidence),
            "fix": self.fix,
        }


def fine(identity: str, message: str, *evidence: str) -> Finding:
    """The check found nothing wrong."""
    return Finding(identity, Verdict.OK, message, evidence)


def doubtful(identity: str, message: str, fix: str, *evidence: str) -> Finding:
    """It works, and will hurt some day."""
    return Finding(identity, Verdict.WARNING, message, evidence, fix)


def wrong(identity: str, message: str, fix: str, *evidence: str) -> Finding:
    """Machines do not boot, or somebody gets what is not his."""
    return Finding(identity, Verdict.ERROR, message, evidence, fix)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """One `ok` row for each id: what several networks have well is one line, what one has wrong is its own.

    A check that found something wrong has no `ok` row beside it.
    """
    by_id: dict[str, list[Finding]] = {}
    for found in findings:
        by_id.setdefault(found.id, []).append(found)
    rows: list[Finding] = []
    for mine in by_id.values():
        bad = [f for f in mine if f.verdict is not Verdict.OK]
        rows += sorted(dict.fromkeys(bad), key=lambda f: f.verdict is not Verdict.ERROR) or [_together(mine)]
    return rows


def _together(fine_ones: list[Finding]) -> Finding:
    messages = list(dict.fromkeys(f.message for f in fine_ones))
    evidence = tuple(dict.fromkeys(line for f in fine_ones for line in f.evidence))
    return Finding(fine_ones[0].id, Verdict.OK, "; ".join(messages), evidence)
