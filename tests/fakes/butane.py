"""The butane program, for the files whose answers were recorded of the real one (tests/corpus/butane).

Run as a program it reads Butane from standard input, as `butane --strict` does, and answers with what the
real one (0.29.0) said: Ignition on standard output, or complaints on standard error and exit code 1. Options
that it does not know end it with 2. `installed` puts it into a directory of a PATH.
"""

from __future__ import annotations

import sys
from pathlib import Path

CORPUS = Path(__file__).parent.parent / "corpus/butane"
_KNOWN = {"--strict", "-s"}


def installed(folder: Path, *, broken: str = "") -> Path:
    """A directory to put before PATH, with the program in it; one that is `broken` is a shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "butane"
    here = f'#!/bin/sh\nexec {sys.executable} {Path(__file__)} "$@"\n'
    program.write_text(f"#!/bin/sh\n{broken}\n" if broken else here)
    program.chmod(0o755)
    return folder


def main() -> int:
    """Answer as the real one did."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        sys.stdout.write("Butane 0.29.0\n")
        return 0
    if set(arguments) - _KNOWN:
        sys.stderr.write(f"unknown flag: {arguments[0]}\n")
        return 2
    given = sys.stdin.buffer.read()
    for case in sorted(CORPUS.glob("*.bu")):
        if case.read_bytes() != given:
            continue
        made = case.with_suffix(".ign")
        if made.exists():
            sys.stdout.write(made.read_text())
            return 0
        sys.stderr.write(case.with_suffix(".err").read_text())
        return 1
    sys.stderr.write("Error translating config: nobody has recorded an answer to this\n")
    return 1


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    raise SystemExit(main())
