"""Files of inventory.d/ as they are found on a host: read once, bounded, and never silently left out."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import OperatorError
from appliance.inventory import load
from appliance.inventory.load import ignition_files, load_all, load_inventory, load_settings
from appliance.paths import Paths
from appliance.settings_parse import parse_settings
from appliance.system.files import read_regular

_SETTINGS_TEXT = '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n'
_SETTINGS = parse_settings(_SETTINGS_TEXT, "s")
_TOML = '[machine.a]\nmac = "52:54:00:aa:00:01"\nip = "172.0.1.21"\n'


def _write(directory: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = directory / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)


_READABLE = "(it has to be a regular file, not too large)"


def _problems(directory: Path) -> list[str]:
    with pytest.raises(OperatorError) as caught:
        load_inventory(directory, _SETTINGS, ())
    return [str(problem).removeprefix(f"{directory}/") for problem in caught.value.problems]


def test_all_formats_make_one_inventory(tmp_path: Path) -> None:
    _write(
        tmp_path,
        a__toml=_TOML,
        b__yaml="machine: {b: {mac: 52:54:00:aa:00:02, ip: 172.0.1.22}}\n",
        c__YML="machine: {c: {mac: 52:54:00:aa:00:03, ip: 172.0.1.23}}\n",
        d__json='{"machine": {"d": {"mac": "52:54:00:aa:00:04", "ip": "172.0.1.24"}}}',
        e__csv="name,mac,ip\ne,52:54:00:aa:00:05,172.0.1.25\n",
    )
    inventory = load_inventory(tmp_path, _SETTINGS, ())
    assert [str(machine.name) for machine in inventory.machines] == ["a", "b", "c", "d", "e"]
    assert str(inventory.machines[4].origin) == f"{tmp_path}/e.csv:2"


def test_leftovers_of_editors_are_passed_over_and_other_endings_are_not(tmp_path: Path) -> None:
    _write(tmp_path, a__toml=_TOML, a__toml_="x")
    for name in (".hidden.toml", "a.toml~", "b.toml.tmp", ".a.toml.swp", "c.swp", "#a.toml#"):
        (tmp_path / name).write_text("x = [")
    (tmp_path / "a.toml_").rename(tmp_path / "README")
    (tmp_path / "more.d").mkdir()
    ending = "(inventory files are .toml, .yaml, .yml, .json, .csv)"
    assert _problems(tmp_path) == [
        f"README: has an unknown ending {ending}",
        f"more.d: is a directory {ending}",
    ]


def test_problems_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    _write(tmp_path, b__toml=_TOML, a__toml=_TOML)
    assert [p.split(": ")[0] for p in _problems(tmp_path)] == ["b.toml:1", "b.toml:2", "b.toml:3"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = 1\nb = '\xff'\n", "a.toml:2: is not UTF-8 text (save it as UTF-8)"),
        ("a = 1\n".encode("utf-16"), "a.toml:1: is not UTF-8 text (save it as UTF-8)"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    _write(tmp_path, a__toml=content)
    assert _problems(tmp_path) == [expected]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    _write(tmp_path, a__toml=b"\xef\xbb\xbf" + _TOML.encode())
    assert len(load_inventory(tmp_path, _SETTINGS, ()).machines) == 1


def test_symlinks_are_followed_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    directory = tmp_path / "inventory.d"
    elsewhere.mkdir()
    directory.mkdir()
    _write(elsewhere, a__toml=_TOML)
    (directory / "a.toml").symlink_to(elsewhere / "a.toml")
    assert len(load_inventory(directory, _SETTINGS, ()).machines) == 1
    (directory / "b.toml").symlink_to("nowhere")
    os.mkfifo(directory / "c.toml")
    (directory / "d.toml").symlink_to("/dev/zero")
    (directory / "e.toml").mkdir()
    assert _problems(directory) == [
        "b.toml: is gone, or a link to nothing (mend or remove the link)",
        f"c.toml: cannot be read: it is not a regular file {_READABLE}",
        f"d.toml: cannot be read: it is not a regular file {_READABLE}",
        f"e.toml: cannot be read: it is not a regular file {_READABLE}",
    ]


def test_files_have_a_largest_size(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as stream:
        stream.truncate(8 * 2**20 + 1)
    assert _problems(tmp_path) == [f"a.yaml: cannot be read: it is larger than 8388608 bytes {_READABLE}"]


def test_problems_without_end_are_cut_short(tmp_path: Path) -> None:
    machines = "".join(f"[machine.m{n}]\nx = 1\ny = 1\n" for n in range(5000))
    _write(
        tmp_path,
        a__yaml="a:\n" * 50_000,
        b__json='{"a":1' + ',"a":1' * 50_000 + "}",
        c__csv="name,mac,ip\n" + "a,b,c,d\n" * 50_000,
        d__toml="[a]\n" * 50_000,
        e__toml=machines,
    )
    problems = _problems(tmp_path)
    assert len(problems) == 10_001
    assert all(sum(p.startswith(name) for p in problems) == 1000 for name in ("a.", "b.", "c.", "d."))
    more = "and more: only 10000 problems are listed (mend what is listed, then check again)"
    assert f"e.toml:1: {more}" in problems


def test_names_that_would_steer_a_terminal_are_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m.toml").write_text("[")
    (problem,) = _problems(tmp_path)
    assert problem.isprintable()


def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, a__toml=_TOML)

    def slow(path: Path, limit: int) -> bytes:
        content = read_regular(path, limit)
        with path.open("a") as stream:
            stream.write("# one more line\n")
        return content

    monkeypatch.setattr(load, "read_regular", slow)
    assert _problems(tmp_path) == ["a.toml: is being written (run it again when it is complete)"]


def test_a_writer_at_work_never_yields_half_an_inventory(tmp_path: Path) -> None:
    """One that truncates and writes in pieces, each of which reads like a whole inventory."""
    path = tmp_path / "a.toml"
    pieces = [_TOML, *(_TOML.replace("a]", f"b{n}]").replace("01", f"{n:02x}") for n in range(2, 60))]
    path.write_text("".join(pieces))
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.wait(0.4):
            with path.open("w") as file:
                for piece in pieces:
                    file.write(piece)
                    file.flush()
                    stop.wait(0.005)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        found = []
        deadline = time.monotonic() + 2.5  # a few turns of the writer
        while time.monotonic() < deadline:
            drafts = load.load_drafts(tmp_path)
            found.append(len(drafts.machines))
            assert drafts.problems or found[-1] == len(pieces)
        assert len(pieces) in found, "a moment of rest is waited for"
    finally:
        stop.set()
        writer.join()


def test_what_is_missing_points_to_init(tmp_path: Path) -> None:
    paths = Paths(PurePosixPath(tmp_path))
    with pytest.raises(OperatorError, match="cannot find the settings") as caught:
        load_settings(paths)
    assert "pxe-appliance init" in caught.value.hint
    with pytest.raises(OperatorError, match="cannot find the inventory") as caught:
        load_inventory(tmp_path / "none", _SETTINGS, ())
    assert "pxe-appliance init" in caught.value.hint


def _host(tmp_path: Path, settings: str, inventory: str) -> Paths:
    paths = Paths(PurePosixPath(tmp_path))
    Path(paths.inventory).mkdir(parents=True)
    Path(paths.settings).write_text(settings)
    (Path(paths.inventory) / "a.toml").write_text(inventory)
    return paths


def test_settings_and_inventory_tell_all_their_problems_together(tmp_path: Path) -> None:
    paths = _host(tmp_path, _SETTINGS_TEXT + "mtu = 1\n", _TOML.replace("52", "xx"))
    loaded = load_all(paths)
    assert (loaded.settings, loaded.inventory) == (None, None)
    assert [Path(p.file).name for p in loaded.problems] == ["appliance.toml", "a.toml"]


def test_ignition_files_are_looked_up(tmp_path: Path) -> None:
    paths = _host(tmp_path, _SETTINGS_TEXT, '[profile.p]\nboot = "disk"\nignition = "w.bu"\n')
    (problem,) = load_all(paths).problems
    assert problem.path == "profile.p.ignition"
    Path(paths.ignition).mkdir()
    (Path(paths.ignition) / "w.bu").write_text("")
    (Path(paths.ignition) / ".w.bu.swp").write_text("")
    assert ignition_files(Path(paths.ignition)) == {"w.bu"}
    loaded = load_all(paths)
    assert loaded.inventory is not None
    assert loaded.inventory.profiles["p"].ignition == "w.bu"
    assert loaded.ignition == {"w.bu"}
