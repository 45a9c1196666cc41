"""What the store is worth, in rows and in findings: each harm by its name, and no word without harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from appliance.image_ref import ImageRef
from appliance.images.change import use
from appliance.images.health import WARN_BEFORE, Finding, findings, rows, why_not, why_not_each
from appliance.images.model import OPERATOR, Stream
from appliance.settings import ImageSettings, Settings
from tests.fakes.signing import Signer
from tests.unit.images.rooms import BETA, KEY, STABLE
from tests.unit.images.stores import AT, Shelf

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ARM = Stream("flatcar", "stable", "arm64")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    shelf.put("1", current=True)
    shelf.put("2")
    return shelf


def found(shelf: Shelf, settings: Settings | None = None) -> list[Finding]:
    return findings(shelf.store, shelf.seals, settings, NOW)


def states(shelf: Shelf) -> dict[str, str]:
    return {f"{row.stream}@{row.version}": row.state for row in rows(shelf.store, shelf.seals)}


def test_all_is_well(shelf: Shelf) -> None:
    shelf.put("7", Stream("local", "rescue"), current=True, signer=OPERATOR)
    assert found(shelf) == []
    assert set(states(shelf).values()) == {"ok"}
    assert found(Shelf(shelf.root / "elsewhere")) == []


def test_rows_in_their_public_shape(shelf: Shelf) -> None:
    use(shelf.store, shelf.seals, STABLE, "2", ["node1"])
    first, second = (row.as_json() for row in rows(shelf.store, shelf.seals))
    assert first == {
        "image": "flatcar/stable",
        "version": "1",
        "arch": "amd64",
        "current": True,
        "pinned": True,
        "size": 6,
        "signer": KEY,
        "fetched_at": AT.isoformat(),
        "state": "ok",
        "damage": [],
        "machines": [],
    }
    assert (second["version"], second["current"], second["machines"]) == ("2", False, ["node1"])


def damaged(shelf: Shelf) -> None:
    (shelf.folder("2") / "vmlinuz").write_bytes(b"?")


def half_gone(shelf: Shelf) -> None:
    (shelf.folder("2") / "initrd.img").unlink()


def without_record(shelf: Shelf) -> None:
    (shelf.folder("2") / "release.json").unlink()


def with_another_record(shelf: Shelf) -> None:
    """It can be read, and is of other files than those that are pinned."""
    record = shelf.folder("2") / "release.json"
    record.write_bytes(record.read_bytes().replace(b'"vmlinuz"', b'"vmlinux"'))


def unpinned(shelf: Shelf) -> None:
    shelf.put("3", pinned=False)


def unpinned_and_current(shelf: Shelf) -> None:
    shelf.put("3", pinned=False, current=True)


def without_current(shelf: Shelf) -> None:
    shelf.folder("current").unlink()


def current_is_gone(shelf: Shelf) -> None:
    shelf.point("9")


def canary_is_gone(shelf: Shelf) -> None:
    use(shelf.store, shelf.seals, STABLE, "2", ["node1"])
    folder = shelf.folder("2")
    folder.rename(shelf.root / "aside")


def a_stray_file(shelf: Shelf) -> None:
    (shelf.folder("2") / "extra").write_bytes(b"")


def a_stray_folder(shelf: Shelf) -> None:
    (Path(shelf.paths.images) / "debian").mkdir()


def a_spoilt_lock(shelf: Shelf) -> None:
    lock = Path(shelf.paths.image_lock)
    lock.write_text(lock.read_text() + '["flatcar"."stable"."amd64"."9"]\n')


def spoilt_pointers(shelf: Shelf) -> None:
    Path(shelf.paths.image_pointers).write_bytes(b"{")


HARM: dict[Callable[[Shelf], None], tuple[str, str, str]] = {
    damaged: ("images-damaged", "error", "flatcar/stable@2 is damaged and not served: "),
    half_gone: ("images-damaged", "error", "initrd.img: it is not there"),
    without_record: ("images-damaged", "error", "release.json"),
    with_another_record: ("images-damaged", "error", "release.json"),
    unpinned: ("images-unpinned", "warning", "flatcar/stable@3 is not pinned"),
    unpinned_and_current: ("images-unpinned", "error", "flatcar/stable@3 is not pinned"),
    without_current: ("images-current", "error", "flatcar/stable has no current release"),
    current_is_gone: ("images-missing", "error", "flatcar/stable@9 is current, and is not in the store"),
    canary_is_gone: ("images-missing", "error", "flatcar/stable@2 is given to node1"),
    a_stray_file: ("images-unpinned", "warning", "extra"),
    a_stray_folder: ("images-unpinned", "warning", "debian"),
    a_spoilt_lock: ("images-lock", "error", "images.lock cannot be used"),
    spoilt_pointers: ("images-store", "error", "image-pointers.json"),
}


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_harm_is_named_with_what_mends_it(shelf: Shelf, harm: Callable[[Shelf], None]) -> None:
    assert found(shelf) == []
    harm(shelf)
    first = found(shelf)[0]
    identity, severity, words = HARM[harm]
    assert (first.id, first.severity) == (identity, severity)
    assert words in first.message
    assert first.fix


def test_a_fix_names_the_processor_where_it_has_to(shelf: Shelf) -> None:
    shelf.put("4", ARM, current=True)
    (shelf.folder("4", ARM) / "vmlinuz").write_bytes(b"?")
    (finding,) = found(shelf)
    assert finding.fix == "pxe-appliance images fetch flatcar/stable@4 --arch arm64"
    assert "flatcar/stable (arm64)@4" in finding.message


def test_what_is_pinned_and_not_here_is_no_harm(shelf: Shelf) -> None:
    """A lock from another host says what may come, not what has to be here."""
    shelf.folder("2").rename(shelf.root / "aside")
    assert list(states(shelf).items()) == [("flatcar/stable@1", "ok"), ("flatcar/stable@2", "absent")]
    absent = rows(shelf.store, shelf.seals)[1]
    assert (absent.size, absent.signer, absent.fetched_at) == (6, KEY, None)
    assert found(shelf) == []


def test_the_worst_comes_first(shelf: Shelf) -> None:
    a_stray_file(shelf)
    unpinned(shelf)
    damaged(shelf)
    assert [f.severity for f in found(shelf)] == ["error", "warning", "warning"]


# ---- why a machine cannot boot ----


def test_why_a_machine_cannot_boot(shelf: Shelf) -> None:
    shelf.put("8", BETA)

    def why(ref: ImageRef, arch: str | None = None, machine: str = "node1") -> str:
        return why_not(shelf.store, shelf.seals, ref, arch, machine)

    stable = ImageRef("flatcar", "stable")
    assert why(stable) == why(ImageRef("flatcar", "stable", "2")) == ""
    assert why(stable, "arm64") == "flatcar/stable (arm64) is not in the store"
    assert why(ImageRef("flatcar", "beta")) == "flatcar/beta is not in the store"  # nothing is current
    assert "not in the store" in why(ImageRef("flatcar", "stable", "5"))
    use(shelf.store, shelf.seals, STABLE, "2", ["node1"])
    damaged(shelf)
    assert "vmlinuz" in why(stable)
    assert why(stable, machine="node2") == ""


def test_many_machines_at_once(shelf: Shelf) -> None:
    use(shelf.store, shelf.seals, STABLE, "2", ["node1"])
    damaged(shelf)
    stable, beta = ImageRef("flatcar", "stable"), ImageRef("flatcar", "beta")
    wanted = {
        "node1": (stable, None),
        "node2": (stable, "amd64"),
        "node3": (beta, None),
        "node4": (beta, "arm64"),
    }
    reasons = why_not_each(shelf.store, shelf.seals, wanted)
    assert set(reasons) == {"node1", "node3", "node4"}
    assert reasons == {
        name: why_not(shelf.store, shelf.seals, *asked, name)
        for name, asked in wanted.items()
        if name in reasons
    }


# ---- keys ----


@pytest.fixture(scope="module")
def signers() -> Iterator[dict[str, Signer]]:
    ends: dict[str, dict[str, Any]] = {
        "soon": {"subkey_expires": NOW + WARN_BEFORE - DAY},
        "later": {"subkey_expires": NOW + WARN_BEFORE + DAY},
        "over": {"subkey_expires": NOW - DAY},
        "never": {},
        "revoked": {},
    }
    with ExitStack() as stack:
        made = {name: stack.enter_context(Signer.make(**facts)) for name, facts in ends.items()}
        made["revoked"].revoke_subkey(reason="retired", at=NOW - DAY)
        yield made


def key_findings(shelf: Shelf, signers: dict[str, Signer], *names: str) -> list[tuple[str, str]]:
    for name in names:
        place = Path(shelf.paths.keys / f"{name}.asc")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(signers[name].cert())
    images = {"flatcar": ImageSettings(keys=tuple(f"{name}.asc" for name in names))}
    settings = Settings(networks={}, images=MappingProxyType(images))
    told = found(shelf, settings)
    assert all(f.id == "images-keys" and f.fix for f in told)
    return [(f.severity, f.message) for f in told]


def test_keys_that_end(shelf: Shelf, signers: dict[str, Signer]) -> None:
    assert key_findings(shelf, signers, "never") == key_findings(shelf, signers, "later") == []
    ((severity, message),) = key_findings(shelf, signers, "soon")
    assert (severity, "ends on 2026-03-31" in message) == ("warning", True)
    ((severity, message),) = key_findings(shelf, signers, "over")
    assert (severity, "ended on 2025-12-31" in message) == ("error", True)


def test_one_key_that_lasts_is_enough(shelf: Shelf, signers: dict[str, Signer]) -> None:
    assert key_findings(shelf, signers, "over", "later") == []
    assert key_findings(shelf, signers, "over", "never") == []
    assert len(key_findings(shelf, signers, "over", "soon")) == 1


def test_keys_that_cannot_sign_any_more(shelf: Shelf, signers: dict[str, Signer]) -> None:
    ((severity, _),) = key_findings(shelf, signers, "revoked")
    assert severity == "error"
    assert len(key_findings(shelf, signers, "revoked", "soon")) == 1


def test_a_key_file_that_is_missing(shelf: Shelf) -> None:
    settings = Settings(
        networks={}, images=MappingProxyType({"flatcar": ImageSettings(keys=("absent.asc",))})
    )
    (finding,) = found(shelf, settings)
    assert (finding.id, finding.severity) == ("images-keys", "error")
    assert "absent.asc" in finding.evidence[0]


def test_keys_of_what_is_not_kept_here_are_nobody_s_concern(shelf: Shelf) -> None:
    broken = ImageSettings(keys=("absent.asc",))
    settings = Settings(networks={}, images=MappingProxyType({"fedora-coreos": broken}))
    assert found(shelf, settings) == []
