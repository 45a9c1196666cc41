"""debian/changelog out of CHANGELOG.md: the newest section, its version and its date.

`0.1.0 — unreleased` becomes 0.1.0~ and the time of the last commit, which sorts before the release itself; a
release becomes its number.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

_HEAD = re.compile(
    r"^## (?P<version>[0-9][0-9.]*) — (?P<when>\S+)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL
)


def debian_version(text: str, at: datetime) -> str:
    """The version of the newest section, as Debian sorts it."""
    head = _newest(text)
    return f"{head['version']}~{at:%Y%m%d%H%M}" if head["when"] == "unreleased" else head["version"]


def debian_changelog(text: str, version: str, at: datetime, maintainer: str) -> str:
    """One entry: the bullets of the newest section."""
    bullets = re.findall(r"^- (.*?)(?=^- |\Z)", _newest(text)["body"], re.MULTILINE | re.DOTALL)
    lines = [
        textwrap.fill(
            " ".join(_plain(bullet).split()),
            width=76,
            initial_indent="  * ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for bullet in bullets
    ]
    body = "\n".join(lines)
    head = f"pxe-appliance ({version}) bookworm; urgency=medium"
    return f"{head}\n\n{body}\n\n -- {maintainer}  {format_datetime(at)}\n"


def _newest(text: str) -> re.Match[str]:
    found = _HEAD.search(text)
    assert found, "CHANGELOG.md has no section like '## 0.1.0 — unreleased'"
    return found


def _plain(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)


def main() -> None:
    """Write debian/changelog of a source tree."""
    tree = Path(sys.argv[1])
    at = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    text = (tree / "CHANGELOG.md").read_text()
    maintainer = re.search(r"^Maintainer: (.*)$", (tree / "debian/control").read_text(), re.MULTILINE)
    assert maintainer
    version = debian_version(text, at)
    (tree / "debian/changelog").write_text(debian_changelog(text, version, at, maintainer[1]))


if __name__ == "__main__":
    main()
