"""A Matchbox data directory in the place of ours: the running appliance answers as the real Matchbox did.

Asked from the appliance's own host, at its address on the PXE network: the one machine that may read what an
operator's groups hold without having a lease.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from appliance.matchbox.signing import PASSPHRASE_VARIABLE
from tests.corpus.recorded import CASES, DEVIATIONS, HERE, asked, judged
from tests.fakes.keyrings import export
from tests.fakes.matchbox_endpoint import Reply, ask
from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.wire import inside, wait_until

pytestmark = pytest.mark.netns

ADDRESS, PORT = "172.0.1.1", 8080
# Matchbox has nothing there; the appliance around the endpoint has.
OURS = frozenset({"/metrics"})
# A machine of our own beside the operator's groups, which say nothing about it.
INVENTORY = '[machine.other]\nmac = "52:54:00:99:00:01"\nip = "172.0.1.21"\n'


@pytest.fixture
def datasets(open_tmp: Path) -> Path:
    """The recorded data directories, with their times and links."""
    with tarfile.open(HERE / "data.tar") as archive:
        archive.extractall(open_tmp)
    return open_tmp / "data"


def drop(appliance: Appliance, data: Path) -> None:
    """Put a data directory in the place of the appliance's, as `cp -a` and `mv` do."""
    place = appliance.root / "etc/pxe-appliance/matchbox"
    fresh, old = place.with_name("matchbox.new"), place.with_name("matchbox.old")
    shutil.copytree(data, fresh, symlinks=True)
    place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old)


def wrong(namespace: str, cases: list[dict[str, Any]]) -> list[str]:
    """Everything that is not answered as recorded."""
    return inside(
        namespace, lambda: [said for case in cases if (said := judged(case, asked(PORT, case, ADDRESS)))]
    )


def _await(namespace: str, case: dict[str, Any]) -> None:
    wait_until(lambda: not wrong(namespace, [case]), f"{case['dataset']} to be served")


def test_recorded_cases_over_the_wire(appliance: Appliance, datasets: Path) -> None:
    appliance.write(inventory=INVENTORY)
    drop(appliance, datasets / "edge")
    appliance.serve()
    assert appliance.namespace is not None
    names = sorted({case["dataset"] for case in CASES}, key=lambda name: name != "edge")
    asked_for = 0
    for name in names:
        if name != "edge":
            drop(appliance, datasets / name)  # while it serves
        cases = [
            case
            for case in CASES
            if (case["dataset"], case["server_mode"]) == (name, "normal") and case["target"] not in OURS
        ]
        asked_for += len(cases)
        first = next(case for case in cases if case["target"].startswith("/ipxe"))
        _await(appliance.namespace, first)
        assert wrong(appliance.namespace, cases) == []
    assert asked_for == 260 - len(OURS)
    reasons = [event["detail"].get("reason", "") for event in appliance.events("http-error")]
    for deviation in set(DEVIATIONS.values()):
        assert any(deviation.reason in reason for reason in reasons), f"nothing said: {deviation.what}"


def test_without_assets_there_are_none(appliance: Appliance, datasets: Path) -> None:
    """Matchbox has a flag for it; here one leaves the directory out."""
    appliance.write(inventory=INVENTORY)
    shutil.rmtree(datasets / "edge/assets")
    drop(appliance, datasets / "edge")
    appliance.serve()
    assert appliance.namespace is not None
    cases = [case for case in CASES if case["server_mode"] == "noassets"]
    assert len(cases) == 3
    assert wrong(appliance.namespace, cases) == []


def test_signatures_of_the_running_appliance(appliance: Appliance, datasets: Path, tmp_path: Path) -> None:
    key = export("ed25519", "hunter2")
    keyring = appliance.root / "etc/pxe-appliance/keys.d/signing.pgp"
    keyring.parent.mkdir(parents=True)
    keyring.write_bytes(key.secret)
    keyring.chmod(0o640)
    appliance.write(settings=f'{SETTINGS}[matchbox]\nkeyring = "signing.pgp"\n', inventory=INVENTORY)
    drop(appliance, datasets / "edge")
    assert "is not checked: it is encrypted" in appliance.run("check").stderr
    appliance.environment = {PASSPHRASE_VARIABLE: "hunter2"}
    assert appliance.run("check").stderr.count("signing.pgp") == 0
    appliance.serve()

    def reply(target: str) -> Reply:
        return inside(appliance.namespace or "", lambda: ask(PORT, target, host=ADDRESS))

    for name in ("ipxe", "ignition", "metadata", "boot.ipxe.0"):
        content = reply(f"/{name}?case=noid").body
        for ending, verifier in (("sig", "gpgv"), ("asc", "sqv")):
            signature = reply(f"/{name}.{ending}?case=noid")
            assert signature.status == 200
            assert key.verified_by(verifier, tmp_path, signature.body, content)
    keyring.unlink()
    wait_until(lambda: reply("/ipxe.sig?case=noid").body == b"404 page not found\n", "the key to be missed")
    (found,) = (p for p in appliance.status()["problems"] if p["id"] == "keyring")
    assert f"{keyring} does not exist" in found["message"]
    assert found["fix"]
    assert "hunter2" not in appliance.log()
    assert "hunter2" not in str(appliance.status())
    assert appliance.run("check", rc=3).stderr.count(f"{keyring}: does not exist") == 1
