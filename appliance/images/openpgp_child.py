"""The process that checks one OpenPGP signature: `python -m appliance.images.openpgp_child`.

A process of its own, because pysequoia holds the interpreter's lock for as long as it hashes (measured: a
5 ms timer beside it got 2 of 235 turns), and because what parses a mirror's bytes should not be what keeps
the store. It reads a request from standard input, and for a file that is still arriving, the file after it;
it answers with one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pysequoia
from pysequoia.packet import HashAlgorithm, Packet, PacketPile, SignatureType, Tag

HEAD: Final = 8  # decimal digits in front of a request: its length
_LONGEST: Final = 64 * 2**20
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_WEAK: Final = (HashAlgorithm.MD5, HashAlgorithm.SHA1, HashAlgorithm.RipeMD)
_BEGIN: Final = b"-----BEGIN PGP SIGNATURE-----"
# What the library raises for bytes that are not what they should be.
_FAILURES: Final = (RuntimeError, ValueError, OSError)


def main() -> None:
    """Answer one request."""
    request = json.loads(_exactly(int(_exactly(HEAD))))
    if "inspect" in request:
        answer = _inspected(request)
    else:
        answer = _forecast(request) if "forecast" in request else _verdict(request)
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")


def _verdict(request: Mapping[str, object]) -> dict[str, object]:
    certificates = list(_pinned(request))
    text = _bytes(request["text"]) if "text" in request else None
    raw = text[text.find(_BEGIN) :] if text is not None else _bytes(request["signature"])
    try:
        signature = _only_signature(raw)
    except _FAILURES:
        return {"refused": "bad-signature"}
    try:
        if text is not None:
            found = pysequoia.verify(bytes=text, store=lambda _: certificates)
        else:
            detached = pysequoia.Sig.from_bytes(raw)
            path = str(request["path"])
            found = pysequoia.verify(file=path, store=lambda _: certificates, signature=detached)
    except _FAILURES:
        return {"refused": _why(signature, certificates)}
    if len(found.valid_sigs) != 1 or signature.signature_created is None:
        return {"refused": "bad-signature"}
    good = found.valid_sigs[0]
    return {
        "primary": good.certificate.upper(),
        "subkey": good.signing_key.upper(),
        "made_at": signature.signature_created.isoformat(),
        "text": (found.bytes or b"").decode("utf-8", "replace") if text is not None else None,
    }


def _forecast(request: Mapping[str, object]) -> dict[str, object]:
    """What can be said of a detached signature before there are bytes for it."""
    try:
        signature = _only_signature(_bytes(request["signature"]))
    except _FAILURES:
        return {"refused": "bad-signature"}
    why = _why(signature, list(_pinned(request)), final=False)
    return {} if why == "bad-signature" else {"refused": why}


def _why(signature: Packet, certificates: Sequence[pysequoia.Cert], *, final: bool = True) -> str:
    """Why a signature was refused, as a case of `trust`: the library has one sentence for all of them.

    Not `final`: only what is sure before anything was verified. What a superseded key signed in its time is
    good, what a compromised one signed is not, and the library alone knows which of them it is.
    """
    keys = {key.fingerprint: key for certificate in certificates for key in _keys(certificate)}
    issuer, key_id = (signature.issuer_fingerprint or "").upper(), (signature.issuer_key_id or "").upper()
    key = keys.get(issuer) or next((k for name, k in keys.items() if key_id and name.endswith(key_id)), None)
    made = signature.signature_created
    if signature.hash_algorithm in _WEAK:
        return "weak-hash"
    if key is None:
        return "foreign-key"
    if made is not None and made > datetime.now(UTC) + _CLOCKS_DIFFER:
        return "future-signature"
    if key.revoked is not None and (final or (made is not None and made > key.revoked)):
        return "revoked-key"
    if key.expires is not None and made is not None and made > key.expires:
        return "expired-key"
    return "weak-hash" if final and key.weakly_bound else "bad-signature"


def _only_signature(raw: bytes) -> Packet:
    """The one signature packet in `raw`.

    Implementations disagree about which of several counts (measured: the first, any, or the last).
    """
    packets = [packet for packet in PacketPile.from_bytes(raw) if packet.tag == Tag.Signature]
    if len(packets) != 1:
        raise ValueError(f"no single signature: {len(packets)} signature packets")
    found: Packet = packets[0]
    return found


def _pinned(request: Mapping[str, object]) -> Iterator[pysequoia.Cert]:
    """Those of the certificates given whose primary fingerprint is a pin; nobody else may speak."""
    pins = request["pins"]
    assert isinstance(pins, list)
    return (c for c in _certificates(request) if c.fingerprint.upper() in pins)


def _certificates(request: Mapping[str, object]) -> Iterable[pysequoia.Cert]:
    given = request["certificates"]
    assert isinstance(given, list)
    found: dict[str, pysequoia.Cert] = {}
    for raw in given:
        try:
            for certificate in pysequoia.Cert.split_bytes(_bytes(raw)):
                known = found.get(certificate.fingerprint)
                # An older copy must neither hide a new subkey nor speak for one that was revoked since.
                found[certificate.fingerprint] = known.merge(certificate) if known else certificate
        except _FAILURES:
            continue
    return found.values()


def _inspected(request: Mapping[str, object]) -> dict[str, object]:
    """What the certificates are: primary keys and the keys that sign, with their ends."""
    facts = []
    for certificate in _certificates(request):
        # From the packets: the library's own properties refuse a certificate that relies on SHA-1.
        packets = PacketPile.from_bytes(bytes(certificate))
        users = [packet.user_id for packet in packets if packet.tag == Tag.UserID and packet.user_id]
        primary = certificate.fingerprint.upper()
        facts.append(
            {
                "fingerprint": primary,
                "user": users[0] if users else "",
                "revoked": any(k.fingerprint == primary and k.revoked for k in _keys(certificate)),
                "raw": b64encode(bytes(certificate)).decode(),
                "signing": [
                    {"fingerprint": k.fingerprint, "expires": k.expires.isoformat() if k.expires else None}
                    for k in _keys(certificate)
                    if k.signs and k.revoked is None
                ],
            }
        )
    return {"certificates": facts}


@dataclass(frozen=True)
class _Key:
    """A key of a certificate, as the newest signature that binds it says; None stands for never."""

    fingerprint: str
    signs: bool
    revoked: datetime | None
    expires: datetime | None
    weakly_bound: bool


def _keys(certificate: pysequoia.Cert) -> Iterator[_Key]:
    key: Packet | None = None
    newest: dict[str, Packet] = {}
    keys: dict[str, Packet] = {}
    revoked: dict[str, datetime] = {}
    for packet in PacketPile.from_bytes(bytes(certificate)):
        if packet.tag in (Tag.PublicKey, Tag.PublicSubkey):
            key = packet
            keys[(key.fingerprint or "").upper()] = key
        elif packet.tag == Tag.Signature and key is not None and packet.signature_created is not None:
            name = (key.fingerprint or "").upper()
            if packet.signature_type in (SignatureType.SubkeyRevocation, SignatureType.KeyRevocation):
                revoked[name] = min(packet.signature_created, revoked.get(name, packet.signature_created))
            elif name not in newest or packet.signature_created >= newest[name].signature_created:
                newest[name] = packet
    primary = certificate.fingerprint.upper()
    ends = {name: _end(keys[name], binding) for name, binding in newest.items()}
    for name, binding in newest.items():
        # What the primary key cannot do any more, its subkeys cannot either.
        known = [end for end in (ends[name], ends.get(primary)) if end is not None]
        yield _Key(
            name,
            bool(binding.key_flags and binding.key_flags.signing),
            revoked.get(name) or revoked.get(primary),
            min(known, default=None),
            binding.hash_algorithm in _WEAK or newest.get(primary, binding).hash_algorithm in _WEAK,
        )


def _end(key: Packet, binding: Packet) -> datetime | None:
    lasts, created = binding.key_validity_period, key.key_created
    return created + lasts if lasts and created else None


def _bytes(value: object) -> bytes:
    return b64decode(str(value))


def _exactly(length: int) -> bytes:
    """Unbuffered: what follows belongs to the library, which opens standard input by its name."""
    if length > _LONGEST:
        raise SystemExit("the request is too long")
    parts = bytearray()
    while len(parts) < length:
        part = os.read(0, length - len(parts))
        if not part:
            raise SystemExit("the request ended early")
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    main()
