"""An operator's files, as ingredients of a generation or on a disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from appliance.boot.firmware import Selection
from appliance.errors import NotProven, OperatorError
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_csv import read_csv
from appliance.inventory.parse_json import read_json
from appliance.inventory.parse_yaml import read_yaml
from appliance.inventory.rules import judge
from appliance.paths import Paths
from appliance.settings_parse import parse_settings
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.bases import make_bases, render_here, translate_here
from appliance.sync.compose import Ingredients, compose
from appliance.sync.plan import Desired
from appliance.toml_lines import read_toml
from tests.goldens import read_tree
from tests.unit.dnsmasq.rooms import TEMPLATES, selection

CASES: Final = Path(__file__).parent.parent.parent / "cases"
READERS: Final = {"toml": read_toml, "yaml": read_yaml, "json": read_json, "csv": read_csv}
SETTINGS: Final = '[network.pxe]\ninterface = "pxe0"\nsubnet = "172.0.1.0/24"\n'
RACK: Final = """
[profile.lab]
kernel = "/assets/lab/vmlinuz"
ignition = "lab.ign"

[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
profile = "lab"

[machine.node2]
macs = ["52:54:00:aa:00:11", "52:54:00:aa:00:12"]
ip = "172.0.1.22"
"""
MOVED: Final = RACK.replace("172.0.1.21", "172.0.1.29")  # the same with node1 at another address
IGNITION: Final = b'{"ignition":{"version":"3.3.0"}}'


def ingredients(
    settings: str = SETTINGS,
    inventory: Mapping[str, str] | str = RACK,
    *,
    ignition: Mapping[str, bytes] | None = None,
    extra: Mapping[str, bytes] | None = None,
    chosen: Selection | None = None,
    paths: Paths | None = None,
) -> Ingredients:
    """Parsed texts, as `sync.run.desire` would have read them. `inventory` is TOML, or files by name.

    Raises:
        OperatorError: with what is wrong with them.
    """
    places = paths or Paths()
    parsed = parse_settings(settings, str(places.settings))
    documents = {"lab.ign": IGNITION} if ignition is None else ignition
    drafts = Drafts()
    for name, text in ({"rack.toml": inventory} if isinstance(inventory, str) else inventory).items():
        reader = READERS[name.rpartition(".")[2]]
        document = reader(text, str(places.inventory / name), drafts.problems)
        if document is not None:
            drafts.take(document)
    judged = judge(drafts, parsed, documents.keys())
    if judged is None:
        raise OperatorError("cannot use the inventory", problems=drafts.problems)
    named = {p.ignition for p in judged.profiles.values()}
    files = {name: content for name, content in documents.items() if name in named}
    bases = make_bases(str(places.ignition), parsed, judged, files, render_here, translate_here)
    return Ingredients(places, parsed, settings, judged, bases, TEMPLATES, extra or {}, chosen or selection())


def case(name: str) -> Ingredients:
    """The operator's files in tests/cases/<name>/, as if they lay in /etc/pxe-appliance."""
    folder = CASES / name
    return ingredients(
        (folder / "appliance.toml").read_text(),
        {n: text.decode() for n, text in read_tree(folder / "inventory.d").items()},
        ignition=read_tree(folder / "ignition.d"),
        extra=read_tree(folder / "dnsmasq.d"),
    )


def desired(settings: str = SETTINGS, inventory: str = RACK) -> Desired:
    """What those texts ask for."""
    return compose(ingredients(settings, inventory))


@dataclass
class Daemon:
    """Stands where the daemon's `activate` does: proves what it is given, or refuses as often as told."""

    refusals: int = 0
    seen: list[AppliedPlan] = field(default_factory=list)

    def __call__(self, applied: AppliedPlan) -> ProvenPlan:
        self.seen.append(applied)
        if self.refusals:
            self.refusals -= 1
            raise NotProven("dhcp:pxe rejected what it was given", hint="look there")
        return ProvenPlan(applied, ("dhcp:pxe: proven",))


@dataclass
class Site:
    """An appliance's root directory with an operator's files in it."""

    root: Path

    @property
    def paths(self) -> Paths:
        return Paths(PurePosixPath(self.root))

    def write(self, inventory: str = RACK, settings: str = SETTINGS) -> None:
        etc = Path(self.paths.etc)
        for folder in ("inventory.d", "ignition.d", "dnsmasq.d"):
            (etc / folder).mkdir(parents=True, exist_ok=True)
        (etc / "appliance.toml").write_text(settings)
        (etc / "inventory.d/rack.toml").write_text(inventory)
        (etc / "ignition.d/lab.ign").write_bytes(IGNITION)

    def trace(self) -> dict[str, bytes]:
        """Everything of ours below /var, to see whether anything was touched."""
        state = Path(self.paths.state)
        links = {f"{p.relative_to(state)} ->": str(p.readlink()).encode() for p in state.glob("current")}
        return read_tree(state) | links
