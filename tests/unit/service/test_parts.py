"""What is put on a host: the shipped units with the program's own path, all of it below /usr/local."""

from __future__ import annotations

import pytest

from appliance.service.look import shipped_units
from appliance.service.parts import COMMAND, SERVICE, UNITS, Part, is_plain, parts

MANUAL = {"pxe-appliance-sync.1": "sync", "pxe-appliance-settings.5": "settings"}
COMPLETIONS = {
    "zsh/vendor-completions/_pxe-appliance": "zsh",
    "bash-completion/completions/pxe-appliance": "sh",
}
PROGRAM = "/opt/pxe-appliance/bin/pxe-appliance"


def by_path(program: str = PROGRAM) -> dict[str, Part]:
    return {part.path: part for part in parts(program, shipped_units(), MANUAL, COMPLETIONS)}


def test_everything_lies_below_usr_local() -> None:
    found = by_path()
    assert all(path.startswith("/usr/local/") for path in found)
    assert found["/usr/local/share/man/man1/pxe-appliance-sync.1"].content == b"sync"
    assert found["/usr/local/share/man/man5/pxe-appliance-settings.5"].content == b"settings"
    assert found["/usr/local/share/zsh/site-functions/_pxe-appliance"].content == b"zsh"
    assert found["/usr/local/share/bash-completion/completions/pxe-appliance"].content == b"sh"
    assert {part.mode for part in found.values()} == {0o644}


def test_units_start_the_program_that_installed_them() -> None:
    shipped = shipped_units()
    for name in UNITS:
        text = by_path()[f"/usr/local/lib/systemd/system/{name}"].content.decode()
        assert "/usr/bin/pxe-appliance" not in text
        assert text.replace(PROGRAM, "/usr/bin/pxe-appliance") == shipped[name]
    assert f"ExecStart={PROGRAM} serve\n" in by_path()[f"/usr/local/lib/systemd/system/{SERVICE}"].text


def test_the_command_is_in_the_path_and_no_link_to_itself() -> None:
    assert by_path()[COMMAND] == Part(COMMAND, target=PROGRAM)
    assert COMMAND not in by_path(COMMAND)


@pytest.mark.parametrize(
    ("program", "plain"),
    [
        (PROGRAM, True),
        ("/opt/a-b_c+d@1/bin/x", True),
        ("/opt/with space/bin/x", False),
        ("/opt/100%/bin/x", False),
        ("/opt/a\nExecStart=/x", False),
        ("/opt/$HOME/x", False),
        ("relative/x", False),
    ],
)
def test_what_would_need_quoting_in_a_unit(program: str, plain: bool) -> None:
    assert is_plain(program) is plain
