"""SMSGate's app between its start and its end: it listens, pulls, sends and reports, each in a task of its own."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

from workers.simulator.backoff import Backoff
from workers.simulator.client import TokenRefused, Unanswered
from workers.simulator.smsgate.client import MobileClient
from workers.simulator.smsgate.events import ServerEvent
from workers.simulator.smsgate.handset import Handset
from workers.simulator.smsgate.registrar import Registrar
from workers.simulator.smsgate.sender import Died, Sender
from workers.simulator.smsgate.wire import MobileMessage, StateReport, read_cancelled

T = TypeVar("T")
P = ParamSpec("P")
OnEvent = Callable[[ServerEvent], None]


class Life:
    """One start of the app. `run` lasts until it is cancelled (killed), `close` was called and all is said, or the phone dies."""

    def __init__(
        self,
        handset: Handset,
        client: MobileClient,
        registrar: Registrar,
        rng: random.Random,
        processed: "deque[float]",
        on_event: OnEvent,
    ) -> None:
        self.is_over = False
        """It takes and sends nothing more; what is to be said may still be under way."""
        self.is_streaming = False
        self.dead_seconds: float | None = None
        """After it died: for how long. None = for ever."""
        self._handset = handset
        self._client = client
        self._registrar = registrar
        self._sender = Sender(handset, rng, processed)
        self._on_event = on_event
        # Patience has randomness of its own: it depends on the router, and fates must not
        times = handset.behaviour.times
        self._backoff = Backoff(random.Random(handset.sims.name), times.retry_seconds, times.longest_retry_seconds)
        self._is_pull_wanted = asyncio.Event()
        self._pulling: asyncio.Timeout | None = None
        self._streaming: asyncio.Timeout | None = None
        self._group: asyncio.TaskGroup | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._fetching: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Life of {self._handset.sims.name} {'over' if self.is_over else 'on'}>"

    async def run(self) -> None:
        """Live. Raises what is a fault of this program only, as an ExceptionGroup."""
        self._handset.reporter.open()
        try:
            await self._registrar.start()
            async with asyncio.TaskGroup() as self._group:
                self._workers = [
                    self._group.create_task(work) for work in (self._listen(), self._pull(), self._sender.run())
                ]
                self._fetch("settings")
                self._fetch("webhooks")
                self._group.create_task(self._handset.reporter.run(self._report))
        except* Died as died:
            first = died.exceptions[0]
            self.dead_seconds = first.dead_seconds if isinstance(first, Died) else None
        finally:
            self.is_over = True
            self.is_streaming = False

    def close(self) -> None:
        """Take and send nothing more; say what is to be said. For a life that has registered."""
        self.is_over = True
        for task in (*self._workers, *self._fetching.values()):
            task.cancel()
        self._handset.hear_results()
        self._handset.reporter.close()

    @property
    def has_begun(self) -> bool:
        """Is it known to the router, and at work?"""
        return bool(self._workers)

    def break_stream(self) -> None:
        """The event stream breaks off; it is opened again."""
        _expire(self._streaming)

    # Calls

    async def _with_token(self, call: Callable[Concatenate[str, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Where the token is refused, after a new registration. Raises Unanswered."""
        while True:
            token = self._registrar.token
            try:
                return await call(token, *args, **kwargs)
            except TokenRefused:
                self._handset.app_counts.refusals += 1
                if not self._handset.behaviour.registers_at_any_refusal:
                    self._handset.app_counts.failed_calls += 1
                    raise Unanswered("the token is refused") from None
                await self._registrar.renew(token)
                if self.is_streaming:
                    self.break_stream()
            except Unanswered:
                self._handset.app_counts.failed_calls += 1
                raise

    async def _report(self, reports: list[StateReport]) -> None:
        await self._with_token(self._client.report, reports)

    # The event stream

    async def _listen(self) -> None:
        behaviour, failures = self._handset.behaviour, 0
        while True:
            opened = self._handset.app_counts.streams
            try:
                async with asyncio.timeout(None) as self._streaming:
                    await self._with_token(self._client.listen, self._on_open, self._take_event)
            except (Unanswered, TimeoutError):
                is_orderly = False
            else:
                is_orderly = True
            finally:
                self._streaming = None
                self.is_streaming = False
            self._handset.app_counts.stream_ends += 1
            if is_orderly and not behaviour.reopens_ended_stream:
                return
            failures = 1 if self._handset.app_counts.streams > opened else failures + 1
            factor = 12 if failures > 10 else 6 if failures > 5 else 1
            await self._handset.conditions.sleep(factor * behaviour.times.reconnect_seconds)

    def _on_open(self) -> None:
        self._handset.app_counts.streams += 1
        self.is_streaming = True
        self._restart_pull()

    def _take_event(self, event: ServerEvent) -> None:
        counts = self._handset.app_counts
        match event.name:
            case "MessageEnqueued":
                counts.enqueued += 1
                self._restart_pull()
            case "MessageCancelled":
                self._take_cancel(event.data)
            case "SettingsUpdated":
                self._fetch("settings")
            case "WebhooksUpdated":
                self._fetch("webhooks")
            case "MessagesExportRequested":
                counts.exports += 1
            case _:
                counts.odd_events += 1
        self._on_event(event)

    def _take_cancel(self, data: str) -> None:
        try:
            message_id = read_cancelled(data)
        except Unanswered:
            self._handset.app_counts.odd_events += 1
            return
        self._handset.app_counts.cancels += 1
        self._cancel(message_id)

    # Pulling

    def _restart_pull(self) -> None:
        """A pull that is under way is abandoned, and what it would have brought with it."""
        self._is_pull_wanted.set()
        _expire(self._pulling)

    async def _pull(self) -> None:
        while True:
            self._is_pull_wanted.clear()
            try:
                async with asyncio.timeout(None) as self._pulling:
                    messages = await self._with_token(self._client.pull, self._handset.settings.order)
            except TimeoutError:
                self._handset.app_counts.abandoned_pulls += 1
                continue
            except Unanswered:
                pause_seconds = self._backoff.next_seconds()
            else:
                self._take(messages)
                self._backoff.reset()
                pause_seconds = self._poll_seconds
            finally:
                self._pulling = None
            if await self._handset.conditions.wait(self._is_pull_wanted, pause_seconds):
                self._backoff.reset()

    @property
    def _poll_seconds(self) -> float:
        own, told = self._handset.behaviour.times.poll_seconds, self._handset.settings.ping_seconds
        return min(own, told) if told > 0 else own

    def _take(self, messages: list[MobileMessage]) -> None:
        handset = self._handset
        handset.app_counts.pulls += 1
        for listed in messages:
            if listed.state == "Cancelling":
                self._cancel(listed.id)
            elif listed.state not in (None, "Pending"):
                continue
            elif handset.store.get(listed.id) is not None:
                handset.app_counts.repeated += 1
                handset.reporter.ask(listed.id)
            else:
                self._take_new(listed)

    def _take_new(self, listed: MobileMessage) -> None:
        try:
            stored = self._handset.store.add(listed, self._handset.conditions.now())
        except ValueError:
            self._handset.app_counts.unreadable += 1
            return
        self._handset.counts_of(stored).taken += 1
        self._sender.wake(urgent=stored.is_expedited)

    def _cancel(self, message_id: str) -> None:
        stored = self._handset.store.get(message_id)
        if stored is not None and stored.state == "Pending":
            self._handset.note(stored, "Cancelled")
            return
        self._handset.app_counts.cannot_cancel += 1
        if stored is not None and self._handset.behaviour.tells_what_it_cannot_cancel:
            self._handset.reporter.ask(message_id)

    # Settings and webhooks

    def _fetch(self, what: str) -> None:
        """One at a time: a new one takes the place of one that is under way."""
        if self._group is None or self.is_over:
            return
        if (under_way := self._fetching.get(what)) is not None:
            under_way.cancel()
        self._fetching[what] = self._group.create_task(self._fetch_settings() if what == "settings" else self._fetch_webhooks())

    async def _fetch_settings(self) -> None:
        self._handset.settings = await self._until_answered(self._client.settings)
        self._handset.app_counts.settings += 1
        self._sender.wake()
        if self._pulling is None and self._handset.settings.ping_seconds:
            self._is_pull_wanted.set()

    async def _fetch_webhooks(self) -> None:
        await self._until_answered(self._client.webhooks)
        self._handset.app_counts.webhooks += 1

    async def _until_answered(self, call: Callable[[str], Awaitable[T]]) -> T:
        times = self._handset.behaviour.times
        backoff = Backoff(random.Random(self._handset.sims.name), times.retry_seconds, times.longest_retry_seconds)
        while True:
            try:
                return await self._with_token(call)
            except Unanswered:
                await self._handset.conditions.sleep(backoff.next_seconds())


def _expire(scope: asyncio.Timeout | None) -> None:
    if scope is not None and not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())
