"""What is inside the package: a CycloneDX bill of materials, and the licences in Debian's copyright file.

Both come from the installed packages themselves: name and version from their metadata, the digest from the
wheel that was fetched, which requirements.txt pins, the licence and its text as the project gives them; and
what is linked into their binary modules, as far as it is known (linked.py).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from linked import Linked, linked
from packageurl import PackageURL

OURS = "pxe-appliance"
# From Debian, beside the package: Depends of debian/control, and Python, which debhelper adds to them.
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
BESIDE = ("dnsmasq-base", "ipxe", PYTHON)
# Where Debian keeps the texts of licences that it does not want in each package (policy 12.5).
COMMON = {"LGPL-2.0-or-later": "LGPL-2", "LGPL-2.1-or-later": "LGPL-2.1", "Apache-2.0": "Apache-2.0"}
# What projects wrote before SPDX expressions were asked for. "BSD License" is not here: it says not which.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "3-Clause BSD License": "BSD-3-Clause",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One package inside."""

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]
    requires: tuple[str, ...]
    wheel: Path | None
    linked: tuple[Linked, ...] = ()


def canonical(name: str) -> str:
    """A name as the index and the lock file spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parts(site: Path, wheels: Path) -> list[Part]:
    """Every package below site-packages, by name."""
    fetched = {}
    for wheel in wheels.glob("*.whl"):
        name, version, *_ = wheel.name.split("-")
        fetched[canonical(name), version] = wheel
    found = []
    for inside in distributions(path=[str(site)]):
        name = canonical(inside.metadata["Name"])
        wheel = fetched.get((name, inside.version))
        if wheel is None and name != OURS:
            sys.exit(f"{name} {inside.version} is inside, and no pinned wheel is it")
        what = (declared(inside), tuple(texts(inside)), needs(inside), wheel, tuple(linked(name, inside)))
        found.append(Part(name, inside.version, *what))
    return sorted(found, key=lambda part: part.name)


def declared(inside: Distribution) -> str:
    """The licence as a project declares it: an SPDX expression where it gives one."""
    metadata = inside.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier") or ()
    trove = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: OSI")]
    free = metadata.get("License", "").strip()
    words = free if free and len(free) < 60 else " AND ".join(trove) or "see its text"
    return SPDX.get(words, words)


def texts(inside: Distribution) -> Iterator[str]:
    """The licence files that a project ships in its metadata."""
    for file in inside.files or ():
        if ".dist-info/" in str(file) and re.search(r"licen[cs]e|copying|notice", file.name, re.IGNORECASE):
            yield Path(str(inside.locate_file(file))).read_text(encoding="utf-8", errors="replace").strip()


def needs(inside: Distribution) -> tuple[str, ...]:
    """Names of the packages that it requires in any case."""
    plain = [line for line in inside.requires or () if "extra ==" not in line]
    return tuple(canonical(found[0]) for line in plain if (found := re.match(r"[A-Za-z0-9._-]+", line)))


def bill(inside: list[Part], control: str, version: str, arch: str, at: datetime) -> Bom:
    """The bill: ours, what is inside, and what Debian's packages have to bring."""
    licences = LicenseFactory()
    made: dict[str, Component] = {}
    for part in inside:
        purl = PackageURL("pypi", None, part.name, part.version)
        made[part.name] = Component(
            name=part.name,
            version=part.version,
            type=ComponentType.LIBRARY,
            scope=ComponentScope.REQUIRED,
            purl=purl,
            bom_ref=str(purl),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest(part.wheel))] if part.wheel else [],
            licenses=[licences.make_from_string(part.licence)],
            properties=[Property(name="pxe-appliance:wheel", value=part.wheel.name)] if part.wheel else [],
        )
    ours = made.pop(OURS)
    ours.type = ComponentType.APPLICATION
    ours.version = version
    ours.purl = PackageURL("deb", None, OURS, version, {"arch": arch, "distro": "bookworm"})
    ours.bom_ref.value = str(ours.purl)
    beside = []
    for name in BESIDE:
        wanted = r"\$\{python3:Depends\}()" if name == PYTHON else rf"^ {name}(?: \(>= ([^)]+)\))?,?$"
        minimum = re.search(wanted, control, re.MULTILINE)
        assert minimum, f"debian/control does not depend on {name}"
        purl = PackageURL("deb", "debian", name, None, {"distro": "bookworm"})
        beside.append(
            Component(
                name=name,
                type=ComponentType.APPLICATION,
                scope=ComponentScope.EXCLUDED,
                purl=purl,
                bom_ref=str(purl),
                properties=[Property(name="pxe-appliance:at-least", value=minimum[1])] if minimum[1] else [],
            )
        )
    within = {one.purl: built_in(one, licences) for part in inside for one in part.linked}
    bom = Bom(components=[*made.values(), *within.values(), *beside])
    bom.metadata.component = ours
    bom.metadata.timestamp = at
    for part in inside:
        component = ours if part.name == OURS else made[part.name]
        below = [made[name] for name in part.requires if name in made]
        below += [within[one.purl] for one in part.linked]
        bom.register_dependency(component, [*below, *beside] if component is ours else below)
    # The same content has the same number: a rebuild is not another thing.
    digests = ",".join(f"{part.name}={digest(part.wheel) if part.wheel else version}" for part in inside)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, f"{arch}:{at.isoformat()}:{digests}")
    return bom


def built_in(one: Linked, licences: LicenseFactory) -> Component:
    """A library that is linked into a binary module. Whoever needs it is in the dependencies."""
    return Component(
        name=one.name,
        version=one.version or None,
        type=ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED,
        purl=PackageURL.from_string(one.purl),
        bom_ref=one.purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.digest)] if one.digest else [],
        licenses=[licences.make_from_string(one.licence)] if one.licence else [],
    )


def digest(path: Path | None) -> str:
    """SHA-256 of a file, in hex."""
    assert path is not None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpinned(inside: list[Part], lock: str) -> list[str]:
    """Packages whose wheel is not one that the lock file pins."""
    return [part.name for part in inside if part.wheel and f"sha256:{digest(part.wheel)}" not in lock]


def copyright_file(inside: list[Part], ours: str) -> str:
    """Debian's copyright file: our own terms, then each package inside with what its project says."""
    chunks = [ours.strip()]
    for part in inside:
        if part.name == OURS:
            continue
        chunks.append(f"{'-' * 78}\n{part.name} {part.version}, below /usr/lib/pxe-appliance: {part.licence}")
        for text in part.texts:
            lines = [line.strip() for line in text.splitlines()]
            notices = "\n".join(line for line in lines if re.match(r"Copyright\b.*\d{4}", line))
            if is_apache(text):
                chunks.append(f"{notices}\nThe text: /usr/share/common-licenses/Apache-2.0".strip())
            else:
                chunks.append(text)
        if part.linked:
            chunks.append(f"Linked into its binary modules:\n{listed(part.linked)}")
    return "\n\n".join(chunks) + "\n"


def listed(within: tuple[Linked, ...]) -> str:
    """Libraries with their licences, and where the texts are that each package of Debian may point at."""
    lines = [f"  {' '.join(filter(None, (one.name, one.version)))}: {one.licence}" for one in within]
    named = {word for one in within for word in re.findall(r"[A-Za-z0-9.-]+", one.licence)}
    texts = [f"{spdx}: /usr/share/common-licenses/{file}" for spdx, file in COMMON.items() if spdx in named]
    return "\n".join([*lines, *(f"The text of {line}" for line in texts)])


def is_apache(text: str) -> bool:
    """Whether a text is the Apache License 2.0 in full."""
    head = " ".join(text[:400].split())
    return "Apache License" in head and "Version 2.0" in head


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser()
    for name in ("site", "wheels", "lock", "control", "bill", "copyright"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("version", "arch"):
        parser.add_argument(f"--{name}", required=True)
    chosen = parser.parse_args()
    at = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    inside = parts(chosen.site, chosen.wheels)
    if loose := unpinned(inside, chosen.lock.read_text()):
        sys.exit(f"not pinned by {chosen.lock}: {', '.join(loose)}")
    chosen.bill.parent.mkdir(parents=True, exist_ok=True)
    made = bill(inside, chosen.control.read_text(), chosen.version, chosen.arch, at)
    chosen.bill.write_text(JsonV1Dot6(made).output_as_string(indent=2) + "\n")
    chosen.copyright.write_text(copyright_file(inside, chosen.copyright.read_text()))


if __name__ == "__main__":
    main()
