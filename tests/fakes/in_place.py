"""Rewrites files in place for ever, as Matchbox's gRPC Put does: `python -m tests.fakes.in_place DIRECTORY`.

The first line of standard input is a JSON object: by file (below the directory), the texts that it holds in
turn. Each turn opens the file with O_TRUNC and writes; what is longer than a page goes out in pieces, as by a
program that copies. Between rounds it rests for some milliseconds, never the same number, and now and then
for long enough that its files count as whole. It says `ready` after its first round, and ends with its
standard input.
"""

from __future__ import annotations

import itertools
import json
import random
import select
import sys
from pathlib import Path

_PIECE = 4096
_REST = 0.004  # seconds at most
_LONG_REST = 0.8
_ROUNDS = 51  # between two of these; odd, so that each version has its turn


def main() -> None:
    """Rewrite until nobody listens."""
    root = Path(sys.argv[1])
    files: dict[str, list[str]] = json.loads(sys.stdin.readline())
    for turn in itertools.count():
        for name, texts in files.items():
            raw = texts[turn % len(texts)].encode()
            with (root / name).open("wb", buffering=0) as stream:
                for at in range(0, len(raw), _PIECE):
                    stream.write(raw[at : at + _PIECE])
        if turn == 0:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        if select.select(
            [sys.stdin], [], [], _LONG_REST if turn % _ROUNDS == 0 else random.uniform(0, _REST)
        )[0]:
            return


if __name__ == "__main__":
    main()
