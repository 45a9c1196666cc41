"""Deliveries to a real receiver on the loopback, which checks signatures and misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from appliance.boot.events import EventKind
from appliance.daemon import webhook_sending, webhooks
from appliance.daemon.log_lines import Severity
from appliance.daemon.notable import Note, of_event
from appliance.daemon.webhook_message import fate
from appliance.daemon.webhooks import Webhooks
from appliance.errors import Refused, SurroundingsError
from appliance.paths import Paths
from appliance.settings import Notice, WebhookSettings
from tests.fakes.certificates import authority
from tests.fakes.webhook_receiver import Receiver, receiving
from tests.unit.daemon.rooms import event

SECRET = b"0123456789abcdef0123456789abcdef"
HIDDEN = "T0K3N"


@dataclass
class Site:
    """Paths with a secret, and the webhooks of a daemon."""

    paths: Paths
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.hooks = Webhooks(self.paths, lambda name, result: self.counts.update([(name, result)]))

    @property
    def secret(self) -> Path:
        return Path(self.paths.secrets) / "pager"

    def hook(
        self, receiver: Receiver, name: str = "pager", scheme: str = "http", **more: str
    ) -> WebhookSettings:
        url = f"{scheme}://127.0.0.1:{receiver.port}/hooks/{HIDDEN}?key={HIDDEN}"
        return WebhookSettings(name, url, "pager", (Notice.HELD, Notice.PROBLEM), **more)

    @contextlib.asynccontextmanager
    async def using(self, *hooks: WebhookSettings) -> AsyncIterator[Webhooks]:
        self.hooks.use({hook.name: hook for hook in hooks})
        try:
            yield self.hooks
        finally:
            await self.hooks.close()

    def all_words(self, log: pytest.LogCaptureFixture) -> str:
        return log.text + str(self.hooks.problems)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(webhooks, "_FIRST_WAIT", 0.05)
    made = Site(Paths(PurePosixPath(tmp_path)))
    made.secret.parent.mkdir(parents=True)
    made.secret.write_bytes(SECRET + b"\n")
    made.secret.chmod(0o640)
    return made


def held(machine: str = "node1") -> Note:
    note = of_event(event(EventKind.HELD, machine, detail={"reason": "loop"}), first=False)
    assert note is not None
    return note


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of events
            await asyncio.sleep(0.01)


def run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())


def test_a_delivery_is_signed_and_arrives_once(site: Site) -> None:
    with receiving(SECRET) as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held())
                await until(lambda: site.counts["pager", "delivered"])

        run(work())
    (delivery,) = receiver.deliveries
    assert delivery.genuine
    assert delivery.body["type"] == "held"
    assert delivery.path == f"/hooks/{HIDDEN}?key={HIDDEN}"
    assert site.hooks.problems == []


def test_only_what_was_asked_for_is_told(site: Site) -> None:
    with receiving(SECRET) as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                sync = of_event(event(EventKind.SYNC, None, detail={"generation": "2"}), first=False)
                assert sync is not None
                hooks.tell(sync)
                hooks.tell(held())
                await until(lambda: site.counts["pager", "delivered"])

        run(work())
    assert receiver.types == ["held"]


@pytest.mark.parametrize("step", ["500", "503", "429:0", "reset"])
def test_a_failure_that_may_pass_is_tried_again_with_the_same_id(site: Site, step: str) -> None:
    with receiving(SECRET, step, step) as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held())
                await until(lambda: hooks.problems)
                await until(lambda: site.counts["pager", "delivered"])
                assert hooks.problems == []

        run(work())
    assert len(receiver.deliveries) == 3
    assert {d.id for d in receiver.deliveries} == {receiver.deliveries[0].id}
    assert all(d.genuine for d in receiver.deliveries)
    assert site.counts["pager", "retried"] == 2


def test_retry_after_is_honoured_and_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_LONGEST_WAIT", 1.0)
    with receiving(SECRET, "429:86400") as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held())
                await until(lambda: site.counts["pager", "delivered"])

        run(work())
    first, second = receiver.deliveries
    assert 0.9 < second.at - first.at < 5


@pytest.mark.parametrize("step", ["400", "401", "404", "410"])
def test_a_refusal_is_final_and_named_with_its_fix(
    site: Site, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(SECRET, step) as receiver, caplog.at_level(logging.INFO):

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held())
                await until(lambda: site.counts["pager", "failed"])
                (problem,) = hooks.problems
                assert problem["id"] == "webhook"
                assert f"answers {step}" in problem["message"]
                assert problem["fix"]
                assert HIDDEN not in site.all_words(caplog)

        run(work())
    assert len(receiver.deliveries) == 1


def test_a_redirect_is_not_followed(site: Site) -> None:
    with receiving(SECRET) as elsewhere:
        with receiving(SECRET, f"redirect:http://127.0.0.1:{elsewhere.port}/{HIDDEN}") as receiver:

            async def work() -> None:
                async with site.using(site.hook(receiver)) as hooks:
                    hooks.tell(held())
                    await until(lambda: site.counts["pager", "failed"])
                    (problem,) = hooks.problems
                    assert "redirects are not followed" in problem["message"]
                    assert HIDDEN not in problem["message"]

            run(work())
        assert elsewhere.deliveries == []


def test_a_receiver_that_hangs_delays_nobody_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_sending, "PATIENCE", 0.5)
    with receiving(SECRET, "hang") as slow, receiving(SECRET) as quick:

        async def work() -> None:
            async with site.using(site.hook(slow, "slow"), site.hook(quick, "quick")) as hooks:
                hooks.tell(held())
                await until(lambda: site.counts["quick", "delivered"], 0.4)
                assert site.counts["slow", "delivered"] == 0
                await until(lambda: hooks.problems)
                assert "no answer within" in hooks.problems[0]["message"]
                await until(lambda: site.counts["slow", "delivered"])

        run(work())


def test_a_status_counts_though_its_body_never_comes(site: Site) -> None:
    with receiving(SECRET, "silent-body") as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held())
                await until(lambda: site.counts["pager", "delivered"])

        run(work())
    assert len(receiver.deliveries) == 1


def test_the_oldest_goes_when_too_many_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "WAITING", 5)
    with receiving(SECRET, "hang") as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held("node0"))
                await until(lambda: receiver.deliveries)
                for n in range(1, 9):
                    hooks.tell(held(f"node{n}"))
                assert hooks.waiting == {"pager": 5}
                assert site.counts["pager", "dropped"] == 3
                waiting = hooks._hooks["pager"].waiting
                assert b"node4" in waiting[0].body
                assert b"node8" in waiting[-1].body

        run(work())


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o640, "cannot read the secret"),
        (b"short\n", 0o640, "24 are the least"),
        (SECRET, 0o644, "every user of this host may read"),
    ],
)
def test_a_secret_that_cannot_be_used_is_a_problem_until_it_is_mended(
    site: Site, content: bytes | None, mode: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.secret.unlink()
    if content is not None:
        site.secret.write_bytes(content)
        site.secret.chmod(mode)
    with receiving(SECRET) as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held())
                await until(lambda: hooks.problems)
                assert words in hooks.problems[0]["message"]
                assert SECRET.decode() not in site.all_words(caplog)
                site.secret.write_bytes(SECRET)
                site.secret.chmod(0o600)
                await until(lambda: site.counts["pager", "delivered"])
                assert hooks.problems == []

        run(work())
    assert receiver.deliveries[0].genuine


def test_a_certificate_has_to_be_signed_by_one_that_is_named(site: Site, tmp_path: Path) -> None:
    made = authority(tmp_path)
    keys = Path(site.paths.keys)
    keys.mkdir()
    with receiving(SECRET, tls=made.server("127.0.0.1")) as receiver:

        async def untrusted() -> None:
            async with site.using(site.hook(receiver, scheme="https")) as hooks:
                hooks.tell(held())
                await until(lambda: hooks.problems)
                assert "certificate is not trusted" in hooks.problems[0]["message"]

        run(untrusted())
        assert receiver.deliveries == []
        (keys / "pager.crt").write_bytes(made.cert.read_bytes())

        async def trusted() -> None:
            async with site.using(site.hook(receiver, scheme="https", ca="pager.crt")) as hooks:
                hooks.tell(held())
                await until(lambda: site.counts["pager", "delivered"])

        run(trusted())
    assert receiver.deliveries[0].genuine


def test_a_hook_that_is_as_it_was_keeps_what_waits(site: Site) -> None:
    with receiving(SECRET, "hang") as receiver, receiving(SECRET) as other:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held("node1"))
                await until(lambda: receiver.deliveries)
                hooks.tell(held("node2"))
                hooks.use({"pager": site.hook(receiver), "other": site.hook(other, "other")})
                assert hooks.waiting == {"pager": 1, "other": 0}
                hooks.use({"pager": site.hook(other)})
                assert hooks.waiting == {"pager": 0}, "another receiver: what waited was not for it"

        run(work())


def test_a_hook_is_not_told_of_its_own_failures(site: Site) -> None:
    def failing(name: str) -> Note:
        data = {"problem": {"id": "webhook", "message": f"webhook {name}: x"}, "gone": False}
        return Note("problem", Severity.WARNING, "x", notice=Notice.PROBLEM, data=data)

    with receiving(SECRET) as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(failing("pager"))
                hooks.tell(failing("other"))
                await until(lambda: site.counts["pager", "delivered"])

        run(work())
    assert [d.body["data"]["problem"]["message"] for d in receiver.deliveries] == ["webhook other: x"]


def test_a_test_delivery_says_what_was_answered(site: Site) -> None:
    with receiving(SECRET, "200", "500", "hang") as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                told = await hooks.test("pager")
                assert (told["status"], told["body"]) == (200, "thank you \\x1b[31m")
                assert HIDDEN not in str(told)
                with pytest.raises(SurroundingsError, match="it answers 500") as caught:
                    await hooks.test("pager")
                assert HIDDEN not in str(caught.value)
                with pytest.raises(Refused) as refused:
                    await hooks.test("pagr")
                assert "did you mean pager?" in refused.value.hint

        run(work())
    assert receiver.types == ["test", "test"]
    assert all(d.genuine for d in receiver.deliveries)


def test_nobody_at_home_is_said_in_plain_words(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        hook = site.hook(Receiver(SECRET, port=taken.getsockname()[1]))

        async def work() -> None:
            async with site.using(hook) as hooks:
                with pytest.raises(SurroundingsError, match="cannot be reached: Connection refused"):
                    await hooks.test("pager")

        run(work())


@pytest.mark.parametrize(
    ("scheme", "said", "words"),
    [
        ("http", b"\x1b]0;EVIL\x07<b>nonsense</b>\r\n\r\n", "what it answers is not HTTP"),
        ("http", b"", "closed it without an answer"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TLS with it: "),
    ],
)
def test_what_is_no_answer_is_named_and_the_url_s_path_is_not(
    site: Site, scheme: str, said: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(said)
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        hook = site.hook(Receiver(SECRET, port=server.sockets[0].getsockname()[1]), scheme=scheme)
        async with server, site.using(hook) as hooks:
            with pytest.raises(SurroundingsError) as error:
                await hooks.test("pager")
            hooks.tell(held())
            await until(lambda: hooks.problems)
            told = f"{error.value.message} {error.value.hint} {site.all_words(caplog)}"
            assert words in told
            assert HIDDEN not in told
            assert "EVIL" not in told

    run(work())


def test_a_bug_of_ours_costs_one_delivery_and_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = fate

    def broken(status: int) -> object:
        monkeypatch.setattr("appliance.daemon.webhook_sending.fate", real)
        raise LookupError("a bug")

    monkeypatch.setattr("appliance.daemon.webhook_sending.fate", broken)
    with receiving(SECRET) as receiver:

        async def work() -> None:
            async with site.using(site.hook(receiver)) as hooks:
                hooks.tell(held())
                await until(lambda: site.counts["pager", "failed"])
                assert "LookupError" in hooks.problems[0]["message"]
                hooks.tell(held("node2"))
                await until(lambda: site.counts["pager", "delivered"])
                assert not hooks.problems

        run(work())
    assert "LookupError('a bug')" in caplog.text
