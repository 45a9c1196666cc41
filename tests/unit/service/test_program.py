"""A program is fit for a service when root alone can change it, and when the service can see it."""

from __future__ import annotations

import pytest

from appliance.service.program import Step, unfit

ROOT = Step("/opt/x", 0o755, 0, 0, directory=True)


def test_what_root_alone_writes() -> None:
    assert list(unfit([ROOT, Step("/opt/x/y", 0o644, 0, 50, directory=False)])) == []
    assert list(unfit([Step("/", 0o775, 0, 0, directory=True)])) == [], "root's own group is root"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("/home/anna/.local/bin/pxe-appliance", 0o755, 0, 0, False), "below /home"),
        (Step("/root", 0o700, 0, 0, True), "below /root"),
        (Step("/tmp/venv", 0o755, 0, 0, True), "below /tmp"),
        (Step("/run/user/0/venv", 0o755, 0, 0, True), "below /run/user"),
        (Step("/opt/x", 0o755, 1000, 0, True), "belongs to uid 1000"),
        (Step("/opt/x", 0o757, 0, 0, True), "every user of this host can change /opt/x"),
        (Step("/opt/x/module.py", 0o666, 0, 0, False), "every user of this host can change"),
        (Step("/usr/local/lib", 0o2775, 0, 50, True), "group 50 can change /usr/local/lib"),
    ],
)
def test_what_somebody_else_could_change_or_the_service_cannot_see(step: Step, words: str) -> None:
    reasons = list(unfit([ROOT, step, step]))
    assert len(reasons) == 1
    assert words in reasons[0]


def test_a_name_that_only_begins_so_is_another_place() -> None:
    assert list(unfit([Step("/homestead/x", 0o755, 0, 0, True), Step("/rooted", 0o755, 0, 0, True)])) == []


def test_a_sticky_directory_lets_nobody_swap_what_is_roots() -> None:
    assert list(unfit([Step("/srv/shared", 0o1777, 0, 0, True)])) == []
    assert list(unfit([Step("/srv/shared/x", 0o1666, 0, 0, False)]))
