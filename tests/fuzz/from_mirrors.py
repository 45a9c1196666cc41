"""Parsers of what mirrors, carried bundles, an external Matchbox, webhook receivers and assets say."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError, Message

from appliance.daemon import proof_files, proof_script
from appliance.daemon.webhook_message import answer_words, retry_after
from appliance.doctor.boot_files import is_signed
from appliance.errors import OperatorError, SurroundingsError
from appliance.images.bundle import Carried, read_bundle
from appliance.images.coreos_layout import CONTAINER_LINUX, FLATCAR
from appliance.images.fedora_coreos import FEDORA_COREOS
from appliance.images.fetch import _redirected
from appliance.images.model import (
    ReleasePlan,
    Role,
    StoredFile,
    StoredRelease,
    Stream,
    parse_asset_path,
    parse_release,
)
from appliance.images.openpgp import Certificate, forecast, inspect, verify_text
from appliance.images.reach import host_of, literal, nearness
from appliance.images.record import parse_record
from appliance.images.source import Ask, UnreadableIndex
from appliance.images.trust import Keyring, ListedDigest, Signature, SignedText, Untrusted, listed_digest
from appliance.images.unpack import unpack_ipxe
from appliance.matchbox.ask import Script, compare_script, not_a_script, parse_script
from appliance.matchbox.ask_ignition import compare_ignition
from appliance.matchbox.model import Boot, Group, Profile
from appliance.matchbox.rpc_messages import group_of, message, profile_of
from appliance.matchbox.sniff import content_type
from appliance.matchbox.tool_messages import flaws_of
from tests.fuzz.parser import CORPUS, NotOurs, Parser, any_text

_AT: Final = datetime(2025, 1, 31, 4, 5, 6, tzinfo=UTC)
_SIGNED: Final = Signature("A" * 40, "B" * 40, _AT)
_CERTIFICATE: Final = (CORPUS / "certificates/usual").read_bytes()
_KEYS: Final = Keyring(frozenset({"5450A7BF7B717674F88B8677A48A7937A90B5B3A"}), (_CERTIFICATE,))
_BASE: Final = "http://matchbox.example.com:8080/ipxe"
_ASK: Final = Ask(Stream("fedora-coreos", "stable"), None, "https://builds.coreos.fedoraproject.org")


def _layout(source: object, os: str, version: str | None = None) -> Callable[[bytes], ReleasePlan]:
    def plan(data: bytes) -> ReleasePlan:
        assert hasattr(source, "plan")
        found: ReleasePlan = source.plan(
            Ask(Stream(os, "stable"), version, "https://mirror.example.com"), data
        )
        return found

    return plan


def _digests(data: bytes) -> ListedDigest | None:
    return listed_digest(
        SignedText(data.decode("utf-8", "replace"), _SIGNED), "flatcar_production_pxe.vmlinuz"
    )


def _bundle(data: bytes) -> list[Carried]:
    """As `images bundle import` opens it, every member read."""
    try:
        tar = tarfile.open(fileobj=io.BytesIO(data), mode="r:")  # noqa: SIM115 - closed below
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise NotOurs from error
    with tar:
        found = read_bundle(tar, Path("a.tar"))
        for carried in found:
            for name in list(carried.files.members):
                with suppress(tarfile.TarError, EOFError, ValueError, OSError):
                    for _ in carried.files.pieces(name):
                        pass
        return found


def _ipxe_archive(data: bytes) -> list[StoredFile]:
    proven = StoredFile(
        "ipxeboot.tar.gz", Role.ARCHIVE, len(data), "0" * 128, "https://x", "A" * 40, "", None
    )
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive")
        archive.write_bytes(data)
        return list(unpack_ipxe(archive, Path(folder), proven))


def _clearsigned(data: bytes) -> SignedText:
    return verify_text("DIGESTS", data, _KEYS)


def _detached(data: bytes) -> None:
    forecast("a.sig", data, _KEYS)


def _certificates(data: bytes) -> tuple[Certificate, ...]:
    return inspect([data])


def _asset_name(data: bytes) -> object:
    name = any_text(data)
    return (parse_asset_path(name, frozenset({"flatcar"})), parse_release(name))


def _redirect(data: bytes) -> str:
    place = _redirected("http://mirror.example.com/a", "http://mirror.example.com/a", any_text(data))
    address = literal(host_of(place))
    if address is not None:
        nearness(address)
    return place


def _script(data: bytes) -> Script | None:
    """A boot script of an external Matchbox, read for `prove` and compared for the endpoint's health."""
    words = data.decode("utf-8", "replace")
    script = parse_script(words)
    if script is not None:
        compare_script(Boot("http://x/k", ("http://x/i",), ("a=b",)), script, _BASE)
    found = proof_script.loads(words, _BASE, {"mac": "52:54:00:aa:00:01"})
    for url in [proof_script.chained(words, _BASE, {})] + ([found.kernel, *found.initrds] if found else []):
        proof_script.can_be_fetched(url)
    proof_script.goes_to(words)
    not_a_script("text/html", data)
    return script


def _served_file(data: bytes) -> str:
    said = proof_files.kernel_looks(data[: proof_files.HEAD]).said
    proof_files.initrd_looks(data[: proof_files.HEAD])
    is_signed(data)
    content_type("", data[:512])
    return said


def _ignition_document(data: bytes) -> str:
    fault = proof_files.ignition_fault(data)
    if not fault:
        proof_files.ignition_version(data)
    return fault


def _theirs(data: bytes) -> tuple[str, ...]:
    return compare_ignition(b'{"ignition": {"version": "3.3.0"}, "storage": {"files": []}}', data)


def _grpc_group(data: bytes) -> Group:
    return group_of(_message("storagepb.Group", data))


def _grpc_profile(data: bytes) -> Profile:
    return profile_of(_message("storagepb.Profile", data))


def _message(name: str, data: bytes) -> Message:
    try:
        return message(name).FromString(data)
    except DecodeError as error:  # grpc answers the call with INTERNAL then
        raise NotOurs from error


def _receiver(data: bytes) -> float:
    value = any_text(data)
    answer_words(301, value)
    return retry_after(value, _AT)


def _tool(data: bytes) -> tuple[object, ...]:
    return flaws_of(data.decode("utf-8", "replace"))


def _parsers() -> Iterator[Parser]:
    bad_index = (UnreadableIndex,)
    yield Parser(
        "flatcar-version", _layout(FLATCAR, "flatcar"), ReleasePlan, bad_index, words=("FLATCAR_VERSION=",)
    )
    yield Parser("coreos-version", _layout(CONTAINER_LINUX, "container-linux"), ReleasePlan, bad_index)
    yield Parser("fedora-stream", _layout(FEDORA_COREOS, "fedora-coreos"), ReleasePlan, bad_index)
    release = _layout(FEDORA_COREOS, "fedora-coreos", "44.20260707.3.1")
    yield Parser("fedora-release", release, ReleasePlan, bad_index)
    yield Parser(
        "digests", _digests, (ListedDigest, type(None)), (Untrusted,), words=("# SHA512 HASH", "vmlinuz")
    )
    untrusted = (Untrusted, SurroundingsError)
    yield Parser("clearsigned", _clearsigned, SignedText, untrusted, most=1 << 16, cost=100)
    yield Parser("detached-signature", _detached, type(None), untrusted, most=1 << 16, cost=100)
    yield Parser("certificates", _certificates, tuple, (SurroundingsError,), most=1 << 16, cost=100)
    yield Parser("bundle", _bundle, list, (OperatorError,), cost=10)
    yield Parser("ipxe-archive", _ipxe_archive, list, (Untrusted, OSError), cost=10)
    yield Parser("release-record", parse_record, StoredRelease, (ValueError,))
    yield Parser(
        "asset-name", _asset_name, tuple, most=8190, words=("flatcar/stable/", "current", "@4593.2.5")
    )
    yield Parser("redirect", _redirect, str, (Untrusted,), most=8190, words=("http://", "https://", "//"))
    yield Parser(
        "their-script", _script, (Script, type(None)), words=("#!ipxe\n", "\nkernel ", "\nchain ", "${mac}")
    )
    yield Parser("served-file", _served_file, str, most=1 << 16, words=("HdrS", "MZ", "PE\0\0", "\x1f\x8b"))
    yield Parser("their-ignition", _ignition_document, str)
    yield Parser("compared-ignition", _theirs, tuple, words=("data:;base64,", "data:,%41"))
    yield Parser("grpc-group", _grpc_group, Group)
    yield Parser("grpc-profile", _grpc_profile, Profile)
    yield Parser("receiver-answer", _receiver, float, most=8190)
    yield Parser("tool-messages", _tool, tuple, words=("error at $.storage.files.0.path, line 3 col 4: ",))


FROM_MIRRORS: Final = tuple(_parsers())
