"""What phones of SMSGate's app fetch and report: an adapter over the outbox for seeds that do not ask before they send.

A phone is told a lease's end in its own time (`phone_clock`), keeps it itself, and says afterwards what it did. A pull is no receipt, so
what it was given before is listed again until it has said something of it; what it is to drop is listed as being cancelled; and what it
went silent with is listed with an end that is long over: the app then tells the state of a message that it has, and refuses to send one
that it never got. In either case we learn the truth.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec
import structlog

from router import metrics
from router.clock import Clock
from router.domain import lifecycle
from router.domain.device import Device, sim_of_seed
from router.domain.errors import Unauthorized
from router.domain.lifecycle import Decision, ReportState, Stale, Terms
from router.domain.message import Message
from router.domain.phone_clock import estimate
from router.domain.phone_messages import attempt_of_phone, parse_phone_id, phone_id
from router.domain.rules import Rules
from router.services import observe
from router.services.devices import Devices
from router.services.outbox import Given, Outbox
from router.services.texts import open_text
from router.services.transitions import Step, Transitions
from router.store.redis import Batch
from router.store.seeds import Slip
from router.store.store import Store

_log = structlog.get_logger()
Order = Literal["lifo", "fifo"]
_TRUTHS: frozenset[ReportState] = frozenset({"sent", "delivered", "failed", "cancelled"})
_ERROR_LENGTH = 200
_KEPT = 10_000
_KEPT_SECONDS = 1.0


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a phone's list has it. Times are Unix seconds by the phone's own clock, as far as we know it."""

    id: str
    """New for each attempt: the app drops an id that it has had."""
    to: str
    text: str
    data_port: int
    sim: int
    """Which SIM is to send it; 0 = whichever the phone likes."""
    delivery_report: bool
    encrypted: bool
    priority: int
    valid_until: float
    created_at: float
    is_cancelling: bool


class PhoneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a phone says of one message. `times`: Unix seconds by its own clock, of what it did itself."""

    id: str
    state: ReportState
    error: str | None = None
    times: tuple[float, ...] = ()


class Phones:
    """One per api process."""

    def __init__(
        self, store: Store, devices: Devices, outbox: Outbox, transitions: Transitions, clock: Clock, rules: Rules
    ) -> None:
        self._store = store
        self._devices = devices
        self._outbox = outbox
        self._transitions = transitions
        self._clock = clock
        self._rules = rules
        self._pools: dict[str, tuple[float, Mapping[str, str]]] = {}

    async def pull(self, device: Device, limit: int, order: Order) -> list[Listed]:
        """What the phone is to do, at the most `limit` messages. Raises `Unauthorized` where its token was replaced meanwhile."""
        now = self._clock.now()
        clock = estimate(device.clock, now, self._rules)
        pools = await self.pools(device)
        batch = self._store.batch()
        places: list[tuple[str, int, int, int]] = []
        for seed in device.seed_ids:
            held, unsure = self._store.phones.held(batch, seed), self._store.phones.unsure(batch, seed)
            places.append((seed, self._store.seeds.take(batch, seed, limit, device.token_hash), held, unsure))
        self._touch(batch, device, pools, now)
        answers = await batch.run()
        metrics.PINGS.labels("pull").inc()
        if any(answers[take] is None for _, take, _, _ in places):
            raise Unauthorized("unknown phone")
        taken = [(seed, Slip.parse(member)) for seed, take, _, _ in places for member in answers[take]]
        given = await self._outbox.hand_over(taken, Terms(tells_after=True, margin_seconds=clock.margin_seconds)) if taken else []
        listed = [_listed(item, clock.offset) for item in given]
        known = [(seed, Slip.parse(member)) for seed, _, held, unsure in places for member in (*answers[held], *answers[unsure])]
        listed += await self._listed_again(known[: max(0, limit - len(listed))], clock.offset)
        listed.sort(key=lambda message: (message.created_at, message.id), reverse=order == "lifo")
        return listed

    async def _listed_again(self, known: Sequence[tuple[str, Slip]], offset: float) -> list[Listed]:
        """What the phone was given by an earlier pull, and we want it to think of again."""
        if not known:
            return []
        records = await self._store.messages.load(self._store.batch(), [slip.message_id for _, slip in known])
        listed: list[Listed] = []
        for (seed, slip), stored in zip(known, records, strict=True):
            message = stored.message if stored is not None else None
            attempt = message.attempt(slip.number, seed) if message is not None else None
            if stored is None or message is None or attempt is None:
                continue
            if attempt.state == "ambiguous":
                # Nobody may send it any more; without its text, whatever the phone's clock shows
                silent = Given(seed, message, msgspec.structs.replace(attempt, lease_until=message.created_at), "")
                listed.append(_listed(silent, min(0.0, offset)))
            elif attempt.state == "handed" and (message.state != "dispatched" or attempt is not message.current):
                listed.append(_listed(Given(seed, message, attempt, ""), offset, is_cancelling=True))
            elif attempt.state == "handed" and (text := open_text(self._store.messages, stored)) is not None:
                listed.append(_listed(Given(seed, message, attempt, text), offset))
        return listed

    async def report(self, device: Device, reports: Sequence[PhoneReport]) -> int:
        """Takes a phone's reports in their order; answers how many changed something. What it reports of unknown ids is passed over."""
        now = self._clock.now()
        seeds = frozenset(device.seed_ids)
        pools = await self.pools(device)
        batch = self._store.batch()
        self._touch(batch, device, pools, now)
        batch.post()
        metrics.PINGS.labels("report").inc()
        parsed = [(report, found) for report in reports if (found := parse_phone_id(report.id)) is not None]
        steps = [
            Step(message_id, partial(_report, report=report, number=number, seeds=seeds, rules=self._rules))
            for report, (message_id, number) in parsed
        ]
        done = await self._transitions.apply(steps)
        changed = 0
        batch = self._store.batch()
        for (report, (_, number)), result in zip(parsed, done, strict=True):
            attempt = attempt_of_phone(result.before, number, seeds) if result.before is not None else None
            changed += not observe.reported(report.state, result.error)
            if attempt is None or result.before is None:
                continue
            for told_at in report.times:
                device = self._devices.learn(batch, device, told_at=told_at, handed_at=attempt.handed_at or now, received_at=now)
            if report.state in _TRUTHS:
                self._store.phones.is_sure(batch, attempt.seed, Slip(result.before.id, number, result.before.parts))
        await batch.run()
        return changed

    async def pools(self, device: Device) -> Mapping[str, str]:
        """Where each SIM of the phone is listed as online, by the seed's id; as it was a moment ago."""
        kept = self._pools.get(device.id)
        if kept is not None and time.monotonic() < kept[0] and set(kept[1]) == set(device.seed_ids):
            return kept[1]
        batch = self._store.batch()
        for seed in device.seed_ids:
            self._store.seeds.credentials(batch, seed)
        answers = await batch.run()
        pools = {seed: self._store.seeds.parse_credentials(found).pool for seed, found in zip(device.seed_ids, answers, strict=True)}
        if len(self._pools) >= _KEPT:
            self._pools.clear()
        self._pools[device.id] = (time.monotonic() + _KEPT_SECONDS, pools)
        return pools

    def _touch(self, batch: Batch, device: Device, pools: Mapping[str, str], now: float) -> None:
        self._devices.seen(batch, device, now)
        for seed, pool in pools.items():
            self._store.seeds.touch(batch, seed, pool, now)


def _listed(given: Given, offset: float, *, is_cancelling: bool = False) -> Listed:
    message, attempt = given.message, given.attempt
    return Listed(
        id=phone_id(message.id, attempt.number),
        to=message.to,
        text=given.text,
        data_port=message.data_port,
        sim=sim_of_seed(attempt.seed),
        delivery_report=message.delivery_report,
        encrypted=message.encrypted,
        priority=message.priority,
        valid_until=(attempt.lease_until or message.created_at) + offset,
        created_at=message.created_at + offset,
        is_cancelling=is_cancelling,
    )


def _report(message: Message, now: float, *, report: PhoneReport, number: int, seeds: frozenset[str], rules: Rules) -> Decision:
    attempt = attempt_of_phone(message, number, seeds)
    if attempt is None:
        raise Stale("no such attempt of this phone")
    error = report.error[:_ERROR_LENGTH] if report.error else None
    return lifecycle.report(message, number, attempt.seed, report.state, now, rules, error)
