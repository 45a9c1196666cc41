"""Webhooks: whoever the settings name is told, each by a task of its own, and nobody waits for any of them.

Deliveries wait in memory. A restart loses those that had not arrived; what lasts (a stuck boot, a problem of
`status`) is told again by the daemon that starts, everything else is in `pxe-appliance events`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_any, wait_exponential_jitter
from tenacity.stop import stop_after_attempt, stop_after_delay

from appliance.daemon.notable import Note
from appliance.daemon.status import problem
from appliance.daemon.webhook_message import Message
from appliance.daemon.webhook_sending import Answer, Sender, SendError, TryAgain
from appliance.errors import Refused, SurroundingsError
from appliance.paths import Paths
from appliance.reading import nearest
from appliance.settings import Notice, WebhookSettings
from appliance.system.clock import now

WAITING: Final = 1000  # deliveries of one hook
_FIRST_WAIT: Final = 1.0  # seconds
_LONGEST_WAIT: Final = 300.0
_GIVE_UP: Final = 3600.0  # seconds after the first attempt
_ATTEMPTS: Final = 50
_log = logging.getLogger("pxe-appliance")

Counted = Callable[[str, str], None]  # the hook's name and what became of a delivery


class Hook:
    """One receiver: what waits for it, and what was wrong last."""

    def __init__(self, settings: WebhookSettings, paths: Paths, counted: Counted) -> None:
        self.settings = settings
        self.waiting: deque[Message] = deque()
        self.failure: tuple[str, str] | None = None  # what is wrong and what to do, until one arrives
        self._sender = Sender(settings, paths)
        self._counted = counted
        self._more = asyncio.Event()

    def put(self, message: Message) -> None:
        """Have it delivered; the oldest that waits goes when there are too many."""
        if len(self.waiting) >= WAITING:
            self.waiting.popleft()
            self._counted(self.settings.name, "dropped")
        self.waiting.append(message)
        self._more.set()

    async def deliver(self) -> None:
        """Deliver one after the other, for ever."""
        try:
            while True:
                while not self.waiting:
                    self._more.clear()
                    await self._more.wait()
                await self._deliver(self.waiting.popleft())
        finally:
            await self._sender.close()

    async def attempt(self, message: Message) -> Answer:
        """One attempt, for a test.

        Raises:
            SendError: it did not arrive.
        """
        answer = await self._sender.send(message)
        self.failure = None
        return answer

    async def _deliver(self, message: Message) -> None:
        name = self.settings.name
        try:
            await _retrying(self._again)(self._sender.send, message)
        except SendError as error:
            self.failure = (str(error), error.fix)
            self._counted(name, "failed")
            _log.warning("webhook %s: %s was not delivered: %s", name, message.type, error)
        else:
            if self.failure is not None:
                _log.info("webhook %s: delivers again", name)
            self.failure = None
            self._counted(name, "delivered")

    def _again(self, error: SendError) -> None:
        """An attempt failed, and is made once more."""
        self.failure = (str(error), error.fix)
        self._counted(self.settings.name, "retried")


def _retrying(noted: Callable[[SendError], None]) -> AsyncRetrying:
    backoff = wait_exponential_jitter(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT, jitter=_FIRST_WAIT)

    def wait(state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.after if isinstance(failure, TryAgain) else 0.0
        return max(backoff(state), min(asked, _LONGEST_WAIT))

    def before_sleep(state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        if isinstance(failure, SendError):
            noted(failure)

    return AsyncRetrying(
        retry=retry_if_exception_type(TryAgain),
        stop=stop_any(stop_after_delay(_GIVE_UP), stop_after_attempt(_ATTEMPTS)),
        wait=wait,
        before_sleep=before_sleep,
        reraise=True,
        sleep=asyncio.sleep,
    )


class Webhooks:
    """All of them, as the settings in force name them."""

    def __init__(self, paths: Paths, counted: Counted) -> None:
        self._paths = paths
        self._counted = counted
        self._hooks: dict[str, Hook] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def problems(self) -> list[dict[str, str]]:
        """What does not arrive, and why."""
        found = []
        for name, hook in self._hooks.items():
            if hook.failure is not None:
                why, fix = hook.failure
                message = f"webhook {name}: {hook.settings.place}: {why}"
                found.append(problem("webhook", "warning", message, fix))
        return found

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many deliveries wait, by hook."""
        return {name: len(hook.waiting) for name, hook in self._hooks.items()}

    def use(self, settings: Mapping[str, WebhookSettings]) -> None:
        """Tell these from now on; a hook that is as it was keeps what waits. Inside the loop only."""
        for name in [n for n, hook in self._hooks.items() if settings.get(n) != hook.settings]:
            del self._hooks[name]
            self._tasks.pop(name).cancel()
        for name, wanted in settings.items():
            if name not in self._hooks:
                hook = self._hooks[name] = Hook(wanted, self._paths, self._counted)
                self._begin(name, hook)

    def _begin(self, name: str, hook: Hook) -> None:
        task = self._tasks[name] = asyncio.create_task(hook.deliver(), name=f"webhook {name}")
        task.add_done_callback(partial(self._ended, name, hook))

    def _ended(self, name: str, hook: Hook, task: asyncio.Task[None]) -> None:
        """A bug of ours, met by what a receiver said: the delivery is lost, and the next ones go on."""
        if task.cancelled() or self._hooks.get(name) is not hook or (error := task.exception()) is None:
            return
        why = f"the delivery failed in us: {type(error).__name__}"
        hook.failure = (why, f"pxe-appliance webhook test {name}")
        _log.error("webhook %s: %r", name, error)
        self._counted(name, "failed")
        self._begin(name, hook)

    def tell(self, note: Note) -> None:
        """Tell whoever asked for this kind."""
        message = None
        for name, hook in self._hooks.items():
            if note.notice not in hook.settings.events or _about_itself(note, name):
                continue
            message = message or Message.of(note, now(), secrets.token_hex(16))
            hook.put(message)

    async def test(self, name: str) -> dict[str, object]:
        """Deliver a test at once, by one attempt; what the receiver answered.

        Raises:
            Refused: there is no such webhook.
            SurroundingsError: it did not arrive.
        """
        hook = self._hooks.get(name)
        if hook is None:
            near = nearest(name, self._hooks)
            named = ", ".join(self._hooks) or "none; sync takes up what appliance.toml says"
            hint = f"did you mean {near}?" if near else f"there are: {named}"
            raise Refused(f"there is no webhook {name[:64]!r} in force", hint=hint)
        message = Message.test(now(), secrets.token_hex(16))
        try:
            answer = await hook.attempt(message)
        except SendError as error:
            raise SurroundingsError(
                f"not delivered to {hook.settings.place}: {error}", hint=error.fix
            ) from error
        return {
            "webhook": name,
            "place": hook.settings.place,
            "id": message.id,
            "status": answer.status,
            "seconds": round(answer.seconds, 3),
            "body": answer.body,
        }

    async def close(self) -> None:
        """End all of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._hooks.clear()


def _about_itself(note: Note, name: str) -> bool:
    """A hook is not told that it fails, and afterwards that it did: that would begin anew each time."""
    found = note.data.get("problem")
    if note.notice is not Notice.PROBLEM or not isinstance(found, Mapping):
        return False
    return found.get("id") == "webhook" and str(found.get("message")).startswith(f"webhook {name}:")
