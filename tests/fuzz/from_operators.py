"""Parsers of what an operator writes: settings, inventory, Matchbox data, Ignition, keys, single words."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from appliance import grammar
from appliance.addresses import Hostname, Mac
from appliance.boot.firmware import Manifest, parse_manifest
from appliance.dnsmasq.render import render_hosts
from appliance.dnsmasq.reparse import expected, parse_hosts, untagged
from appliance.doctor.iptables_rules import parse_iptables
from appliance.doctor.nft_ruleset import parse_ruleset
from appliance.errors import OperatorError, Problem, Refused
from appliance.image_ref import parse_image, parse_ref
from appliance.images.lock import parse_lock, render_lock
from appliance.inventory.edit import Addition, MacChange, Removal, edited
from appliance.inventory.fields import parse_uuid
from appliance.inventory.keyfiles import keyfiles
from appliance.inventory.model import Inventory
from appliance.inventory.networkd import networkd_files
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_csv import read_csv
from appliance.inventory.parse_json import read_json
from appliance.inventory.parse_yaml import read_yaml
from appliance.inventory.rules import judge
from appliance.inventory.serialize import dump_inventory, restore_inventory
from appliance.inventory.switchports import switch_ports
from appliance.matchbox.answer import World, answer
from appliance.matchbox.butane import translate, translate_as_butane, variant_of
from appliance.matchbox.errors import DataError, Flaw, IgnitionError, TemplateError
from appliance.matchbox.ignition import finish
from appliance.matchbox.ignition_merge import merged, read_base
from appliance.matchbox.labels import parse_query
from appliance.matchbox.model import Group, Profile
from appliance.matchbox.parse import parse_group, parse_profile
from appliance.matchbox.push_plan import stored_of
from appliance.matchbox.request import RequestKind
from appliance.matchbox.signing import KeyringError, SigningKey, load_key
from appliance.matchbox.snapshot import Document, Raw, Snapshot, install_hazards, read_document
from appliance.matchbox.template_parse import Template
from appliance.matchbox.template_run import run_template
from appliance.matchbox.unit_syntax import UnitText, read_unit
from appliance.provisioned import Provisioned, ProvisionedFile, ProvisionedUnit
from appliance.reading import Document as FileDocument
from appliance.settings import Settings
from appliance.settings_fields import parse_lease
from appliance.settings_parse import describe_settings, parse_settings
from appliance.sync.bases import Job, Rendered
from appliance.sync.confirm import parse_within
from appliance.sync.ignition_tools import render_apart
from appliance.toml_lines import read_toml
from appliance.webhook_secret import LONGEST_FILE, SecretError, read_secret
from tests.fuzz.parser import Parser, any_text, text

_SETTINGS: Final = parse_settings('[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n', "s")
_ADDED: Final = Provisioned(
    (ProvisionedFile("/etc/hostname", "node1\n"),), (ProvisionedUnit("home.service", "[Unit]\n"),)
)
_MAC: Final = Mac.parse("52:54:00:aa:00:01")
Read = Callable[[str, str, list[Problem]], FileDocument | None]


def _settings(data: bytes) -> Settings:
    settings = parse_settings(text(data), "appliance.toml")
    describe_settings(settings)
    return settings


def _inventory(read: Read) -> Callable[[bytes], Inventory | None]:
    def through(data: bytes) -> Inventory | None:
        """A file on its way to what is rendered of it: refused with a line, or in its grammar to the end."""
        drafts = Drafts()
        document = read(text(data), "rack", drafts.problems)
        if document is None:
            assert drafts.problems, "refused without a word"
            assert all(problem.line > 0 for problem in drafts.problems), "refused without a line"
            return None
        drafts.take(document)
        inventory = judge(drafts, _SETTINGS, {"worker.bu"})
        assert (inventory is None) == bool(drafts.problems)
        assert all(str(problem).isprintable() and problem.line > 0 for problem in drafts.problems)
        if inventory is not None:
            for network in _SETTINGS.networks.values():
                lines = render_hosts(inventory.machines, network)
                assert untagged(parse_hosts(lines)) == expected(inventory.machines, network)
            for machine in inventory.machines:
                networkd_files(machine), keyfiles(machine)
            switch_ports(inventory, _SETTINGS.networks)
            assert restore_inventory(dump_inventory(inventory)) == inventory
        return inventory

    return through


def _edit(suffix: str) -> Callable[[bytes], str]:
    def edit(data: bytes) -> str:
        """Each edit of a file; what comes of one is read again inside, and is what was meant."""
        old = text(data)
        new = ""
        for change in (
            Addition(Hostname.parse("node9"), {"mac": "52:54:00:aa:00:99", "ip": "172.0.1.99"}),
            Removal("node1"),
            MacChange("node1", _MAC, Mac.parse("52:54:00:aa:00:98")),
        ):
            with suppress(OperatorError, Refused):
                new = edited(old, suffix, "rack", change)
        return new

    return edit


def _lock(data: bytes) -> str:
    lock, problems = parse_lock(text(data), "images.lock")
    assert all(str(problem).isprintable() for problem in problems)
    written = render_lock(lock)
    assert parse_lock(written, "again")[0] == lock
    return written


def _group(data: bytes) -> Group:
    return parse_group(data, "groups/a.json")


def _document(folder: str, name: str) -> Callable[[bytes], Document]:
    def read(data: bytes) -> Document:
        found = read_document(folder, name, data)
        if isinstance(found, Template):
            with suppress(TemplateError):
                run_template(
                    found, {"mac": "52:54:00:aa:00:01", "n": 3, "list": ["a"], "deep": {"er": {"x": 1}}}
                )
        _ask(folder, name, found)
        return found

    return read


def _ask(folder: str, name: str, document: Document) -> None:
    """What a machine is told where a group leads to the document."""
    stem = {f"{kind}_id": name if folder == kind else "" for kind in ("ignition", "generic", "cloud")}
    group = Group("g", "p", {}, {"pass": "a b", "list": [1, None]}, file="groups/g.json")
    snapshot = Snapshot.of([group], {"p": Profile("p", "", None, **stem)}, {f"{folder}/{name}": document})
    install_hazards(snapshot)
    for kind in (RequestKind(folder), RequestKind.METADATA):
        answer(World(snapshot), kind, parse_query("uuid=1&os=a%0Ab"), "172.0.1.21", None)


def _butane(data: bytes) -> bytes:
    variant_of(data)
    with suppress(IgnitionError):
        translate_as_butane(data)
    with suppress(IgnitionError):
        finish("worker.bu", data)
    made = translate(data)
    json.loads(made)
    return made


def _ignition(data: bytes) -> bytes:
    made = finish("worker.ign", data)
    json.loads(merged(read_base(made), _ADDED).for_boot("token"))
    stored_of(made)
    return made


def _unit(data: bytes) -> UnitText:
    return read_unit(any_text(data))


def _jinja(data: bytes) -> object:
    """A template, in the process that templates are rendered in: what it does to that one is told."""
    job = Job("a", {"machine": {"name": "node1", "mac": "52:54:00:aa:00:01"}, "labels": {"rack": "r1"}})
    (found,) = render_apart({"a": any_text(data).encode("utf-8", "replace").decode()}, [job], lines=True)
    return found


def _secret(data: bytes) -> bytes:
    return read_secret(data[:LONGEST_FILE])


def _signing_key(data: bytes) -> SigningKey:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return load_key(Path(file.name), "secret")


def _words(data: bytes) -> int:
    """Every grammar of a single word: for settings, inventory and the command line."""
    word, taken = any_text(data)[:5000], 0
    for parse in _WORDS:
        with suppress(ValueError):
            parse(word)
            taken += 1
    return taken


_TEXTS: Final = (
    *(
        grammar.WEBHOOK,
        grammar.SECRET_FILE,
        grammar.LOCAL_PATH,
        grammar.INTERFACE,
        grammar.SUBNET,
        grammar.IPV4,
    ),
)
_WORDS: Final[tuple[Callable[[str], object], ...]] = (
    *(Mac.parse, Hostname.parse, grammar.parse_ipv4, grammar.parse_subnet, grammar.parse_interface_address),
    *(grammar.parse_destination, parse_ref, parse_image, parse_lease, parse_uuid),
    parse_within,
    *(kind.parse for kind in _TEXTS),
)


def _manifest(data: bytes) -> Manifest:
    return parse_manifest(text(data))


def _iptables(data: bytes) -> list[object]:
    return list(parse_iptables(any_text(data)))


def _nft(data: bytes) -> list[object]:
    return list(parse_ruleset(any_text(data)))


def _parsers() -> Iterator[Parser]:
    yield Parser("settings", _settings, Settings, (OperatorError,), words=_KEYS)
    rack = (Inventory, type(None))
    readers: dict[str, Read] = {"toml": read_toml, "yaml": read_yaml, "json": read_json, "csv": read_csv}
    for name, read in readers.items():
        yield Parser(f"inventory-{name}", _inventory(read), rack, (OperatorError,), words=_KEYS)
    for suffix in (".toml", ".yaml", ".json", ".csv"):
        yield Parser(f"edit-{suffix[1:]}", _edit(suffix), str, words=_KEYS, cost=2)
    yield Parser("images-lock", _lock, str)
    yield Parser("matchbox-group", _group, Group, (DataError,), words=("selector", "metadata", "profile"))
    yield Parser("matchbox-profile", parse_profile, Profile, (DataError,), words=("boot", "kernel", "initrd"))
    kinds = (Raw, Template)
    go = ("{{.mac}}", "{{if ", "{{end}}", "{{range $i, $x := .list}}", "| printf", "{{- ", " -}}", "{{define")
    yield Parser("matchbox-generic", _document("generic", "p.txt"), kinds, (DataError,), words=go)
    yield Parser(
        "matchbox-cloud", _document("cloud", "p.yaml"), kinds, (DataError,), words=("#cloud-config\n", *go)
    )
    yield Parser("matchbox-ignition", _document("ignition", "p.ign"), kinds, (DataError,), words=_IGNITION)
    yield Parser(
        "butane", _butane, bytes, (IgnitionError,), words=("variant: fcos", "storage:\n", "  files:\n")
    )
    yield Parser("ignition", _ignition, bytes, (IgnitionError,), words=_IGNITION)
    yield Parser("systemd-unit", _unit, UnitText, words=("[Unit]\n", "ExecStart=", "\\\n"))
    jinja = ("{{ machine }}", "{% for i in range(9) %}", "{% endfor %}", "|tojson", "'a' * 9", "__class__")
    yield Parser("ignition-template", _jinja, (Rendered, Flaw), words=jinja, most=1 << 16, cost=100)
    yield Parser("webhook-secret", _secret, bytes, (SecretError,), most=LONGEST_FILE, words=("whsec_",))
    yield Parser("signing-key", _signing_key, SigningKey, (KeyringError,), most=1 << 16, cost=10)
    yield Parser(
        "single-words", _words, int, most=5000, words=("52:54:00", "https://", "flatcar/", "/24", "1h")
    )
    yield Parser("boot-manifest", _manifest, Manifest, (ValueError,), most=1 << 16)
    yield Parser("iptables-rules", _iptables, list)
    yield Parser("nft-ruleset", _nft, list)


_KEYS: Final = (
    *("machine", "profile", "mac", "macs", "ip", "nic", "bond", "vlans", "labels", "args", "image", "kernel"),
    *("network", "interface", "subnet", "address", "mode", "lease", "relayed", "http", "matchbox", "webhook"),
    *("172.0.1.0/24", "172.0.1.21", "52:54:00:aa:00:01", "[machine.a]\n", "machine:\n", "  mac: ", "\n- "),
)
_IGNITION: Final = ("ignition", "storage", "files", "contents", "source", "data:;base64,", "systemd", "3.4.0")
FROM_OPERATORS: Final = tuple(_parsers())
