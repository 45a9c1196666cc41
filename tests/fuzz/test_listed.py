"""A parser that nobody lists fails here: what reads outside bytes is found in the source, not remembered.

A function of `appliance/` reads such bytes when it is named like a parser and takes octets, text or a JSON
value, or when it calls what takes octets apart (json, tomllib, yaml, csv, struct, tarfile, base64, OpenPGP,
dates, URLs). Each one has to run when the parsers of the table read their kept seeds, or stands below with
the reason why it need not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

from tests.fuzz.parser import CORPUS, NotOurs
from tests.fuzz.table import PARSERS

_ROOT: Final = Path(__file__).parents[2] / "appliance"
_NAMED: Final = ("parse", "read_", "from_json", "from_text", "decode", "restore", "load")
_TAKES: Final = frozenset({"str", "bytes", "object", "str | None", "bytes | None", "tarfile.TarFile"})
# Calls that take octets or text apart, as they are written.
_APART: Final = frozenset(
    (
        *(
            "json.loads",
            "json.load",
            "tomllib.loads",
            "tomllib.load",
            "yaml.parse",
            "yaml.compose",
            "yaml.load",
        ),
        *("csv.reader", "csv.DictReader", "tarfile.open", "shlex.split", "urlsplit", "urljoin", "parse_qsl"),
        *(
            "datetime.fromisoformat",
            "parsedate_to_datetime",
            "unquote",
            "unquote_to_bytes",
            "base64.b64decode",
        ),
        *("b64decode", "gzip.decompress", "zlib.decompress", "zlib.decompressobj", "lzma.decompress"),
        *("struct.unpack", "struct.unpack_from", "int.from_bytes", "request.json", "pickle.loads", "eval"),
    )
)
_METHODS: Final = frozenset({"unpack", "unpack_from", "from_bytes", "FromString", "ParseFromString"})
# What no outside byte reaches: a rack of our own making, and answers of the kernel.
_OTHERS: Final = ("lab/", "system/network.py", "system/netfilter.py", "system/routes.py")
_NEED_NOT: Final = {
    "cli/board_text.py:_time": "of the daemon's own JSON, on the terminal of whoever asked",
    "cli/ignition.py:show_ignition": "prints a document of a generation, held against its digest",
    "cli/listings.py:_event": "of the daemon's own JSON: see daemon-answer",
    "cli/prove.py:_lines": "of the daemon's own JSON: see daemon-answer",
    "cli/reloading.py:parse_daemon": "of the daemon's own status; test_reloading.py has odd ones",
    "daemon/claims.py:_peer": "of the kernel: SO_PEERCRED",
    "daemon/unapplied.py:_touched": "of a manifest: see generation-manifest; what is odd counts",
    "sync/confirm.py:on_disk": "of a mark: see generation-manifest; what is no time is none",
    "daemon/control_body.py:object_in": "tests/netns/test_routes.py asks every route with odd bodies",
    "daemon/desk.py:Desk.why": "of events as this process wrote them",
    "daemon/feed.py:Feed._look_at_status": "of JSON that this process made a moment ago",
    "daemon/gauges.py:_generation": "of a time that this process wrote",
    "daemon/history.py:_lives": "reached through history-file; the old table is in tests/unit/daemon",
    "daemon/proof_http.py:_place": "of URLs that their-script reads; fails as can_be_fetched does",
    "daemon/proof_http.py:_where_to_put": "of URLs that their-script reads; fails as can_be_fetched does",
    "daemon/prove_fetch.py:Fetcher._by_http": "unquote takes any text",
    "dnsmasq/hear.py:ClientPort.heard": "four octets of what dhcp-packet parses, checked to be there",
    "doctor/look_host.py:_newest": "a release's date in a file of the distribution",
    "doctor/look_links.py:_address": "eight hex digits of /proc/net",
    "images/bundle.py:export_bundle": "writes",
    "images/run.py:import_bundle": "opens what bundle reads",
    "images/openpgp_child.py:main": "a process of its own, reached through clearsigned and certificates",
    "images/openpgp_child.py:_verdict": "in that process",
    "images/openpgp_child.py:_only_signature": "in that process",
    "images/openpgp_child.py:_inspected": "in that process",
    "images/openpgp_child.py:_keys": "in that process",
    "images/openpgp_child.py:_bytes": "in that process",
    "sync/template_child.py:main": "a process of its own, reached through ignition-template",
    "sync/documents.py:_replaces_itself": "of documents that ignition has judged",
    "matchbox/push_plan.py:_check_version": "of documents that ignition has judged",
    "sync/validate.py:_of_whole": "of documents that ignition has judged",
}


def _readers() -> Iterator[tuple[str, str, int]]:
    """Functions that read outside bytes: file below appliance/, qualified name, line."""
    for path in sorted(_ROOT.rglob("*.py")):
        file = path.relative_to(_ROOT).as_posix()
        if not file.startswith(_OTHERS):
            yield from ((file, name, line) for name, line in _of(ast.parse(path.read_text("utf-8")), ""))


def _of(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _of(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if _is_reader(child):
                yield f"{prefix}{child.name}", child.lineno
            yield from _of(child, f"{prefix}{child.name}.")
        else:
            yield from _of(child, prefix)


def _is_reader(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = [a.annotation for a in function.args.args if a.arg not in {"self", "cls"}][:1]
    takes = ast.unparse(given[0]) if given and given[0] is not None else ""
    if function.name.lstrip("_").startswith(_NAMED) and takes in _TAKES:
        return True
    calls = (ast.unparse(part.func) for part in ast.walk(function) if isinstance(part, ast.Call))
    return any(call in _APART or call.rpartition(".")[2] in _METHODS for call in calls)


@cache
def _read_all() -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
    """Functions of appliance/ that run while every parser reads its seeds; and the parsers that took one."""
    seen: set[CodeType] = set()
    took: set[str] = set()

    def look(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    sys.setprofile(look)
    try:
        for parser in PARSERS:
            for seed in parser.seeds:
                with suppress(NotOurs, *parser.raises):
                    parser.read(seed)
                    took.add(parser.name)
    finally:
        sys.setprofile(None)
    ours = (code for code in seen if code.co_filename.startswith(f"{_ROOT}/"))
    run = ((Path(c.co_filename).relative_to(_ROOT).as_posix(), c.co_qualname) for c in ours)
    return frozenset((file, name.replace("<locals>.", "")) for file, name in run), frozenset(took)


def test_every_parser_is_in_the_table() -> None:
    run, _ = _read_all()
    missing = [
        f"appliance/{file}:{line} {name}"
        for file, name, line in _readers()
        if (file, name) not in run and f"{file}:{name}" not in _NEED_NOT
    ]
    told = "\n".join(missing)
    assert not missing, f"these read outside bytes, and no parser of tests/fuzz/table.py runs them:\n{told}"


def test_no_reason_is_left_over() -> None:
    """A reason for a function that is gone, or that is run by now, hides the next one of its name."""
    there = {f"{file}:{name}" for file, name, _ in _readers()}
    assert set(_NEED_NOT) - there == set()


def test_names_and_seeds() -> None:
    names = [parser.name for parser in PARSERS]
    assert len(names) == len(set(names))
    assert {path.name for path in CORPUS.iterdir()} == set(names)
    for parser in PARSERS:
        assert parser.seeds, f"{parser.name} has no seed"
        assert all(len(seed) <= 16384 for seed in parser.seeds), f"{parser.name} has a seed that is not small"


def test_every_parser_takes_one_of_its_seeds() -> None:
    """A corpus that is refused as a whole tests the first line of a parser alone."""
    _, took = _read_all()
    assert {parser.name for parser in PARSERS} - took == set()
