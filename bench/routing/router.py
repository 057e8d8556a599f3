"""The router in virtual time: the rules of `router.domain`, and around them what the services do with them, without Redis or sockets.

A record is changed by the functions of `lifecycle` alone, a seed by `Record`; dispatchers choose from copies that are up to a tenth of a
second old, and the record has the last word.
"""

import random
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Final

import msgspec

from bench.routing.clock import Agenda
from bench.routing.phones import Job, Phone
from router.domain import lifecycle, phone_clock, phone_news
from router.domain.choosing import Chooser
from router.domain.directory import Directory
from router.domain.lifecycle import Decision, Stale, Terms
from router.domain.lots import lot_of, place_in_lot
from router.domain.message import Message
from router.domain.record import Record
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.selection import FailoverBudget

_LOOK_EVERY: Final = 0.1
_ROOM_EVERY: Final = 5.0
_ROUNDS: Final = 4
_SEED_FIELDS: Final = Seed.__struct_fields__


class Truth(msgspec.Struct):
    """What nobody but the simulation knows of a message."""

    accepted_at: float
    on_air: int = 0
    on_air_at: float = -1.0


class Dispatcher:
    """A copy of the fleet, and what is decided with it."""

    def __init__(self, rules: Rules, rng: random.Random) -> None:
        self.directory = Directory(rules, rng)
        self.chooser = Chooser(self.directory, FailoverBudget(rules), rules)
        self.changed: dict[str, None] = {}


class Router:
    """All roles at once. `view` makes a dispatcher's copy of a seed's record: policies differ there (`policies`)."""

    def __init__(
        self, rules: Rules, agenda: Agenda, rng: random.Random, view: Callable[[Record, Phone, float], Seed], *,
        dispatchers: int, delay: float, newest_first: bool = False,
    ) -> None:  # fmt: skip
        self._rules = rules
        self._agenda = agenda
        self._rng = rng
        self._view = view
        self._delay = delay
        self._newest_first = newest_first
        self._dispatchers = [Dispatcher(rules, random.Random(rng.random())) for _ in range(dispatchers)]
        self.messages: dict[str, Message] = {}
        self.truths: dict[str, Truth] = {}
        self.records: dict[str, Record] = {}
        self.phones: dict[str, Phone] = {}
        self._outboxes: dict[str, list[tuple[str, int]]] = {}
        self._clocks: dict[str, phone_clock.Bounds] = {}
        self._due_at: dict[str, float] = {}
        self._lots: dict[str, list[tuple[float, str]]] = {}
        self._pings: list[list[Phone]] = []
        self._turn = 0
        self.ended: dict[str, int] = {}
        self.failovers: dict[str, int] = {}
        self.twice = 0
        self.explained_twice = 0
        """Of those, messages with an ambiguous attempt, or more."""
        self.parked = 0
        self.room: list[tuple[float, int]] = []
        """Every few seconds: the parts that all SIMs that are online could still take, as the rules have it."""
        agenda.after(_LOOK_EVERY, self._look_round)
        agenda.after(_ROOM_EVERY, self._count_room)

    # The fleet

    def enrol(self, phones: Iterable[Phone], ping_seconds: float) -> None:
        """Phones that are online from now on."""
        slots = max(1, round(ping_seconds / _LOOK_EVERY))
        while len(self._pings) < slots:
            self._pings.append([])
        for phone in phones:
            phone.router = self
            self.phones[phone.seed_id] = phone
            self._outboxes[phone.seed_id] = []
            self._clocks[phone.seed_id] = phone_clock.Bounds()
            self.records[phone.seed_id] = Record(
                id=phone.seed_id, carrier=phone.carrier, country="DZ", enrolled=True, first_ping=self._agenda.now, lps=self._agenda.now
            )
            self._pings[self._rng.randrange(slots)].append(phone)
            self._mark(phone.seed_id)

    def retire(self, phones: Iterable[Phone]) -> None:
        """SIMs that get nothing more."""
        for phone in phones:
            self.records[phone.seed_id].enabled = False
            self._mark(phone.seed_id)

    def phone_changed(self, phone: Phone) -> None:
        """For policies that know more than a router can."""
        self._mark(phone.seed_id)

    def _mark(self, seed_id: str) -> None:
        for dispatcher in self._dispatchers:
            dispatcher.changed[seed_id] = None

    def _look_round(self) -> None:
        now = self._agenda.now
        self._turn += 1
        if self._pings:
            for phone in self._pings[self._turn % len(self._pings)]:
                if phone.seems_online:
                    self._heard(phone, now)
        for dispatcher in self._dispatchers:
            self._refresh(dispatcher)
            for lot, waiting in self._lots.items():
                if waiting and dispatcher.chooser.is_worth_a_look(lot, now):
                    self._empty(dispatcher, lot, waiting, now)
        self._agenda.after(_LOOK_EVERY, self._look_round)

    def _count_room(self) -> None:
        now, rules = self._agenda.now, self._rules
        free = (
            max(0, record.capacity(rules) - record.in_flight)
            for record in self.records.values()
            if record.is_dispatchable() and record.is_online(now, rules) and now >= record.tripped_until(rules)
        )
        self.room.append((now, sum(free)))
        self._agenda.after(_ROOM_EVERY, self._count_room)

    def _heard(self, phone: Phone, now: float) -> None:
        self.records[phone.seed_id].lps = now
        for dispatcher in self._dispatchers:
            if not dispatcher.directory.heard(phone.seed_id, now):
                dispatcher.changed[phone.seed_id] = None
        if self._outboxes[phone.seed_id]:
            phone.fetch()

    def _refresh(self, dispatcher: Dispatcher) -> None:
        changed, dispatcher.changed = dispatcher.changed, {}
        for seed_id in changed:
            self._read(dispatcher, seed_id)

    def _read(self, dispatcher: Dispatcher, seed_id: str) -> None:
        now = self._agenda.now
        record = self.records[seed_id]
        if record.minutes:
            record.used = record.usage(now)
        dispatcher.directory.update(self._view(record, self.phones[seed_id], now), now)

    # Accepting and dispatching

    def accept(self, message: Message) -> None:
        """A message comes in."""
        self.messages[message.id] = message
        self.truths[message.id] = Truth(self._agenda.now)
        self._set_timer(message)
        self._agenda.after(self._delay, self._dispatch, message.id)

    def _dispatch(self, message_id: str) -> None:
        message = self.messages[message_id]
        if message.state == "pending" and message.parked_at is None:
            self._try(self._rng.choice(self._dispatchers), message)

    def _try(self, dispatcher: Dispatcher, message: Message) -> bool:
        now = self._agenda.now
        for _ in range(_ROUNDS):
            choice = dispatcher.chooser.choose(message, now)
            if choice.seed is None:
                break
            seed_id, number = choice.seed.id, len(message.attempts) + 1
            if self.records[seed_id].reserve(f"{message.id}:{number}", message.parts, now, self._rules):
                self._read(dispatcher, seed_id)
                continue
            self._apply(lifecycle.begin_attempt(message, seed_id, choice.seed.carrier, choice.why, now))
            self._outboxes[seed_id].append((message.id, number))
            self._mark(seed_id)
            self._agenda.after(0.005, self.phones[seed_id].fetch)
            return True
        lot = lot_of(message)
        place = place_in_lot(message)
        heappush(self._lots.setdefault(lot, []), (-place if self._newest_first else place, message.id))
        if message.parked_at is None:
            self.parked += 1
            self._apply(lifecycle.park(message, now))
        return False

    def _empty(self, dispatcher: Dispatcher, lot: str, waiting: list[tuple[float, str]], now: float) -> None:
        looked = [heappop(waiting)[1] for _ in range(min(100, len(waiting)))]
        pending = [self.messages[message_id] for message_id in looked if self.messages[message_id].state == "pending"]
        left = sum(self._try(dispatcher, message) for message in pending)
        dispatcher.chooser.looked(lot, now, in_vain=bool(pending) and not left)

    # Phones

    def take(self, phone: Phone) -> list[Job]:
        """Hands over what waits for a seed."""
        now = self._agenda.now
        waiting, self._outboxes[phone.seed_id] = self._outboxes[phone.seed_id], []
        jobs: list[Job] = []
        clock = phone_clock.estimate(self._clocks[phone.seed_id], now, self._rules)
        terms = Terms(tells_after=True, margin_seconds=clock.margin_seconds) if phone.tells_after else lifecycle.ASKS_FIRST
        for message_id, number in waiting:
            message = self.messages[message_id]
            try:
                decision = lifecycle.hand_over(message, number, phone.seed_id, now, self._rules, terms)
            except Stale:
                continue
            self._apply(decision)
            until = decision.message.attempts[number - 1].lease_until or now
            jobs.append(Job(message_id, number, message.parts, until + (clock.offset if phone.tells_after else 0.0)))
        return jobs

    def report(self, phone: Phone, job: Job, state: lifecycle.ReportState, error: str | None = None, told_at: float | None = None) -> bool:
        """A phone's word; False where it was stale."""
        now = self._agenda.now
        message = self.messages[job.message_id]
        attempt = message.attempt(job.number, phone.seed_id)
        if told_at is not None and phone.tells_after and attempt is not None and attempt.handed_at is not None:
            self._clocks[phone.seed_id] = phone_clock.learn(self._clocks[phone.seed_id], told_at, attempt.handed_at, now)
        try:
            self._apply(lifecycle.report(message, job.number, phone.seed_id, state, now, self._rules, error))
        except Stale:
            return False
        return True

    def on_air(self, phone: Phone, job: Job) -> None:
        """The SMS goes out: only the simulation sees it."""
        truth = self.truths[job.message_id]
        truth.on_air += 1
        if truth.on_air == 1:
            truth.on_air_at = self._agenda.now
        else:
            self.twice += 1
            attempts = self.messages[job.message_id].attempts
            self.explained_twice += any(a.state == "ambiguous" or "ambiguous" in (a.error or "") for a in attempts)

    # Making decisions true

    def _apply(self, decision: Decision) -> None:
        message = decision.message
        before = self.messages[message.id]
        self.messages[message.id] = message
        now = self._agenda.now
        for release in decision.released:
            record, attempt_id = self.records[release.seed], f"{message.id}:{release.attempt}"
            record.finish(attempt_id, release.outcome, now, self._rules, handed_over=release.handed_over, seconds=release.seconds)
            self._mark(release.seed)
        if message.state != before.state:
            if message.is_final:
                self.ended[message.state] = self.ended.get(message.state, 0) + 1
            elif message.state == "pending":
                reason = message.attempts[-1].state
                self.failovers[reason] = self.failovers.get(reason, 0) + 1
        for attempt in phone_news.asked(before, message):
            self.phones[attempt.seed].asked(message.id, attempt.number)
        for attempt in phone_news.recalled(before, message):
            self.phones[attempt.seed].recalled(message.id, attempt.number)
        self._set_timer(message)
        if decision.requeue:
            self._agenda.after(self._delay, self._dispatch, message.id)

    def _set_timer(self, message: Message) -> None:
        due = lifecycle.next_due(message, self._rules)
        if due is None or (message.is_final and not message.open_attempts):
            return
        if due < self._due_at.get(message.id, float("inf")):
            self._due_at[message.id] = due
            self._agenda.at(due, self._timer, message.id, due)

    def _timer(self, message_id: str, due: float) -> None:
        if self._due_at.get(message_id) != due:
            return
        del self._due_at[message_id]
        message = self.messages[message_id]
        decision = lifecycle.due(message, self._agenda.now, self._rules)
        if decision.message is message:
            self._set_timer(message)
        else:
            self._apply(decision)
