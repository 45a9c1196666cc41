"""Documents of a generation: shared ones in memory, each machine's own on disk and as it was written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.daemon.kept_documents import KeptDocuments
from appliance.inventory.model import Inventory
from appliance.matchbox.errors import IgnitionError
from appliance.sync.handover import machine_boots
from appliance.tree import RenderedFile, Tree
from tests.unit.daemon.rooms import PXE, WORKER, rack
from tests.unit.sync.test_call_home import SETTINGS

FILES = {"w.ign": b'{"ignition":{"version":"3.3.0"}}', "w.bu.j2/node1": b'{"ignition":{"version":"3.1.0"}}'}


@pytest.fixture
def kept(tmp_path: Path) -> KeptDocuments:
    tree = Tree.of(
        *(RenderedFile(f"ignition/{key}", text) for key, text in FILES.items()),
        RenderedFile("boot.json", b"{}"),
    )
    for file in tree:
        place = tmp_path / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
    return KeptDocuments(tmp_path, tree)


def test_it_is_a_mapping_of_all_of_them(kept: KeptDocuments) -> None:
    assert dict(kept) == FILES
    assert len(kept) == 2
    assert "w.bu.j2/node1" in kept
    assert "w.bu.j2/node2" not in kept
    assert kept.get("w.bu.j2/node2") is None
    assert kept.get("w.bu.j2") is None


def test_one_that_was_changed_or_is_gone_is_not_given_out(kept: KeptDocuments, tmp_path: Path) -> None:
    place = tmp_path / "ignition/w.bu.j2/node1"
    place.write_bytes(FILES["w.bu.j2/node1"] + b" ")
    assert kept.get("w.bu.j2/node1") is None
    place.unlink()
    assert kept.get("w.bu.j2/node1") is None
    (tmp_path / "ignition/w.ign").unlink()
    assert kept["w.ign"] == FILES["w.ign"], "it is in memory"


def test_a_machine_s_boot_looks_at_its_document_when_it_is_asked_for(
    kept: KeptDocuments, tmp_path: Path
) -> None:
    profile = replace(WORKER, ignition="w.bu.j2")
    node1 = rack()[0]
    inventory = Inventory((node1,), {"worker": profile})
    (boot,) = machine_boots(SETTINGS, inventory, kept)
    assert boot.ignition is not None
    assert b'"3.1.0"' in boot.ignition("secret")
    assert b"TOKEN%3Dsecret" in boot.ignition("secret")
    assert str(PXE.address).encode() in boot.ignition("")
    (tmp_path / "ignition/w.bu.j2/node1").unlink()
    with pytest.raises(IgnitionError, match="damaged"):
        boot.ignition("secret")
