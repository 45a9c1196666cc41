"""The manual: a page for each command, and no reader of man pages has a complaint about any."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from appliance.cli.main import app
from appliance.cli.manual import man_pages
from appliance.errors import ExitCode
from appliance.inventory.schema import inventory_schema, settings_schema


def root() -> TyperGroup:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return command


PAGES = man_pages(root(), "2026-01-31")


def text_of(page: str) -> str:
    """As a reader sees it, in lines that are not broken."""
    argv = ["groff", "-mandoc", "-Tascii", "-rLL=4000n", "-P-c"]
    done = subprocess.run(argv, input=page, capture_output=True, text=True, check=True)
    return re.sub(r".\x08", "", done.stdout)


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    return {name: text_of(page) for name, page in PAGES.items()}


def test_every_command_has_its_page_and_every_page_its_command() -> None:
    commands = {f"pxe-appliance-{name}.1" for name, c in root().commands.items() if not c.hidden}
    formats = {"pxe-appliance-settings.5", "pxe-appliance-inventory.5"}
    assert set(PAGES) == commands | formats | {"pxe-appliance.1"}


def test_every_option_of_every_command_is_in_its_page(shown: dict[str, str]) -> None:
    def walk(words: tuple[str, ...], command: object) -> int:
        page = shown[f"pxe-appliance-{words[0]}.1"]
        options = [
            p for p in getattr(command, "params", ()) if p.param_type_name == "option" and not p.hidden
        ]
        for option in options:
            for name in option.opts:
                assert re.search(rf"(^|, | ){re.escape(name)}(,| |$)", page, re.MULTILINE), f"{words}: {name}"
            said = (option.help or "").split(". ")[0].replace("`", "").strip(".")
            assert said[1:] in page, f"{words}: {said}"
        below = getattr(command, "commands", {})
        return len(options) + sum(walk((*words, name), each) for name, each in below.items())

    assert sum(walk((name,), command) for name, command in root().commands.items()) > 60


def test_the_first_page_says_what_the_program_promises(shown: dict[str, str]) -> None:
    page = shown["pxe-appliance.1"]
    for code in ExitCode:
        assert re.search(rf"^ +{int(code)} ", page, re.MULTILINE), code
    for word in (
        "PXE_APPLIANCE_ROOT",
        "NO_COLOR",
        "/etc/pxe-appliance/appliance.toml",
        "SEE ALSO",
        "EXAMPLES",
    ):
        assert word in page
    for name, command in root().commands.items():
        if not command.hidden:
            assert f"pxe-appliance-{name}(1)" in page


@pytest.mark.parametrize(
    ("name", "schema"), [("settings", settings_schema()), ("inventory", inventory_schema())]
)
def test_every_key_is_in_the_page_of_its_format(
    name: str, schema: dict[str, object], shown: dict[str, str]
) -> None:
    page = shown[f"pxe-appliance-{name}.5"]
    found = 0

    def walk(node: object, path: str) -> None:
        nonlocal found
        if not isinstance(node, dict):
            return
        for key, below in node.get("properties", {}).items():
            if path:
                assert f"{path}.{key}" in page
                found += 1
            walk(below, f"{path}.{key}" if path else key)
        walk(node.get("additionalProperties"), f"{path}.NAME")
        walk(node.get("items"), f"{path}[]")

    walk(schema, "")
    assert found > 20


@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_reader_complains(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(PAGES[name], encoding="ascii")
    checks = [["groff", "-ww", "-mandoc", "-Tutf8", "-z", str(path)]]
    checks.append(["man", "--warnings", "--local-file", "--encoding=UTF-8", str(path)])
    if shutil.which("mandoc"):
        checks.append(["mandoc", "-T", "lint", "-W", "warning", str(path)])
    for argv in checks:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        )
        said = done.stderr + (done.stdout if argv[0] == "mandoc" else "")
        assert (done.returncode, said) == (0, ""), argv
    whatis = subprocess.run(["lexgrog", str(path)], capture_output=True, text=True, check=False).stdout
    assert re.match(rf'{re.escape(str(path))}: "{name.rpartition(".")[0]} - \S', whatis), whatis
