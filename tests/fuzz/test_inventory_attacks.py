"""Whatever an inventory says: it is refused with a file and a line, or dnsmasq is told exactly that.

The property is held against a second reading of the hosts file that knows nothing of ours: fields between
commas, as dnsmasq cuts them. Boot scripts are held against the two commands that they are made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pytest

from appliance.dnsmasq.render import render_hosts
from appliance.dnsmasq.reparse import expected, parse_hosts, untagged
from appliance.errors import Problem
from appliance.inventory.model import Inventory
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_csv import read_csv
from appliance.inventory.parse_json import read_json
from appliance.inventory.parse_yaml import read_yaml
from appliance.inventory.rules import judge
from appliance.matchbox.render import grub_message, grub_script, hold_script, ipxe_script, refusal_script
from appliance.reading import Document
from appliance.settings_parse import parse_settings
from appliance.sync.handover import boot_of
from appliance.toml_lines import read_toml
from tests.figures import Figures
from tests.fuzz.inventories import EVIL, Tree, as_csv, as_json, as_toml, as_yaml, hostile, inventory
from tests.seeds import seeded

_SETTINGS: Final = parse_settings('[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n', "s")
_NETWORK: Final = _SETTINGS.networks["pxe"]
_HELD: Final = ["#!ipxe", "echo", "echo", ":wait", "sleep", "chain", ""]
_URL: Final = "http://172.0.1.1:8080"
Sized = Callable[[int, int], int]
Read = Callable[[str, str, list[Problem]], Document | None]
_FORMATS: Final[tuple[tuple[str, Callable[[Tree], str], Read], ...]] = (
    ("json", as_json, read_json),
    ("toml", as_toml, read_toml),
    ("yaml", as_yaml, read_yaml),
    ("csv", as_csv, read_csv),
)


def _judged(text: str, read: Read) -> tuple[Inventory | None, list[Problem]]:
    drafts = Drafts()
    document = read(text, "rack", drafts.problems)
    if document is not None:
        drafts.take(document)
        return judge(drafts, _SETTINGS, ()), drafts.problems
    return None, drafts.problems


def _written(tree: Tree, *, columns: bool) -> dict[str, tuple[frozenset[str], str]]:
    """By name: MACs and address as the tree says, by no code of ours."""
    machines = tree["machine"]
    assert isinstance(machines, dict)
    said = {}
    for name, machine in machines.items():
        if columns and name.lstrip().startswith("#"):  # a comment in CSV, as the README says
            continue
        raw = [machine["mac"]] if "mac" in machine else machine.get("macs", [])
        bare = (re.sub("[:.-]", "", mac.strip()).lower() for mac in raw)
        macs = frozenset(":".join(mac[i : i + 2] for i in range(0, 12, 2)) for mac in bare)
        host = name if columns else machine.get("hostname", name)
        said[host.strip().lower()] = (macs, machine["ip"].strip())
    return said


def _as_dnsmasq_cuts(hosts: str) -> dict[str, tuple[frozenset[str], str]]:
    """By host name: the MACs and the address of a line; lines that silence a NIC left out."""
    found = {}
    for line in hosts.splitlines():
        fields = line.split(",")
        if fields[-1] == "ignore":
            continue
        assert re.fullmatch(r"[a-z0-9-]+", fields[-1])
        assert re.fullmatch(r"[0-9.]+", fields[-2])
        assert "tag:!declined" in fields
        found[fields[-1]] = (frozenset(fields[:-2]) - {"tag:!declined"}, fields[-2])
    return found


def _scripts(found: Inventory) -> int:
    """Every machine's script has the commands of the template and no other; how many there were."""
    for profile in found.profiles.values():
        boot = boot_of(profile, _URL)
        assert boot is not None
        script = ipxe_script(boot)
        assert script.isascii()
        assert not set(script) & set("\r\t\0$|&;`\x1b\x7f")
        lines = script.split("\n")
        assert [line.partition(" ")[0] for line in lines] == [
            "#!ipxe",
            "kernel",
            *["initrd"] * len(boot.initrd),
            "boot",
            "",
        ]
        assert lines[1].split(" ") == ["kernel", boot.kernel, *boot.args]
        # iPXE reads options in front of the first word that is none: what follows it is the kernel's own.
        assert not any(uri.startswith("-") for uri in (boot.kernel, *boot.initrd))
        assert grub_script(boot).count("menuentry") == 2
    return len(found.profiles)


@pytest.mark.timeout(7200)
def test_rendered_and_read_again_or_refused(sized: Sized, figures: Figures) -> None:
    wanted, random = sized(10_000, 1_000_000), seeded("inventories")
    taken = scripts = 0
    for number in range(wanted):
        tree = inventory(random)
        name, write, read = _FORMATS[number % len(_FORMATS)]
        found, problems = _judged(write(tree), read)
        if found is None:
            assert problems, tree
            assert all(p.file == "rack" and p.line > 0 and str(p).isprintable() for p in problems), tree
            continue
        assert not problems
        hosts = render_hosts(found.machines, _NETWORK)
        assert untagged(parse_hosts(hosts)) == expected(found.machines, _NETWORK), tree
        columns = name == "csv"
        assert _as_dnsmasq_cuts(hosts) == _written(tree, columns=columns), tree
        taken += 1
        scripts += _scripts(found)
    assert taken > wanted / 8, "nearly everything is refused: the other half is not tested"
    figures.tell(
        "inventory",
        "hostile inventories: refused, or read again as written",
        f"{wanted:,}",
        "10^4, 10^6 nightly",
    )
    figures.tell("inventory", "of them taken", f"{taken:,}")
    figures.tell("inventory", "boot scripts with the template's commands only", f"{scripts:,}")


@pytest.mark.parametrize("evil", EVIL)
def test_a_bad_word_in_each_argument_of_a_kernel(evil: str) -> None:
    """Alone, before, behind and inside of each field that a boot script is made of."""
    for word in (evil, f"a{evil}", f"{evil}a", f"a{evil}b"):
        for fields in ({"args": [word]}, {"kernel": word}, {"kernel": "/k", "initrd": [word]}):
            tree: Tree = {"profile": {"p": {"kernel": "/k", "boot": "always", **fields}}}
            found, problems = _judged(as_json(tree), read_json)
            assert (found is None) == bool(problems)
            if found is not None:
                _scripts(found)


@pytest.mark.timeout(1200)
def test_what_we_say_in_scripts_of_our_own(sized: Sized, figures: Figures) -> None:
    """Reasons and remedies may quote anything: nothing of it is a command, a setting or a new line."""
    wanted, random = sized(5_000, 100_000), seeded("scripts")
    for _ in range(wanted):
        words = [hostile(random, "node1 is held") for _ in range(3)]
        scripts = (hold_script("172.0.1.1", *words), refusal_script("172.0.1.1", words[0]))
        held, refused = (script.split("\n") for script in scripts)
        assert [line.partition(" ")[0] for line in held] == [
            "#!ipxe",
            "echo",
            "echo",
            ":wait",
            "sleep",
            "chain",
            "",
        ]
        assert [line.partition(" ")[0] for line in refused] == ["#!ipxe", "echo", "sleep", "exit", ""]
        for line in (held[1], held[2], refused[1].replace("${netX/mac}", "")):
            assert not set(line) & set("${}|&;`'\"\\<>\x1b"), line
        assert grub_message("172.0.1.1", *words).count("\n") == 5
    figures.tell("inventory", "hostile reasons in boot scripts", f"{wanted:,}", "10^5 nightly")
