"""Corners of the image store that no table of cases reaches: two names of one line, what was revoked since,
the other OpenPGP implementation, the other architecture, and places that are not what they were."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.images.coreos_layout import FLATCAR
from appliance.images.keys import load_keyring
from appliance.images.lock import parse_lock
from appliance.images.model import StoredRelease, Stream
from appliance.images.openpgp import Backend, Detached
from appliance.images.progress import Nobody
from appliance.images.run import Shop, _site_keyring
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.images.trust import Case, Keyring, Untrusted
from appliance.settings import ImageSettings, Settings
from appliance.system.clock import now
from tests.fakes import releases
from tests.fakes.signing import Signer
from tests.mirror.carried_site import (
    COREOS_NEW,
    Elsewhere,
    Parcel,
    edit_json,
    fedora,
    flipped,
    inventory,
    ipxe_lacking,
    sign_beside,
    take_local,
)
from tests.mirror.site import INITRD, KERNEL, NEW, NEW_AT, OLD, OLD_AT, STREAM, Said, Site, release, write
from tests.mirror.test_full_disk import free, on_a_disk_of_its_own

MIB: Final = 2**20
DATA: Final = b"a kernel"
SMALL: Final = {"kernel": 30_000, "initrd": 60_000}
FLATCAR_OLD, FLATCAR_NEW = f"{STREAM}@{OLD}", f"{STREAM}@{NEW}"
ARM: Final = f"{STREAM}/arm64"
IPXE: Final = "ipxe/stable"
ARCHIVE: Final = "ipxeboot.tar.gz"


@pytest.fixture
def old(empty: Site) -> Site:
    """A site that has nothing, and whose mirror has one small release."""
    release(empty.tree, empty.signers.good, OLD, OLD_AT, sizes=SMALL)
    return empty


@pytest.fixture
def rotten() -> Iterator[Signer]:
    """A signer whose subkey is going to be revoked."""
    with Signer.make("Rotten <rotten@example.com>") as signer:
        yield signer


def ended(said: Said, rc: int, *words: str) -> None:
    """It ended so, and said those words on its standard error."""
    assert said.rc == rc, said.out + said.err
    for word in words:
        assert word in said.err


def test_two_names_of_one_line_and_two_channels(empty: Site) -> None:
    """`lts` is `lts-2024` while that line is the newest; a beta that is a stable one is a lie."""
    empty.configure(flatcar='mirror = "{url}/{channel}"\nkeys = ["good.asc"]')
    folder = release(empty.tree, empty.signers.good, "4081.3.6", OLD_AT, channel="lts", sizes=SMALL)
    releases.point(folder.with_name("current-2024"), folder.name)
    for name in ("flatcar/lts", "flatcar/lts-2024"):
        ended(empty.fetch_here(name), 0)
    both = {"flatcar/lts@4081.3.6", "flatcar/lts-2024@4081.3.6"}
    assert set(empty.current()) == both
    release(empty.tree, empty.signers.good, OLD, OLD_AT, sizes=SMALL)
    shutil.copytree(empty.tree / "stable", empty.tree / "beta", symlinks=True)
    assert empty.fetch_here(STREAM).rc == 0
    ended(empty.fetch_here("flatcar/beta"), 4, "[wrong-channel]")
    assert empty.states() == dict.fromkeys([*both, FLATCAR_OLD], "ok")
    empty.assert_nothing_unproven()


def test_current_is_what_no_version_means(old: Site) -> None:
    ended(old.fetch(f"{STREAM}@latest"), 3, "'latest'", "a version begins with a digit")
    assert old.mirror.requests() == []
    ended(old.fetch(f"{STREAM}@current"), 0)
    lock, problems = parse_lock(Path(old.paths.image_lock).read_text(), "images.lock")
    assert problems == []
    assert [(r.stream, r.version) for r in lock.releases] == [(Stream("flatcar", "stable"), OLD)]
    pointer = old.images / STREAM / "current"
    assert pointer.is_symlink()
    assert os.readlink(pointer) == OLD  # noqa: PTH115 - its own words, not a path
    assert old.states() == {FLATCAR_OLD: "ok"}


def test_current_in_an_inventory(empty: Site) -> None:
    inventory(empty, f"{STREAM}@current")
    ended(empty.call("check"), 0)
    inventory(empty, f"{STREAM}@latest")
    ended(empty.call("check"), 3, "rack.toml:2: profile.p0.image", "a version begins with a digit")


def judged(
    signature: bytes, keyring: Keyring, folder: Path, backend: Backend = Backend.PYSEQUOIA
) -> Case | None:
    """What speaks against a signature over DATA."""
    write(folder / "data", DATA)
    check = Detached("data", signature, keyring, backend)
    check.feed(DATA)
    try:
        check.verdict(folder / "data")
    except Untrusted as error:
        return error.case
    finally:
        check.close()
    return None


def test_a_bundle_does_not_undo_a_revocation(empty: Site, rotten: Signer, tmp_path: Path) -> None:
    write(Path(empty.paths.keys / "good.asc"), rotten.cert())
    before = rotten.cert()
    release(empty.tree, rotten, OLD, OLD_AT, sizes=SMALL)
    assert empty.fetch_here().rc == 0
    bundle = tmp_path / "images.tar"
    assert empty.call("images", "bundle", "export", str(bundle)).rc == 0
    (record,) = (c for m, c in Parcel.read(bundle).members if m.name.endswith("/release.json"))
    assert json.loads(record)["certificates"], "the bundle brings the certificate from before"
    rotten.revoke_subkey(reason="compromised", at=NEW_AT)
    for name, certificate, rc, why in (("late", rotten.cert(), 4, "[revoked-key]"), ("early", before, 0, "")):
        there = Elsewhere(tmp_path / name, {"their.asc": certificate}).beside(empty)
        ended(there.call("images", "bundle", "import", str(bundle)), rc, why)
        assert bool(there.rows()) == (rc == 0)


def test_nor_does_it_for_the_keys_of_a_project(empty: Site, rotten: Signer) -> None:
    """A pinned certificate may come with a bundle, and add to what the site knows; it takes nothing back."""
    signature = rotten.sign(DATA, at=OLD_AT)
    source = replace(FLATCAR, pins={rotten.fingerprint: "Project"})
    record = StoredRelease(Stream("flatcar", "stable"), OLD, (), OLD_AT, certificates=(rotten.cert(),))
    shop = Shop(Store(empty.paths), Seals(Path(empty.paths.image_seals)), Settings({}), Nobody(), now)
    keyring = _site_keyring(shop, record, source, ImageSettings())
    assert judged(signature, keyring, empty.root) is None, "it counts where nobody knows of a revocation"
    rotten.revoke_subkey(reason="compromised", at=NEW_AT)
    write(Path(empty.paths.keys / "project.asc"), rotten.cert())
    keyring = _site_keyring(shop, record, source, ImageSettings())
    assert judged(signature, keyring, empty.root) is Case.REVOKED_KEY


@pytest.mark.parametrize("backend", [Backend.PYSEQUOIA, Backend.SQV])
def test_an_old_copy_does_not_hide_a_revocation(
    empty: Site, rotten: Signer, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend is Backend.SQV:
        monkeypatch.setitem(sys.modules, "pysequoia", None)  # as if it were not installed
    signature, before = rotten.sign(DATA, at=OLD_AT), rotten.cert()
    rotten.revoke_subkey(reason="compromised", at=NEW_AT)
    source = replace(FLATCAR, pins={rotten.fingerprint: "Project"})
    for names in (("a.asc", "b.asc"), ("b.asc", "a.asc")):
        for name, content in zip(names, (before, rotten.cert()), strict=True):
            write(Path(empty.paths.keys / name), content)
        for settings in (ImageSettings(), ImageSettings(keys=names)):
            keyring = load_keyring(empty.paths, "flatcar", source, settings)
            assert judged(signature, keyring, empty.root, backend) is Case.REVOKED_KEY


def test_without_pysequoia_sqv_checks(old: Site, tmp_path: Path) -> None:
    """What is no module stays none for the whole process, and for `find_spec`."""
    write(tmp_path / "python/sitecustomize.py", b'import sys\n\nsys.modules["pysequoia"] = None\n')
    env = {"PYTHONPATH": str(tmp_path / "python")}
    good, kernel = old.signers.good, old.tree / STREAM.partition("/")[2] / "amd64-usr" / NEW / KERNEL
    release(old.tree, good, NEW, NEW_AT, sizes=SMALL, current=False)
    content = kernel.read_bytes()
    ended(old.fetch(env=env), 0)
    assert good.fingerprint in Path(old.paths.image_lock).read_text()
    assert "\nsigned =" not in Path(old.paths.image_lock).read_text(), "sqv does not tell when it was"
    kernel.write_bytes(flipped(content))
    ended(old.fetch(FLATCAR_NEW, env=env), 4, f"refused {KERNEL}", "[bad-signature]")
    kernel.write_bytes(content)
    release(old.tree, old.signers.foreign, NEW, NEW_AT, sizes=SMALL)
    for name in (STREAM, FLATCAR_NEW):
        ended(old.fetch(name, env=env), 4, "[foreign-key]")
    assert old.states() == {FLATCAR_OLD: "ok"}
    old.assert_nothing_unproven()


def test_a_signature_of_tomorrow(empty: Site) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for digests in (True, False):
        release(empty.tree, empty.signers.good, OLD, tomorrow, sizes=SMALL, digests=digests)
        for name in (STREAM, FLATCAR_OLD):
            ended(empty.fetch_here(name), 4, "[future-signature]", "is the clock right?")
    assert empty.gets(KERNEL) == [], "that can be said before the bytes"
    assert empty.rows() == {}


def rack(site: Site) -> None:
    """Two machines that boot Flatcar, one for each architecture, and one that boots something else."""
    machines = (("arm1", "arm64", "flatcar"), ("amd1", "amd64", "flatcar"), ("odd1", "arm64", "tool"))
    text = f'[profile.flatcar]\nimage = "{STREAM}"\n[profile.tool]\nimage = "local/tool"\n' + "".join(
        f'[machine.{name}]\nmac = "52:54:00:aa:00:0{n}"\nip = "172.0.1.2{n}"\narch = "{arch}"\n'
        f'profile = "{profile}"\n'
        for n, (name, arch, profile) in enumerate(machines)
    )
    write(Path(site.paths.inventory / "rack.toml"), text.encode())
    ended(site.call("check"), 0)


def test_a_canary_is_of_its_machines_architecture(site: Site) -> None:
    rack(site)
    for version, at in ((OLD, OLD_AT), (NEW, NEW_AT)):
        release(site.tree, site.signers.good, version, at, sizes=SMALL, arch="arm64")
        assert site.fetch_here("--arch", "arm64").rc == 0
    assert site.fetch_here().rc == 0
    pointers = Path(site.paths.image_pointers)

    def machines() -> dict[str, Any]:
        return {folder: of["machines"] for folder, of in json.loads(pointers.read_bytes()).items()}

    said = site.run("images", "use", FLATCAR_NEW, "--machines", "arm1")
    ended(said, 0)
    assert said.err == ""
    assert machines() == {ARM: {"arm1": NEW}}
    ended(site.call("images", "use", FLATCAR_NEW, "--machines", "arm1,amd1"), 4, "--arch arm64")
    assert machines() == {ARM: {"arm1": NEW}}
    note = f"note: odd1 boots local/tool: it gets {STREAM} when its profile names that"
    ended(site.call("images", "use", FLATCAR_NEW, "--machines", "odd1"), 0, note)
    assert machines() == {ARM: {"arm1": NEW, "odd1": NEW}}
    ended(site.call("images", "use", STREAM, "current", "--machines", "arm1,odd1"), 0)
    assert machines() == {}
    assert site.call("images", "use", FLATCAR_NEW, "--machines", "amd1").rc == 0
    assert machines() == {STREAM: {"amd1": NEW}}
    assert set(site.current()) == {FLATCAR_OLD, f"{ARM}@{OLD}"}


@pytest.mark.parametrize(
    "fault", [{"kind": "wrong_length", "by": -89 * MIB}, {"kind": "status", "code": 405}], ids=["lie", "405"]
)
def test_a_mirror_that_lies_about_the_size(site: Site, fault: Mapping[str, object]) -> None:
    """It would fit, and leave nothing to the appliance."""
    folder = release(site.tree, site.signers.good, NEW, NEW_AT, sizes=SMALL, digests=False)
    os.truncate(folder / INITRD, 90 * MIB)
    for path in folder.glob("*.DIGESTS*"):
        path.unlink()
    sign_beside(site.signers.good, folder / INITRD, NEW_AT)
    site.mirror.faults({f"*/{NEW}/{INITRD}": {**fault, "method": "HEAD"}})
    with on_a_disk_of_its_own(Path(site.paths.state), 104) as disk:
        before = free(disk)
        part = site.incoming / STREAM / NEW / "parts" / f"{INITRD}.part"
        ended(site.fetch(), 5, f"cannot write {part}: No space left on device", f"df -h {part.parent}")
        (got,) = site.gets(INITRD)
        assert 20 * MIB < int(str(got["sent"])) < 70 * MIB
        assert free(disk) >= before - MIB, "the room is given back"
        site.assert_old_is_whole()
        site.mirror.faults({})
        ended(site.fetch_here(), 5, "are to come")
        assert len(site.gets(INITRD)) == 1


@pytest.mark.parametrize("proxy", ["http://[", "127.0.0.1:9"])
def test_a_proxy_that_is_none_is_named(old: Site, proxy: str) -> None:
    ended(old.fetch("--tries", "1", env={"http_proxy": proxy}), 5, f"http_proxy={proxy}")
    assert old.mirror.requests() == []
    assert old.rows() == {}


SPECIAL: Final[Mapping[str, Callable[[Path], None]]] = {
    "link": lambda place: place.symlink_to("../target"),
    "link to nothing": lambda place: place.symlink_to("nowhere"),
    "FIFO": os.mkfifo,
    "device": lambda place: os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "directory": lambda place: place.mkdir(),
}


def identities(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {p.name: (p.lstat().st_ino, p.lstat().st_mode, p.lstat().st_size) for p in folder.iterdir()}


def test_a_bundle_takes_the_place_of_files_alone(site: Site, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (tmp_path / "target").write_bytes(b"somebody's")
    for kind, make in SPECIAL.items():
        make(place / kind)
    before = identities(place)
    for kind in SPECIAL:
        said = site.call("images", "bundle", "export", str(place / kind))
        ended(said, 4, f"cannot write {place / kind}: it is no regular file")
        assert identities(place) == before
    assert (tmp_path / "target").read_bytes() == b"somebody's"
    write(place / "images.tar", b"the bundle before")
    ended(site.call("images", "bundle", "export", str(place / "images.tar")), 0)
    names = Parcel.read(place / "images.tar").names()
    assert [Path(name).name for name in names] == ["release.json", KERNEL, INITRD]
    assert set(identities(place)) == {*before, "images.tar"}


def test_a_digest_is_held_against_what_is_there(empty: Site) -> None:
    empty.configure(ipxe='mirror = "{url}/ipxe"')
    digest = releases.ipxe(empty.tree / "ipxe")
    assert empty.fetch_here(IPXE, "--sha256", digest).rc == 0
    ended(empty.fetch_here(IPXE, "--sha256", "0" * 64), 4, f"refused {ARCHIVE}", "[wrong-digest]")
    assert empty.fetch_here(IPXE, "--sha256", digest).rc == 0
    assert empty.states() == {f"{IPXE}@2.0.0": "ok"}


def test_an_archive_that_is_refused_leaves_nothing(empty: Site) -> None:
    empty.configure(ipxe='mirror = "{url}/ipxe"')
    releases.ipxe(empty.tree / "ipxe")
    ipxe_lacking(empty.tree / "ipxe", "ipxeboot/x86_64/snponly.efi")
    digest = hashlib.sha256((empty.tree / "ipxe/v2.0.0" / ARCHIVE).read_bytes()).hexdigest()
    ended(empty.fetch_here(IPXE, "--sha256", digest), 4, "it lacks snponly.efi")
    assert len(empty.gets(ARCHIVE)) == 1
    left = {p.relative_to(empty.incoming).parts[0] for p in empty.incoming.rglob("*")}
    assert left == {"locks"}, "not even a change of the store began"
    assert empty.rows() == {}


def test_verify_minds_what_machines_would_get(site: Site, tmp_path: Path) -> None:
    inventory(site, "local/tool")
    take_local(site, tmp_path, "local/tool@1.0", "local/tool@2.0", "local/tool@3.0")
    shutil.rmtree(site.images / "local/tool/3.0")
    said = site.run("images", "verify")
    ended(said, 0)
    assert "local/tool@3.0: absent" in said.out
    assert site.call("images", "use", "local/tool@2.0", "--machines", "node1").rc == 0
    shutil.rmtree(site.images / "local/tool/2.0")
    assert site.call("images", "verify").rc == 5, "a canary's is what a machine would get"
    assert site.call("images", "use", "local/tool", "current", "--machines", "node1").rc == 0
    assert site.call("images", "verify").rc == 0
    shutil.rmtree(site.images / "local/tool/1.0")
    gone = site.run("images", "verify")
    ended(gone, 5)
    assert "local/tool@1.0: absent" in gone.out
    assert site.call("images", "verify", STREAM).rc == 0


@pytest.mark.parametrize("name", [KERNEL, "release.json"])
def test_a_directory_where_a_file_should_be(site: Site, name: str) -> None:
    place = site.path(name)
    place.unlink()
    write(place / "inside", b"somebody's")
    (row,) = site.rows().values()
    assert row["state"] == "damaged"
    assert any(str(place) in reason for reason in row["damage"])
    ended(site.fetch(FLATCAR_OLD), 0)
    assert place.is_file()
    site.assert_old_is_whole()


def test_status_names_a_damaged_release_without_a_daemon(site: Site) -> None:
    fine = site.run("status", "-o", "json")
    assert "images-damaged" not in {problem["id"] for problem in fine.json()["problems"]}
    write(site.path(KERNEL), flipped(site.path(KERNEL).read_bytes()))
    said = site.run("status", "-o", "json")
    ended(said, 5)
    (found,) = (p for p in said.json()["problems"] if p["id"] == "images-damaged")
    assert found["severity"] == "error"
    assert FLATCAR_OLD in found["message"]
    assert found["fix"] == f"pxe-appliance images fetch {FLATCAR_OLD}"


def test_versions_of_many_digits(empty: Site) -> None:
    empty.configure(
        flatcar='mirror = "{url}/{channel}"\nkeys = ["good.asc"]',
        fedora_coreos='mirror = "{url}/fcos"\nkeys = ["good.asc"]',
    )
    folder = release(empty.tree, empty.signers.good, OLD, OLD_AT, sizes=SMALL)
    for digits in (300, 5000):  # int() reads no more than 4300
        text = releases.version_text(f"{'4' * digits}.2.5", at=OLD_AT)
        write(folder / "version.txt", text)
        write(folder / "version.txt.sig", empty.signers.good.sign(text, at=OLD_AT))
        ended(empty.fetch_here(), 4, "[unreadable]")
    fedora(empty, COREOS_NEW, OLD_AT)
    for number in ("4" * 60, f"44.20260707.3.{'4' * 60}", f"{'4' * 5000}.20260707.3.1"):

        def rename(facts: dict[str, Any], number: str = number) -> None:
            facts["architectures"]["x86_64"]["artifacts"]["metal"]["release"] = number

        edit_json(empty.tree / "fcos/streams/stable.json", rename)
        ended(empty.fetch_here("fedora-coreos/stable"), 4, "[unreadable]")
    assert empty.rows() == {}
