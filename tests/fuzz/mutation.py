"""Bytes made wrong as files, packets and JSON go wrong. Pure: whoever calls brings the dice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

# What programs stumble over: ends of ranges, things that look like others, what a language gives a meaning.
WORDS: Final = tuple(
    word.encode("utf-8", "surrogatepass")
    for word in (
        *(
            "",
            "0",
            "-1",
            "1",
            "00",
            "08",
            "255",
            "256",
            "65535",
            "65536",
            "2147483648",
            "4294967296",
            "1e400",
        ),
        *(
            "9" * 40,
            "9" * 5000,
            "0x7f",
            "1_000",
            "١٢",
            "²",
            "nan",
            "inf",
            "null",
            "true",
            "no",
            "~",
            "=",
            "'",
        ),
        *("\0", "\n", "\r\n", "\t", " ", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800"),
        *('"', "\\", "\\u0000", "\\ud800", "[", "]", "{", "}", "[[", "]]", "{{", "}}", "(", ")", "<", ">"),
        *(":", ";", ",", ".", "..", "../", "/", "//", "%", "%00", "%2e%2e", "#", "&", "|", "||", "$", "${"),
        *("999.1.1.1", "0.0.0.0", "255.255.255.255", "::1", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-02-30", "[::1", "http://[", "//["),
        *("!!python/object:os.system", "&a", "*a", "<<", "---", "...", "%YAML", "=?", "bytes=-0", "W/"),
    )
)
_NUMBERS: Final = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_LONG: Final = 200
# Values in place of any other in a JSON document.
_VALUES: Final[tuple[object, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 1.5, float("inf"), float("nan"), 1e308),
    *("", "0", "-1", "x", "\ud800", "\0", "9" * 5000, "a" * 5000, "é\u202e", "52:54:00:aa:00:01", "..", "/"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-01-01", "2024-01-01T00:00:00Z"),
    *("http://[", "data:,", "data:;base64,%", "999.1.1.1", [], {}, [[]], [None], [{}], {"": ""}, {"a": [1]}),
)

Change = Callable[[Random, bytes, Sequence[bytes]], bytes]


def mutant(random: Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One of `seeds` after one to six changes; a JSON document is mostly changed as such."""
    data = random.choice(seeds)
    if data[:1] in b"{[" and random.random() < 0.6 and (changed := _json_mutant(random, data)) is not None:
        return changed
    more = (*WORDS, *words, *words)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(_CHANGES)(random, data, more)
    if random.random() < 0.1:
        other = random.choice(seeds)
        data = data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]
    return data


def _flip(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _put(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + bytes([random.choice(_NUMBERS)]) + data[at + 1 :]


def _insert_word(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(words) + data[at:]


def _replace_token(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """A word of the seed, from one mark to the next, becomes another."""
    start, stop = _span(random, data)
    while start > 0 and data[start - 1 : start].isalnum():
        start -= 1
    while stop < len(data) and data[stop : stop + 1].isalnum():
        stop += 1
    return data[:start] + random.choice(words) + data[stop:]


def _cut(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    start, stop = _span(random, data)
    return data[:start] + data[stop:]


def _end(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _again(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    start, stop = _span(random, data)
    return data[:stop] + data[start:stop] * random.choice((1, 1, 2, 20)) + data[stop:]


def _lines(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    """A line twice, gone, or in another place."""
    lines = data.split(b"\n")
    one = lines.pop(random.randrange(len(lines)))
    for _ in range(random.randrange(3)):
        lines.insert(random.randrange(len(lines) + 1), one)
    return b"\n".join(lines)


def _indent(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    lines[at] = random.choice((b" ", b"  ", b"\t", b"- ", b"? ")) + lines[at]
    return b"\n".join(lines)


def _deeper(random: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    bracket = random.choice((b"[", b"{", b"(", b'{"a":', b"{{", b"- ", b"a.", b"/", b"!"))
    return data[:at] + bracket * random.choice((1, 10, 100, 2000)) + data[at:]


_CHANGES: Final[tuple[Change, ...]] = (
    *(_flip, _put, _insert_word, _insert_word, _replace_token, _replace_token, _replace_token),
    *(_cut, _end, _again, _lines, _indent, _deeper),
)


def _span(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + 1 + int(_LONG * random.random() ** 3))


def _json_mutant(random: Random, data: bytes) -> bytes | None:
    """One to three values of a JSON document replaced, gone, doubled or renamed; None when it is none."""
    try:
        document = json.loads(data)
        for _ in range(random.choice((1, 1, 2, 3))):
            document = _changed(random, document)
        return json.dumps(document).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return None


def _changed(random: Random, value: object) -> object:
    if isinstance(value, dict) and value and random.random() < 0.85:
        made = dict(value)
        key = random.choice(list(made))
        match random.randrange(12):
            case 0:
                del made[key]
            case 1:
                made[str(random.choice(_VALUES))[:6000]] = made.pop(key)
            case 2:
                made[random.choice(("", "x", "\ud800", "__proto__", "a\nb"))] = made[key]
            case _:
                made[key] = _changed(random, made[key])
        return made
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        piece = (
            [value[at]] * random.choice((0, 2, 50))
            if random.random() < 0.2
            else [_changed(random, value[at])]
        )
        return [*value[:at], *piece, *value[at + 1 :]]
    if random.random() < 0.1:
        return _nested(random, value)
    return random.choice(_VALUES)


def _nested(random: Random, value: object) -> object:
    for _ in range(random.choice((1, 5, 60, 300))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def heavy(seed: bytes, size: int) -> dict[str, bytes]:
    """Inputs of `size` octets that cost a careless parser its stack, its memory or its time; by name."""
    pieces = {
        "brackets": b"[", "braces": b'{"a":', "parentheses": b"(", "actions": b"{{", "digits": b"9",
        "letters": b"a", "quotes": b'"', "backslashes": b"\\", "zeros": b"\0", "blanks": b" ",
        "newlines": b"\n", "dots": b"a.", "slashes": b"/", "percents": b"%", "commas": b",", "equals": b"a=",
        "dashes": b"- ", "ands": b"a=1&", "colons": b"a: ", "high": b"\xff", "crosses": b"#", "minuses": b"-",
        "escapes": b"%41", "mac": b"52:54:00:", "alias": b"&a *a ", "pairs": b'"a":1,', "rows": b"a,b,c\n",
    }  # fmt: skip
    made = {name: (piece * (size // len(piece) + 1))[:size] for name, piece in pieces.items()}
    made["seed-again"] = (seed * (size // max(1, len(seed)) + 1))[:size]
    made["seed-then-brackets"] = (seed + b"[" * size)[:size]
    made["seed-then-digits"] = (seed + b"9" * size)[:size]
    made["utf-16"] = seed.decode("utf-8", "replace").encode("utf-16")[:size]
    made["byte-order-mark"] = (b"\xef\xbb\xbf" + seed)[:size]
    made["carriage-returns"] = seed.replace(b"\n", b"\r\n")[:size]
    made["nothing"] = b""
    return made
