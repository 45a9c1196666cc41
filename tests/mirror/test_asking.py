"""How images are asked for: by name, version and architecture, from a directory, through a proxy, by what
profiles name; and with whose keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.certificates import authority
from tests.fakes.mirror import mirror
from tests.fakes.proxy import proxy
from tests.fakes.signing import Signer
from tests.mirror.carried_site import inventory, local_folder
from tests.mirror.site import ENDS, KERNEL, NEW, NEW_AT, OLD, OLD_AT, STREAM, Site, release, write

SMALL: Final = {"kernel": 30_000, "initrd": 60_000}
CLOSED: Final = "http://127.0.0.1:9"  # where nobody listens
PROJECT: Final = "www.flatcar.org"  # where the project's key is documented to be
PINNED: Final = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A"
ARM: Final = f"{STREAM}/arm64@{OLD}"


@pytest.fixture
def old(empty: Site) -> Site:
    """A site that has nothing, and whose mirror has one small release."""
    release(empty.tree, empty.signers.good, OLD, OLD_AT, sizes=SMALL)
    return empty


# --- names, versions, architectures ---


def test_a_frozen_lts_line(empty: Site) -> None:
    good = empty.signers.good
    release(empty.tree, good, "4081.3.6", OLD_AT, channel="lts", sizes=SMALL, current="current-2024")
    release(empty.tree, good, "4459.3.0", NEW_AT, channel="lts", sizes=SMALL)
    for name in ("flatcar/lts-2024", "flatcar/lts"):
        said = empty.fetch_here(name)
        assert said.rc == 0, said.err
    assert empty.current() == ["flatcar/lts@4459.3.0", "flatcar/lts-2024@4081.3.6"]
    missing = empty.fetch_here("flatcar/lts-2023")
    assert missing.rc == 5, missing.out
    assert "current-2023/version.txt: it does not exist" in missing.err


def test_architectures(old: Site) -> None:
    said = old.fetch_here("--arch", "arm64")
    assert said.rc == 5, said.out
    assert old.rows() == {}
    old.configure(flatcar='mirror = "{url}/{channel}"\nkeys = ["good.asc"]\narch = ["arm64", "amd64"]')
    half = old.fetch_here()
    assert half.rc == 5, "one of two is not there"
    assert old.current() == [f"{STREAM}@{OLD}"], "the other one is"
    release(old.tree, old.signers.good, OLD, OLD_AT, sizes=SMALL, arch="arm64")
    assert old.fetch(STREAM).rc == 0
    assert old.current() == [f"{STREAM}@{OLD}", ARM]
    assert (old.images / STREAM / "arm64" / OLD / KERNEL).is_file()
    old.assert_nothing_unproven()
    release(old.tree, old.signers.good, NEW, NEW_AT, sizes=SMALL, arch="arm64")
    assert old.fetch_here("--arch", "aarch64", "--use").rc == 0
    assert old.current() == [f"{STREAM}@{OLD}", f"{STREAM}/arm64@{NEW}"]
    back = old.call("images", "rollback", STREAM, "--arch", "arm64")
    assert back.rc == 0, back.err
    assert old.current() == [f"{STREAM}@{OLD}", ARM]
    assert old.fetch_here("--arch", "riscv").rc == 2


def test_versions_older_and_newer(old: Site) -> None:
    ancient = "4593.2.4"
    release(old.tree, old.signers.good, ancient, OLD_AT - timedelta(days=30), sizes=SMALL, current=False)
    release(old.tree, old.signers.good, NEW, NEW_AT, sizes=SMALL, current=False)
    for name in (f"{STREAM}@{OLD}", f"{STREAM}@{NEW}"):
        assert old.fetch_here(name).rc == 0
    assert old.current() == [f"{STREAM}@{OLD}"]
    back = old.fetch_here(f"{STREAM}@{ancient}")
    assert back.rc == 4, back.out
    assert "[downgrade]" in back.err
    assert "--allow-downgrade" in back.err
    meant = old.fetch_here(f"{STREAM}@{ancient}", "--allow-downgrade", "--use")
    assert meant.rc == 0, meant.err
    assert old.current() == [f"{STREAM}@{ancient}"]
    again = old.fetch_here(f"{STREAM}@{OLD}", "-o", "json")
    assert again.json() == [
        {"image": STREAM, "version": OLD, "arch": "amd64", "fetched": False, "current": False, "pinned": True}
    ]
    nowhere = old.fetch_here(f"{STREAM}@4593.2.9")
    assert nowhere.rc == 5, nowhere.out


NOBODY_KNOWS: Final = (
    ("flatcr/stable", "did you mean 'flatcar'"),
    ("flatcar/stabel", "it has stable, beta, alpha, lts"),
    ("Flatcar/stable", "write os/stream"),
    ("flatcar/", "write os/stream"),
    ("flatcar/lts-1999", "no stream of flatcar"),
    ("flatcar/stable@../4593.2.5", "write os/stream"),
    ("flatcar/stable@", "write os/stream"),
    ("fedora-coreos/lts", "it has stable, testing, next"),
    ("fedora/stable", "'fedora-coreos'"),
    ("ipxe/beta", "it has stable"),
    ("coreos/stable", "no operating system"),
    ("local/arm64", "choose another name"),
    ("local/current", "choose another name"),
    ("local/../x", "write os/stream"),
)


def test_names_that_nobody_knows(empty: Site) -> None:
    for name, said in NOBODY_KNOWS:
        answer = empty.fetch_here(name)
        assert answer.rc == 3, answer.err
        assert said in answer.err
    assert empty.mirror.requests() == []


def test_what_profiles_name(old: Site) -> None:
    inventory(old, "local/tool")
    nothing = old.call("images", "fetch")
    assert nothing.rc == 3, nothing.out
    assert "no profile names an image" in nothing.err
    night = old.run("images", "fetch", "--no-pin", "-o", "json")
    assert (night.rc, night.json()) == (0, []), "a timer that finds nothing to do has not failed"
    assert "no profile names an image that could be fetched: nothing to do" in night.err
    inventory(old, STREAM, f"{STREAM}@{NEW}", "local/tool")
    release(old.tree, old.signers.good, NEW, NEW_AT, sizes=SMALL, current=False)
    said = old.run("images", "fetch", "-o", "json")
    assert said.rc == 0, said.err
    assert [(row["version"], row["fetched"], row["current"]) for row in said.json()] == [
        (OLD, True, True), (NEW, True, False),
    ]  # fmt: skip
    assert "local/tool" not in said.out
    rack = Path(old.paths.inventory / "rack.toml")
    rack.write_text(rack.read_text() + "[profile\n")
    broken = old.call("images", "fetch")
    assert broken.rc == 3, broken.out
    assert f"{rack}" in broken.err


# --- images of one's own ---


def test_a_directory_becomes_an_image(empty: Site, tmp_path: Path) -> None:
    first, second = local_folder(tmp_path / "one"), local_folder(tmp_path / "two", "two")
    for fetched in (True, False):
        said = empty.fetch("local/tool", "--from", str(first), "-o", "json")
        assert said.rc == 0, said.err
        (row,) = said.json()
        assert (row["fetched"], row["current"]) == (fetched, True)
    (version,) = (r["version"] for r in empty.rows().values())
    assert row["version"] == version
    stamp = datetime.strptime(f"{version} +0000", "%Y%m%d.%H%M%S %z")
    assert abs(datetime.now(stamp.tzinfo) - stamp) < timedelta(minutes=5)
    other = empty.fetch_here("local/tool", "--from", str(second))
    assert other.rc == 0, other.err
    assert len(empty.rows()) == 2
    assert empty.current() == [f"local/tool@{version}"]
    third = empty.fetch_here("local/other@1.0", "--from", str(first))
    assert third.rc == 0, third.err
    changed = empty.fetch_here("local/other@1.0", "--from", str(second))
    assert changed.rc == 4, changed.out
    assert "[changed-since-pinned]" in changed.err
    empty.assert_nothing_unproven()


def test_a_directory_that_is_no_image(empty: Site, tmp_path: Path) -> None:
    lacking = local_folder(tmp_path / "lacking", without=["vmlinuz"])
    linked = local_folder(tmp_path / "linked", without=["vmlinuz"])
    (linked / "vmlinuz").symlink_to("nothing")
    good = local_folder(tmp_path / "good")
    for args, words in (
        (("local/tool", "--from", str(lacking)), f"{lacking}/vmlinuz: is not there"),
        (("local/tool", "--from", str(linked)), f"{linked}/vmlinuz: is not there"),
        (("local/tool", "--from", str(tmp_path / "none")), "cannot read"),
        (("local/tool", "--from", str(good / "vmlinuz")), "cannot read"),
        (("local/tool",), "--from DIR"),
        ((STREAM, "--from", str(good)), "signatures"),
    ):
        said = empty.fetch_here(*args)
        assert said.rc == 3, said.out
        assert words in said.err
    assert empty.rows() == {}
    (linked / "vmlinuz").unlink()
    (linked / "vmlinuz").symlink_to("initrd.img")  # as distributions lay out /boot
    assert empty.fetch_here("local/tool", "--from", str(linked)).rc == 0


# --- the way there ---


def test_a_proxy_leads_to_the_mirror(old: Site) -> None:
    old.configure(flatcar='mirror = "http://mirror.invalid/{channel}"\nkeys = ["good.asc"]')
    with proxy({"mirror.invalid": old.mirror.port}) as way:
        said = old.fetch(env={"http_proxy": way.url})
        assert said.rc == 0, said.err
        assert "GET http://mirror.invalid/stable/amd64-usr/current/version.txt HTTP/1.1" in way.asked
        assert {line.split("/")[2] for line in way.asked} == {"mirror.invalid"}
        assert len(old.gets(KERNEL)) == 1
        led = len(way.asked)
        around = {"http_proxy": way.url, "no_proxy": "mirror.invalid"}
        said = old.fetch(f"{STREAM}@{NEW}", "--tries", "1", env=around)
        assert said.rc == 5, "without the proxy there is no such host"
        assert len(way.asked) == led
    old.assert_nothing_unproven()


def test_what_needs_no_proxy_uses_none(old: Site) -> None:
    closed = old.fetch("--tries", "2", env={"http_proxy": CLOSED})
    assert closed.rc == 5, closed.out
    assert "cannot reach the server" in closed.err
    assert old.mirror.requests() == []
    direct = old.fetch(env={"http_proxy": CLOSED, "no_proxy": "127.0.0.1"})
    assert direct.rc == 0, direct.err
    other = old.fetch(env={"https_proxy": CLOSED})
    assert other.rc == 0, other.err


# --- whose keys ---


def test_a_new_subkey_counts_when_the_key_file_has_it(empty: Site) -> None:
    with Signer.make("Rotating <rotating@example.com>") as signer:
        place = Path(empty.paths.keys / "good.asc")
        place.write_bytes(signer.cert())
        release(empty.tree, signer, OLD, OLD_AT, sizes=SMALL)
        assert empty.fetch_here().rc == 0
        fresh = signer.rotate(at=OLD_AT + timedelta(days=1))
        release(empty.tree, signer, NEW, NEW_AT, sizes=SMALL)
        before = empty.fetch_here()
        assert before.rc == 4, before.out
        assert "[foreign-key]" in before.err
        assert list(empty.states()) == [f"{STREAM}@{OLD}"]
        place.write_bytes(signer.cert())
        after = empty.fetch_here()
        assert after.rc == 0, after.err
        (key,) = (k for k in keys(empty) if k["file"] == str(place))
        assert {k["fingerprint"] for k in key["signing"]} == {signer.subkeys[0], fresh}
    assert set(empty.states().values()) == {"ok"}


def test_no_key_and_no_way_to_the_project(old: Site) -> None:
    old.configure(flatcar='mirror = "{url}/{channel}"')
    said = old.fetch("--tries", "2", env={"https_proxy": CLOSED})
    assert said.rc == 5, said.out
    assert f"https://{PROJECT}/" in said.err
    assert "cannot reach the server" in said.err
    assert old.rows() == {}


def test_a_key_that_is_not_the_projects(old: Site, tmp_path: Path) -> None:
    """Whoever answers at the project's address hands out a key of his own."""
    old.configure(flatcar='mirror = "{url}/{channel}"')
    trusts = authority(tmp_path)
    key = tmp_path / "project/security/image-signing-key/Flatcar_Image_Signing_Key.asc"
    with (
        mirror(tmp_path / "project", tls=trusts.server(PROJECT)) as project,
        proxy({PROJECT: project.port}) as way,
    ):
        env = {"https_proxy": way.url, "SSL_CERT_FILE": str(trusts.cert)}
        for content, words in (
            (None, "there is none"),
            (b"no key", "no pinned fingerprint is in it"),
            (old.signers.good.cert(), "no pinned fingerprint is in it"),
        ):
            if content is not None:
                write(key, content)
            said = old.fetch(env=env)
            assert said.rc == 4, said.out
            assert "[no-key]" in said.err
            assert words in said.err
            assert PINNED in said.err
        assert way.asked == [f"CONNECT {PROJECT}:443 HTTP/1.1"] * 3
    assert old.rows() == {}
    assert keys(old) == []


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"\xff" * 100, None], ids=["empty", "text", "noise", "none"]
)
def test_a_key_file_without_a_key(old: Site, content: bytes | None) -> None:
    place = Path(old.paths.keys / "good.asc")
    if content is None:
        place.unlink()
    else:
        place.write_bytes(content)
    for command in (("fetch", STREAM), ("keys",)):
        said = old.call("images", *command)
        assert said.rc == 3, said.out
        assert str(place) in said.err
        assert ("cannot be read" if content is None else "holds no OpenPGP certificate") in said.err
        assert "ending.asc" not in said.err
    assert old.mirror.requests() == []


def test_a_signature_where_the_key_should_be(old: Site) -> None:
    place = Path(old.paths.keys / "good.asc")
    place.write_bytes(old.signers.good.sign(b"something", at=OLD_AT))
    said = old.fetch_here()
    assert said.rc == 3, said.out
    assert f"{place}: holds no OpenPGP certificate" in said.err


def test_the_keys_are_listed(empty: Site) -> None:
    said = empty.run("images", "keys", "-o", "json")
    assert said.rc == 0, said.err
    found = {key["file"].rpartition("/")[2]: key for key in said.json()}
    assert set(found) == {"good.asc", "ending.asc"}
    good, ending = empty.signers.good, empty.signers.ending
    assert found["good.asc"] == {
        "os": "flatcar", "fingerprint": good.fingerprint, "user": "Test Buildbot <buildbot@example.com>",
        "revoked": False, "expires": None, "signing": [{"fingerprint": good.subkey, "expires": None}],
        "file": str(empty.paths.keys / "good.asc"),
    }  # fmt: skip
    assert found["ending.asc"]["fingerprint"] == ending.fingerprint
    assert datetime.fromisoformat(found["ending.asc"]["expires"]) == ENDS
    assert found["ending.asc"]["signing"][0]["fingerprint"] == ending.subkey
    empty.configure(fedora_coreos='keys = ["good.asc"]')
    table = empty.call("images", "keys")
    assert table.rc == 0, table.err
    assert f"pinned, not here yet: flatcar {PINNED}" in table.out
    assert "pinned, not here yet: fedora-coreos" not in table.out


def keys(site: Site) -> list[dict[str, Any]]:
    said = site.call("images", "keys", "-o", "json")
    assert said.rc == 0, said.err
    found: list[dict[str, Any]] = said.json()
    return found
