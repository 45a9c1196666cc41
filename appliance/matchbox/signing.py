"""Detached OpenPGP signatures over what the endpoint sends: the key, its passphrase, and how much is signed.

The signatures are of type 0x00 (binary document), over exactly the octets that the plain path sends;
Matchbox's are of type 0x01 (text), whose verifier forgives other line ends.
"""

from __future__ import annotations

import asyncio
import stat
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from appliance.errors import OperatorError
from appliance.matchbox.request import SignatureForm
from appliance.system.files import read_regular

if TYPE_CHECKING:
    from pysequoia import PySigner, Tsk

PASSPHRASE_VARIABLE: Final = "PXE_APPLIANCE_KEYRING_PASSPHRASE"  # noqa: S105 - a name
CREDENTIAL: Final = "keyring-passphrase"  # LoadCredential= of systemd.exec(5)
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
_MAX_KEYRING: Final = 1 << 20  # octets
_MAX_PASSPHRASE: Final = 4096
_KEPT: Final = 1024  # signatures, of at most about 1 KiB each
_MOST_WAITING: Final = 32
# What the library raises for bytes that are not what they should be.
_FAILURES: Final = (RuntimeError, ValueError, OSError)
_MEND: Final = "export one secret key into it: gpg --export-secret-keys FINGERPRINT"
_GIVE_PASSPHRASE: Final = (
    f"set {PASSPHRASE_VARIABLE}, or the systemd credential {CREDENTIAL}, for the service"
)


class KeyringError(OperatorError):
    """The keyring cannot be used. The message goes on from the file's name."""


class KeyringLocked(KeyringError):
    """The key is encrypted, and nobody gave its passphrase."""


class Busy(Exception):
    """More signatures are wanted than are made at a time."""


class SigningKey:
    """A private key, unlocked. Nothing else holds it, and it prints as no more than its fingerprint."""

    __slots__ = ("_signer", "fingerprint")

    def __init__(self, signer: PySigner, fingerprint: str) -> None:
        self._signer = signer
        self.fingerprint = fingerprint

    def __repr__(self) -> str:
        return f"<SigningKey {self.fingerprint}>"

    def sign(self, content: bytes, form: SignatureForm) -> bytes:
        """A detached signature over `content`.

        Holds the interpreter's lock meanwhile: 0.1 ms with Ed25519, 10 ms with RSA of 4096 bits (measured).
        """
        import pysequoia  # a megabyte of shared library, for the few who sign

        mode, armor = pysequoia.SignatureMode.DETACHED, form is SignatureForm.ARMOURED
        return bytes(pysequoia.sign(self._signer, content, mode=mode, armor=armor))


class Signatures:
    """Signatures by one key: one is made at a time, and kept for whoever asks for the same again.

    The library holds the interpreter's lock while it signs, so after each signature everything else gets as
    much time as it took. What waits beyond a bound is turned away.
    """

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._kept: OrderedDict[tuple[bytes, SignatureForm], bytes] = OrderedDict()
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def over(self, content: bytes, form: SignatureForm) -> bytes:
        """A signature over `content`.

        Raises:
            Busy: too many wait already.
        """
        wanted = (sha256(content).digest(), form)
        if (known := self._known(wanted)) is not None:
            return known
        if self._waiting >= _MOST_WAITING:
            raise Busy
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            if (known := self._known(wanted)) is None:
                known = self._kept[wanted] = await asyncio.to_thread(self._key.sign, content, form)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        finally:
            loop.call_later(loop.time() - started, self._turn.release)
        return known

    def _known(self, wanted: tuple[bytes, SignatureForm]) -> bytes | None:
        known = self._kept.get(wanted)
        if known is not None:
            self._kept.move_to_end(wanted)
        return known


def load_key(file: Path, passphrase: str | None) -> SigningKey:
    """The one secret key in `file`, unlocked and tried. `passphrase` None: none was given. Blocks.

    Raises:
        KeyringLocked: it is encrypted and there is no passphrase.
        KeyringError: it cannot be used, with what to do.
    """
    fingerprint, secret = _the_secret(_content(file))
    key = SigningKey(_unlocked(secret, passphrase), fingerprint)
    try:
        key.sign(b"", SignatureForm.BINARY)
    except _FAILURES as error:
        raise KeyringError(f"cannot sign: {_said(error)}", hint=_MEND) from error
    return key


def open_to_all(file: Path) -> bool:
    """Whether every user of this host may read the key; False where that cannot be told."""
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def given_passphrase(environ: Mapping[str, str]) -> str | None:
    """The passphrase that this process was given, by the environment or by systemd; None: none.

    Raises:
        KeyringError: the credential cannot be read.
    """
    if (said := environ.get(PASSPHRASE_VARIABLE)) is not None:
        return said
    directory = environ.get(_CREDENTIALS)
    if not directory:
        return None
    try:
        raw = read_regular(Path(directory) / CREDENTIAL, _MAX_PASSPHRASE)
        return raw.decode().removesuffix("\n")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"has a passphrase in the credential {CREDENTIAL} that cannot be read: {_said(error)}"
        raise KeyringError(message, hint=_GIVE_PASSPHRASE) from error


def _content(file: Path) -> bytes:
    try:
        return read_regular(file, _MAX_KEYRING)
    except FileNotFoundError as error:
        hint = "put the key there, or take keyring out of the settings"
        raise KeyringError("does not exist", hint=hint) from error
    except (OSError, ValueError) as error:
        hint = "a regular file that the service's user may read: chown root:pxe-appliance, chmod 640"
        raise KeyringError(f"cannot be read: {_said(error)}", hint=hint) from error


def _the_secret(raw: bytes) -> tuple[str, Tsk]:
    """The one secret key among whatever certificates, with its fingerprint."""
    try:
        from pysequoia import Tsk
        from pysequoia.packet import Packet, PacketPile, Tag
    except ImportError as error:
        raise KeyringError("cannot be used without pysequoia", hint="pip install -U pysequoia") from error
    found: list[list[Packet]] = []
    try:
        for packet in PacketPile.from_bytes(raw):
            if packet.tag in (Tag.PublicKey, Tag.SecretKey) or not found:
                found.append([])
            found[-1].append(packet)
        secret = [packets for packets in found if packets[0].tag == Tag.SecretKey]
        if len(secret) == 1:
            return (secret[0][0].fingerprint or "").upper(), Tsk.from_packets(secret[0])
    except _FAILURES as error:
        raise KeyringError(f"holds no OpenPGP key: {_said(error)}", hint=_MEND) from error
    what = f"{len(secret)} secret keys" if secret else "no secret key"
    raise KeyringError(f"holds {what}, where one is expected", hint=_MEND)


def _unlocked(key: Tsk, passphrase: str | None) -> PySigner:
    try:
        return key.signer()
    except _FAILURES as error:
        if "encrypted" not in str(error):
            raise KeyringError(f"holds no key that may sign now: {_said(error)}", hint=_MEND) from error
    if passphrase is None:
        raise KeyringLocked("is encrypted, and no passphrase is given", hint=_GIVE_PASSPHRASE)
    try:
        return key.signer(passphrase)
    except _FAILURES as error:
        raise KeyringError("is not unlocked by the passphrase given", hint=_GIVE_PASSPHRASE) from error


def _said(error: Exception) -> str:
    """One line: the library sends a stack along."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or ["it is damaged"])[0][:200]
