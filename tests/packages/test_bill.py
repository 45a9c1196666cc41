"""The bill of materials: well formed, exactly what is inside, and each by the digest that is pinned."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from tests.packages.conftest import CHECKOUT, Package

pytestmark = pytest.mark.timeout(600)  # the first one builds, too
NAME = "./usr/share/doc/pxe-appliance/pxe-appliance.cdx.json"


@pytest.fixture(scope="module")
def bill(package: Package) -> Any:
    (content,) = [content for member, content in package.members() if member.name == NAME]
    return json.loads(content)


def schemas() -> dict[str, Any]:
    """CycloneDX' own, as its library for Python carries them."""
    (folder,) = CHECKOUT.glob("build/tools/lib/python3*/site-packages/cyclonedx/schema/_res")
    return {path.name: json.loads(path.read_text()) for path in Path(folder).glob("*.schema.json")}


def wheels(bill: Any) -> list[Any]:
    return [part for part in bill["components"] if part["purl"].startswith("pkg:pypi/")]


def test_it_is_cyclonedx(bill: Any) -> None:
    every = schemas()
    schema = every[f"bom-{bill['specVersion']}.SNAPSHOT.schema.json"]
    base = schema["$id"].rpartition("/")[0]
    resources = [(f"{base}/{name}", Resource.from_contents(one)) for name, one in every.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    validator = Draft7Validator(schema, registry=registry)
    assert [error.message for error in validator.iter_errors(bill)] == []
    spoiled = json.loads(json.dumps(bill))
    del spoiled["components"][0]["name"]
    assert not validator.is_valid(spoiled), "the schema finds nothing"


def test_it_names_what_is_inside_and_nothing_else(package: Package, bill: Any) -> None:
    inside = set()
    for member, _ in package.members():
        if found := re.search(r"site-packages/([^/]+)-([^/-]+)\.dist-info/METADATA$", member.name):
            inside.add((re.sub(r"[-_.]+", "-", found[1]).lower(), found[2]))
    named = {(c["name"], c["version"]) for c in bill["components"] if c["purl"].startswith("pkg:pypi/")}
    assert named == {pair for pair in inside if pair[0] != "pxe-appliance"}
    ours = bill["metadata"]["component"]
    assert (ours["name"], ours["version"]) == ("pxe-appliance", package.field("Version"))
    assert {c["name"] for c in bill["components"] if c["scope"] == "excluded"} == {
        "dnsmasq-base",
        "ipxe",
        "python3.11",
    }


def test_every_part_is_pinned_and_has_a_licence(bill: Any) -> None:
    lock = (CHECKOUT / "requirements.txt").read_text()
    for part in wheels(bill):
        (digest,) = part["hashes"]
        assert digest["alg"] == "SHA-256"
        assert f"--hash=sha256:{digest['content']}" in lock, part["name"]
        assert part["licenses"], part["name"]


def test_it_says_who_needs_whom(bill: Any) -> None:
    known = {c["bom-ref"] for c in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    below = {d["ref"]: d.get("dependsOn", []) for d in bill["dependencies"]}
    assert set(below) == known
    reached, left = set(), [bill["metadata"]["component"]["bom-ref"]]
    while left:
        ref = left.pop()
        if ref not in reached:
            reached.add(ref)
            left += below[ref]
    assert reached == known, f"nobody needs {known - reached}"


def test_the_licences_are_in_the_copyright_file(package: Package, bill: Any) -> None:
    (text,) = [c.decode() for m, c in package.members() if m.name.endswith("doc/pxe-appliance/copyright")]
    for part in wheels(bill):
        begin = re.search(rf"^{re.escape(part['name'])} {re.escape(part['version'])}, ", text, re.MULTILINE)
        assert begin, part["name"]
        terms = text[begin.end() :].partition(f"\n{'-' * 78}\n")[0]
        assert "opyright" in terms or "common-licenses" in terms, part["name"]
    assert "  sequoia-openpgp 2" in text
    assert "The text of LGPL-2.0-or-later: /usr/share/common-licenses/LGPL-2\n" in text


def test_it_names_what_is_linked_into_the_binary_modules(package: Package, bill: Any) -> None:
    """What parses certificates, TLS and HTTP is in none of the packages' own metadata."""
    named = {c["name"]: c for c in bill["components"] if not c["purl"].startswith(("pkg:pypi/", "pkg:deb/"))}
    assert {"sequoia-openpgp", "boringssl", "c-ares", "llhttp", "libyaml", "pyo3"} <= named.keys()
    assert named["sequoia-openpgp"]["licenses"] == [{"expression": "LGPL-2.0-or-later"}] or named[
        "sequoia-openpgp"
    ]["licenses"] == [{"license": {"id": "LGPL-2.0-or-later"}}]
    for name in ("sequoia-openpgp", "libyaml", "zlib"):
        assert re.fullmatch(r"\d+(\.\d+)+", named[name]["version"]), name
    ships = {m.name.rpartition("/")[2] for m, _ in package.members() if "/sboms/" in m.name and m.isreg()}
    assert ships == {"pydantic-core.cyclonedx.json", "pysequoia.cyclonedx.json"}, (
        "a wheel's own bill is unread"
    )
