"""Certificates that are wrong in each way: the message names the file, or the host, and what to do."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import SurroundingsError
from appliance.matchbox.push_tls import TlsFiles, try_credentials
from tests.fakes.certificates import Authority, authority
from tests.fakes.matchbox_grpc import Matchbox, matchbox
from tests.push.rooms import Keys, Side, by_grpc
from tests.unit.matchbox.machines import machine


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody knows."""
    return authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def service(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matchbox]:
    """A Matchbox with a sound certificate for localhost."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "groups").mkdir()
    with matchbox(folder, keys.authority, keys.server) as running:
        yield running


@pytest.fixture
def side(service: Matchbox, keys: Keys, tmp_path: Path) -> Side:
    """An appliance whose files are right, so far."""
    return by_grpc(tmp_path / "root", keys, service)


def failure(side: Side) -> str:
    """What is said, which is a problem, and keeps nobody from asking the HTTP side."""
    report = side.hand_over(machine())
    assert report.written == ()
    assert report.reachable
    assert report.problems()[0] == report.failure
    return report.failure


@pytest.mark.parametrize("name", ["matchbox-ca.crt", "matchbox-client.crt", "matchbox-client.key"])
def test_a_file_that_is_missing_unreadable_or_no_pem(side: Side, name: str) -> None:
    path = side.key_file(name)
    path.write_bytes(b"\x30\x82 DER")
    what = "no private key in PEM form" if name.endswith("key") else "no certificate in PEM form"
    assert failure(side).startswith(f"cannot use {path}: it holds {what} (")
    path.unlink()
    assert failure(side).startswith(f"cannot read {path}: No such file or directory (put ")
    path.mkdir()
    assert failure(side).startswith(f"cannot use {path}: it is not a regular file (")


def test_a_key_of_another_certificate(side: Side, keys: Keys) -> None:
    shutil.copy(keys.server[1], side.key_file("matchbox-client.key"))
    certificate = side.key_file("matchbox-client.crt")
    assert failure(side) == (
        f"cannot use {side.key_file('matchbox-client.key')}: it is not the key of {certificate} "
        "(take the key that was made with it)"
    )


def test_a_key_with_a_passphrase_asks_nobody(side: Side, keys: Keys) -> None:
    path = side.key_file("matchbox-client.key")
    command = ["openssl", "pkey", "-in", str(keys.client[1]), "-aes256", "-passout", "pass:x"]
    command += ["-out", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert failure(side).startswith(f"cannot use {path}: it is protected by a passphrase")


def test_a_server_of_an_unknown_authority(side: Side, service: Matchbox, other: Authority) -> None:
    ca = side.key_file("matchbox-ca.crt")
    shutil.copy(other.cert, ca)
    assert failure(side) == (
        f"cannot push: the certificate of Matchbox at {service.grpc} is not signed by {ca} "
        f"(copy the certificate of the authority that signed it to {ca})"
    )


def test_a_server_of_another_name(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    address = service.grpc.replace("localhost", "127.0.0.1")
    said = failure(by_grpc(tmp_path / "root", keys, service, address=address))
    assert said.startswith(
        f"cannot push: the certificate of Matchbox at {address} is not one for '127.0.0.1' ("
    )
    assert "subjectAltName" in said


def test_a_server_whose_certificate_is_over(keys: Keys, data: Path, tmp_path: Path) -> None:
    with matchbox(data, keys.authority, keys.authority.expired("localhost")) as service:
        said = failure(by_grpc(tmp_path / "root", keys, service))
    assert said.startswith(
        f"cannot push: the certificate of Matchbox at {service.grpc}, or of its authority "
    )
    assert "has expired" in said


def use(side: Side, pair: tuple[Path, Path]) -> Path:
    """Make this the client's certificate; where it is then."""
    shutil.copy(pair[0], side.key_file("matchbox-client.crt"))
    shutil.copy(pair[1], side.key_file("matchbox-client.key"))
    return side.key_file("matchbox-client.crt")


@pytest.mark.parametrize("whose", ["stranger", "expired"])
def test_a_client_that_a_server_hangs_up_on(
    side: Side, service: Matchbox, keys: Keys, other: Authority, whose: str
) -> None:
    """As gRPC's own server does, without a word."""
    pair = other.server("stranger") if whose == "stranger" else keys.authority.expired("appliance")
    cert = use(side, pair)
    said = failure(side)
    assert said.startswith(f"cannot push: Matchbox at {service.grpc} hangs up as soon as it has seen our ")
    assert f"client certificate {cert} (" in said
    assert "-ca-file" in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("whose", "expected"),
    [
        ("stranger", "does not know who signed our client certificate"),
        ("expired", "has expired (have it renewed)"),
    ],
)
def test_a_client_that_a_server_turns_down(
    side: Side, keys: Keys, other: Authority, whose: str, expected: str, version: ssl.TLSVersion
) -> None:
    """With an alert, as Matchbox does."""
    pair = other.server("stranger") if whose == "stranger" else keys.authority.expired("appliance")
    cert = use(side, pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(*keys.server)
    context.load_verify_locations(keys.authority.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def turn_down() -> None:
            link, _ = listening.accept()
            with link, pytest.raises(ssl.SSLError):
                context.wrap_socket(link, server_side=True)

        thread = threading.Thread(target=turn_down)
        thread.start()
        settings = replace(side.settings, grpc=f"localhost:{listening.getsockname()[1]}")
        said = failure(replace(side, settings=settings))
        thread.join(10)
    assert str(cert) in said
    assert expected in said


def test_the_port_of_the_http_side(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    address = f"localhost:{service.url.rpartition(':')[2]}"
    said = failure(by_grpc(tmp_path / "root", keys, service, address=address))
    assert said == (
        f"cannot push: what listens at {address} does not speak TLS "
        "(write the port of -rpc-address (usually 8081), not the one of the HTTP endpoint)"
    )


def test_nobody_listens(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"localhost:{free.getsockname()[1]}"
        said = failure(by_grpc(tmp_path / "root", keys, service, address=address))
    assert said.startswith(f"cannot reach Matchbox's gRPC side at {address}: Connection refused (")
    assert "-rpc-address" in said


def test_a_name_that_nobody_knows(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    said = failure(by_grpc(tmp_path / "root", keys, service, address="matchbox.invalid:8081"))
    assert said.startswith("cannot reach Matchbox's gRPC side at matchbox.invalid:8081: ")


def test_somebody_who_only_listens(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"localhost:{deaf.getsockname()[1]}"
        with pytest.raises(SurroundingsError) as caught:
            try_credentials(address, TlsFiles(keys.authority.cert, *keys.client), 0.3)
    assert caught.value.message == f"cannot reach Matchbox's gRPC side at {address}: no answer"


def test_somebody_who_hangs_up(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            link, _ = listening.accept()
            link.recv(100)
            link.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        address = f"localhost:{listening.getsockname()[1]}"
        said = failure(by_grpc(tmp_path / "root", keys, service, address=address))
        thread.join(10)
    assert "closed the connection in the middle of the handshake" in said
