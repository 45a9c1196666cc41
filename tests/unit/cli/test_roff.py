"""Text as man pages: nothing becomes a request, nothing that is pasted becomes a dash."""

from __future__ import annotations

import subprocess

import pytest

from appliance.cli import roff


def shown(page: str) -> str:
    argv = ["groff", "-man", "-Tutf8", "-P-c", "-P-b", "-P-o", "-P-u"]
    return subprocess.run(argv, input=page, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "text",
    [
        ".SH EVIL", "'so /etc/passwd", "a\\b", "\\fBx\\fR", "\\n(.x", "--yes -y a-b", "{channel}", "…ü", '"',
    ],
)  # fmt: skip
def test_a_text_is_shown_as_it_is(text: str) -> None:
    for escaped in (roff.prose(text), roff.literal(text)):
        page = roff.title("x", 1, "", "x") + roff.heading("NAME") + roff.paragraphs([escaped])
        assert page.isascii()
        lines = [line.strip() for line in shown(page).splitlines()]
        # A hyphen in running text is a hyphen (U+2010); what begins an option is a minus.
        assert text in [line.replace("\u2010", "-") for line in lines]


def test_what_is_pasted_has_no_typographers_hyphen() -> None:
    page = roff.title("x", 1, "", "x") + roff.example(["pxe-appliance sync --yes"])
    page += roff.paragraphs([roff.prose("With --dry-run, and `machine replace-mac`.")])
    text = shown(page)
    for pasted in ("pxe-appliance sync --yes", "--dry-run", "machine replace-mac"):
        assert pasted in text


def test_lines_stay_short() -> None:
    page = roff.paragraphs([roff.prose("word " * 100)])
    assert max(map(len, page.splitlines())) <= 80
