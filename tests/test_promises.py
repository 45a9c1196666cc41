"""What is promised is there: the README's commands, the help, the shipped files, the documents."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from appliance import __version__

ROOT = Path(__file__).parent.parent
COMMAND = str(Path(sys.executable).parent / "pxe-appliance")
README = (ROOT / "README.md").read_text()


def command_help(*words: str) -> str:
    done = subprocess.run([COMMAND, *words, "--help"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def commands_of(*words: str) -> list[str]:
    """The commands that a help page lists."""
    text = command_help(*words)
    listed = text[text.index("Commands") :] if "Commands" in text else ""
    return re.findall(r"^│ ([a-z][a-z-]+) ", listed, re.MULTILINE)


def every_command() -> list[str]:
    found = []
    for name in commands_of():
        below = commands_of(name)
        found += [f"{name} {sub}" for sub in below] or [name]
    return found


def test_the_readme_and_the_help_list_the_same_commands() -> None:
    documented = set(
        re.findall(r"`([a-z]+(?: [a-z-]+)?)(?: [A-Z]+| -[^`]*)?`", README[README.index("What you ask") :])
    )
    listed = set(every_command())
    assert {"check", "plan", "sync", "serve", "status", "machine show", "lab run"} <= listed
    missing = listed - documented - {"init", "serve"}
    assert not missing, f"not in the README's table: {missing}"


def test_every_command_says_what_it_does() -> None:
    for command in every_command():
        page = command_help(*command.split())
        assert re.search(r"Usage: .*\n\s*\n\s*[A-Z]", page), command


def test_the_readme_names_two_commands_and_they_exist() -> None:
    block = README[README.index("## Two commands") :]
    assert re.findall(r"^sudo (\./dev \w+)", block, re.MULTILINE)[:2] == ["./dev lab", "./dev test"]
    script = (ROOT / "dev").read_text()
    assert "lab)" in script
    assert "test)" in script
    assert "./dev test" in (ROOT / ".ci/run").read_text()


def test_documents_that_are_linked_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs/dependencies.md").read_text()
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        name = re.match(r"[A-Za-z0-9-]+", line)
        assert name
        if not name[0].startswith("types-"):
            assert re.search(rf"\b{re.escape(name[0])}\b", reasons), name[0]


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt", "requirements-build.txt"])
def test_every_requirement_is_pinned_by_hash(lock: str) -> None:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(pins) > 10
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)


def test_the_wheel_carries_what_is_read_at_run_time(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    root = tmp_path / "root"
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path = [p for p in sys.path if p != sys.argv[2]];"
        "import appliance.system.shipped as s; assert sys.argv[1] in s.__file__, s.__file__;"
        "assert len(s.shipped_templates()) >= 5; assert 'undionly' in s.shipped_manifest();"
        "assert (s.shipped('systemd') / 'pxe-appliance.service').is_file();"
        "assert 'ipxe-silent' in s.explained_ids();"
        "assert {'index.html', 'app.js', 'style.css'} <= s.shipped_page().keys()"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "site"), str(ROOT)],
        check=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert not root.exists()


def test_the_version_is_said_once() -> None:
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"pxe-appliance {__version__}\n"
    assert __version__ in (ROOT / "CHANGELOG.md").read_text()
