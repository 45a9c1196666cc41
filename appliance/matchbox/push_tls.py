"""The certificates of a push by gRPC, tried beforehand: what is wrong, in which file, and what to do.

gRPC tells of a failed handshake as "unavailable", and of a client certificate that was turned down often as a
connection that closed. The standard library's TLS names both, and refuses what gRPC's would.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from appliance.errors import SurroundingsError
from appliance.system.files import read_regular

_MAX_FILE: Final = 1 << 20
_LISTENS: Final = 1.0  # seconds; in TLS 1.3 a server judges the client's certificate after the handshake
# OpenSSL's X509_V_ERR_... (x509_vfy.h)
_NOT_YET, _EXPIRED = 9, 10
_SELF_SIGNED, _UNKNOWN_ISSUER, _UNVERIFIED = {18, 19}, 20, 21
_WRONG_NAME: Final = {62, 64}
_PLAIN: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Who signed the server's certificate, our client certificate, and its key: PEM files."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """The contents of the three files, found to be usable together."""

    ca: bytes
    cert: bytes
    key: bytes


def try_credentials(address: str, files: TlsFiles, patience: float) -> Credentials:
    """Read the files, and shake hands with `address` (HOST:PORT) once. Blocks up to about `patience` seconds.

    Raises:
        SurroundingsError: a file cannot be used, the server is out of reach, or one does not trust the other.
    """
    context, credentials = _context(files)
    host, _, port = address.rpartition(":")
    try:
        with (
            contextlib.closing(socket.create_connection((host, int(port)), patience)) as link,
            context.wrap_socket(link, server_hostname=host) as secure,
        ):
            protocol = secure.selected_alpn_protocol()
            secure.settimeout(min(_LISTENS, patience))
            stays = _stays(secure)
    except ssl.SSLCertVerificationError as error:
        _mistrust(address, host, files, error)
    except ssl.SSLError as error:
        _turned_down(address, files, error)
    except OSError as error:
        raise _unreachable(address, error) from error
    if protocol != "h2":
        raise SurroundingsError(
            f"cannot push to Matchbox: what listens at {address} speaks TLS, but not gRPC",
            hint="write the port of -rpc-address (usually 8081), not the one of -web-ssl",
        )
    if not stays:
        raise SurroundingsError(
            f"cannot push: Matchbox at {address} hangs up as soon as it has seen our client certificate "
            f"{files.cert}",
            hint="have one signed by the authority that its -ca-file names; what this one is, is shown by "
            f"openssl x509 -noout -issuer -dates -in {files.cert}",
        )
    return credentials


def _stays(secure: ssl.SSLSocket) -> bool:
    """Whether the server goes on; it is the first to speak (RFC 9113, 3.4), and may wait for us."""
    try:
        return bool(secure.recv(1))
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


def _context(files: TlsFiles) -> tuple[ssl.SSLContext, Credentials]:
    ca = _read(files.ca, "put the certificate there that signed Matchbox's own: its -ca-file, usually ca.crt")
    signed = "put a client certificate there, signed by the authority that Matchbox's -ca-file names"
    cert, key = _read(files.cert, signed), _read(files.key, f"put the key there that belongs to {files.cert}")
    _check_certificate(files.ca, ca)
    _check_certificate(files.cert, cert)
    # Not create_default_context(): it is stricter than Matchbox's own tools for making certificates (3.13).
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
    context.set_alpn_protocols(["h2"])
    asked: list[bool] = []

    def no_passphrase() -> str:
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(files.cert, files.key, no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if "MISMATCH" in reason:
            what, hint = f"it is not the key of {files.cert}", "take the key that was made with it"
        elif asked:
            what = "it is protected by a passphrase, which nobody could type"
            hint = f"openssl pkey -in {files.key} -out {files.key}.plain, and name that one"
        else:
            what, hint = "it holds no private key in PEM form", "it begins with -----BEGIN PRIVATE KEY-----"
        raise SurroundingsError(f"cannot use {files.key}: {what}", hint=hint) from error
    except OSError as error:
        raise SurroundingsError(f"cannot read {files.key}: {error.strerror}") from error
    return context, Credentials(ca, cert, key)


def _read(path: Path, hint: str) -> bytes:
    try:
        return read_regular(path, _MAX_FILE)
    except PermissionError as error:
        raise SurroundingsError(
            f"cannot read {path}: {error.strerror}", hint="let the service's user read it: chgrp, chmod 640"
        ) from error
    except OSError as error:
        raise SurroundingsError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise SurroundingsError(f"cannot use {path}: {error}", hint=hint) from error


def _check_certificate(path: Path, content: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise SurroundingsError(
            f"cannot use {path}: it holds no certificate in PEM form",
            hint="it begins with -----BEGIN CERTIFICATE-----; openssl x509 -inform der makes that",
        ) from error


def _mistrust(address: str, host: str, files: TlsFiles, error: ssl.SSLCertVerificationError) -> NoReturn:
    """The server's certificate does not convince us."""
    code = error.verify_code
    whose = f"the certificate of Matchbox at {address}"
    if code in _WRONG_NAME:
        what = f"{whose} is not one for {host!r}"
        hint = f"write a name in grpc that stands in it, or have it made anew with {host} in subjectAltName"
    elif code == _EXPIRED:
        what, hint = f"{whose}, or of its authority {files.ca}, has expired", "have it renewed on the server"
    elif code == _NOT_YET:
        what, hint = f"{whose} is not valid yet", "look at the clocks of both hosts"
    elif code in {*_SELF_SIGNED, _UNKNOWN_ISSUER, _UNVERIFIED}:
        what = f"{whose} is not signed by {files.ca}"
        hint = f"copy the certificate of the authority that signed it to {files.ca}"
    else:
        what, hint = f"{whose} cannot be trusted: {error.verify_message}", f"look at it, and at {files.ca}"
    raise SurroundingsError(f"cannot push: {what}", hint=hint) from error


def _turned_down(address: str, files: TlsFiles, error: ssl.SSLError) -> NoReturn:
    """The server does not take our certificate, or does not speak TLS."""
    reason = error.reason or ""
    where = f"Matchbox at {address}"
    hint = f"have {files.cert} signed by the authority that Matchbox's -ca-file names"
    if "UNKNOWN_CA" in reason:
        what = f"{where} does not know who signed our client certificate {files.cert}"
    elif "CERTIFICATE_EXPIRED" in reason:
        what, hint = f"{where} says that our client certificate {files.cert} has expired", "have it renewed"
    elif "CERTIFICATE" in reason:
        what = f"{where} does not take our client certificate {files.cert} ({_said(reason)})"
        hint += ", for client authentication (extendedKeyUsage clientAuth)"
    elif any(word in reason for word in _PLAIN):
        what = f"what listens at {address} does not speak TLS"
        hint = "write the port of -rpc-address (usually 8081), not the one of the HTTP endpoint"
    else:
        what, hint = f"no TLS with {where}: {_said(reason) or error}", "look into Matchbox's log"
    raise SurroundingsError(f"cannot push: {what}", hint=hint) from error


def _unreachable(address: str, error: OSError) -> SurroundingsError:
    hint = "Matchbox listens for gRPC only when it runs with -rpc-address"
    if isinstance(error, socket.gaierror):
        what, hint = f"{error.strerror}", "look at the name in grpc, and at this host's resolver"
    elif isinstance(error, TimeoutError):
        what = "no answer"
    elif isinstance(error, ConnectionResetError | ssl.SSLEOFError | BrokenPipeError):
        what = "it closed the connection in the middle of the handshake"
    else:
        what = error.strerror or str(error)
    return SurroundingsError(f"cannot reach Matchbox's gRPC side at {address}: {what}", hint=hint)


def _said(reason: str) -> str:
    """OpenSSL's word for an alert, as words."""
    return reason.partition("ALERT_")[2].replace("_", " ").lower() or reason.replace("_", " ").lower()
