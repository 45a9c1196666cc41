"""What goes wrong in every rack, for real: each cause is named in time, with what to do about it.

It needs what `test_lab` needs, and like it never skips.
"""

from __future__ import annotations

import re

import pytest

from tests.e2e.test_lab import lab, left_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

CAUSES = (
    "node1's kernel is not where its profile says",
    "node2 has the MAC 52:54:00:1a:b0:02, written down as 52:54:00:1a:b0:09",
    "the second NIC of node3 is on the PXE VLAN",
    "another DHCP server answers",
    "the endpoint is stopped",
    "node4 waits for it",
)


def test_every_cause_is_named_within_65_seconds_with_its_remedy() -> None:
    with lab("--faults") as process:
        said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    for cause in CAUSES:
        found = re.search(
            rf"^ok +{re.escape(cause)}: named by pxe-appliance .* after ([0-9]+) s$", said, re.MULTILINE
        )
        assert found, f"{cause}: {said}"
        assert int(found[1]) <= 65
    told = said.splitlines()
    commands = [n for n, line in enumerate(told) if re.match(r" *[0-9.]+ s  \$ pxe-appliance ", line)]
    assert len(commands) == len(CAUSES)
    assert all(re.match(r" +→ \S", told[n + 2]) for n in commands), "each has a remedy"
    assert "pxe-appliance machine replace-mac node2" in said
    assert left_of(process.pid) == []
