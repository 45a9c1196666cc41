"""A project's own pins: its key comes from the documented address, and counts by its fingerprint alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from appliance.images import run as route
from appliance.images.catalogue import SOURCES
from appliance.images.coreos_layout import FLATCAR
from tests.mirror.site import OLD, OLD_AT, STREAM, Site, release, write

SMALL: Final = {"kernel": 30_000, "initrd": 60_000}
KEY: Final = "key/signing.asc"


@pytest.fixture
def project(empty: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A Flatcar whose pin is the good signer's, on a mirror that has its key, too."""
    pins = MappingProxyType({empty.signers.good.fingerprint: "the project"})
    ours = replace(FLATCAR, pins=pins, key_url=f"{empty.mirror.url}/{KEY}")
    monkeypatch.setattr(route, "SOURCES", MappingProxyType({**SOURCES, "flatcar": ours}))
    empty.configure(flatcar='mirror = "{url}/{channel}"')
    for file in Path(empty.paths.keys).iterdir():
        file.unlink()  # what other tests' settings name
    return empty


def asked(site: Site) -> int:
    """How often the key was asked for."""
    return sum(request["path"] == f"/{KEY}" for request in site.mirror.requests(settled=True))


def put_key(site: Site, *certificates: bytes) -> None:
    write(site.tree / KEY, b"\n".join(certificates))


def test_a_key_is_fetched_once_and_kept(project: Site) -> None:
    good = project.signers.good
    release(project.tree, good, OLD, OLD_AT, sizes=SMALL)
    put_key(project, project.signers.foreign.cert(), good.cert())
    assert project.fetch_here(STREAM).rc == 0
    assert asked(project) == 1
    assert Path(project.paths.fetched_keys / "flatcar.pgp").exists()
    assert project.fetch_here(STREAM).rc == 0
    assert asked(project) == 1


def test_a_foreign_key_at_the_address_counts_for_nothing(project: Site) -> None:
    foreign = project.signers.foreign
    release(project.tree, foreign, OLD, OLD_AT, sizes=SMALL)
    put_key(project, foreign.cert())
    said = project.fetch_here(STREAM)
    assert said.rc == 4, said.err
    assert "no pinned fingerprint is in it [no-key]" in said.err
    assert project.rows() == {}


def test_an_address_that_does_not_answer_is_not_why_a_foreign_signature_is_refused(project: Site) -> None:
    write(Path(project.paths.keys / "project.asc"), project.signers.good.cert())
    release(project.tree, project.signers.foreign, OLD, OLD_AT, sizes=SMALL)
    put_key(project, project.signers.good.cert())
    project.mirror.faults({f"/{KEY}": {"kind": "reset", "head": False}})
    said = project.fetch_here("--tries", "1", STREAM)
    assert said.rc == 4, said.err
    assert "[foreign-key]" in said.err
    assert KEY in said.err, "that it was asked for, in vain, is told beside"
    assert project.rows() == {}
