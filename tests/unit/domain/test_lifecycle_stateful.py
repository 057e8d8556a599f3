"""One message, three seeds and honest phones in virtual time: whatever happens, the invariants of the lifecycle hold.

A phone is *honest*: it sends an attempt at most once, never after it said that it would not, and only while it may. What it may
depends on its model: `AskFirst` phones send when the router said yes to their "radio"; `ByTheClock` phones ask nobody, and send
until the lease is over by their own clock, which may be wrong by half the skew; `TellsAfter` phones do so too, and say later, or never,
what they did, and again when they are asked. Answers and reports get lost, phones die, and the timekeeper comes late or not at all.
"""

import itertools
from collections import Counter, defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from router.domain import lifecycle, phone_news
from router.domain.lifecycle import ASKS_FIRST, TRANSITIONS, Decision, ReportState, Stale, Terms
from router.domain.message import END_STATES, Attempt, Message, State
from router.domain.rules import AmbiguousPolicy, Rules

SEEDS = ("A", "B", "C")
START = 1_000.0
STEPS_TO_THE_END = 60
"""Time alone ends a message in fewer steps than these."""

RANK: dict[State, int] = {"pending": 0, "dispatched": 1, "sent": 2, **dict.fromkeys(END_STATES, 3)}
SKIPS: set[tuple[State, State]] = {("pending", "sent")}
"""A late report passes through dispatched within one step."""

QUARTERS = st.integers(0, 48).map(lambda quarters: quarters / 4)
RARELY = st.integers(0, 19).map(lambda number: number == 13)
"""For what ends a story before it gets interesting."""


class Slip:
    """An attempt as a phone knows it."""

    def __init__(self, seed: str, number: int, valid_until: float) -> None:
        self.seed = seed
        self.number = number
        self.valid_until = valid_until
        self.permitted = False
        self.given_up = False
        self.aired = False
        self.dead = False

    def __repr__(self) -> str:
        flags = " ".join(name for name in ("permitted", "given_up", "aired", "dead") if getattr(self, name))
        return f"<Slip {self.seed}{self.number} until {self.valid_until} {flags}>"


class Lifecycle(RuleBasedStateMachine):
    """The rules that all models of phones share."""

    terms = ASKS_FIRST

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.rules = Rules()
        self.slips: list[Slip] = []
        self.released: Counter[int] = Counter()
        self.reopened: Counter[int] = Counter()
        self.asked: defaultdict[int, list[float]] = defaultdict(list)
        self.ambiguous: set[int] = set()
        self.on_air: list[float] = []
        self.settlements: list[bool] = []
        self.offsets: dict[str, float] = {}

    @initialize(
        kind=st.sampled_from(["otp", "sms"]),
        policy=st.sampled_from(["wait", "resend", "fail"]),
        life=st.sampled_from([600.0, 300.0, 60.0, 6.0]),
        max_attempts=st.sampled_from([4, 4, 3, 1]),
        ask_again_seconds=st.sampled_from([1.0, 0.75, 0.0]),
        offsets=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=3),
    )
    def accept(
        self, kind: Any, policy: AmbiguousPolicy, life: float, max_attempts: int, ask_again_seconds: float, offsets: list[float]
    ) -> None:
        self.rules = Rules(
            lease_seconds=8.0, skew_seconds=2.0, pickup_seconds=4.0, radio_seconds=15.0, max_attempts=max_attempts,
            ask_again_seconds=ask_again_seconds,
        )  # fmt: skip
        self.offsets = dict(zip(SEEDS, offsets, strict=True))
        self.message = Message(
            id="m", account="a", dialect="gatewire", kind=kind, lane="otp", to="+213551234567", country="DZ", carrier="60302",
            parts=1, price=5, created_at=START, queued_at=START, expires_at=START + life, ambiguous_policy=policy, tries_left=3,
        )  # fmt: skip

    # What the router does

    def apply(self, decision: Decision) -> None:
        """Keeps a decision, after checking that it is a step that may be made."""
        before, after = self.message, decision.message

        assert before.state == after.state or after.state in TRANSITIONS[before.state] or (before.state, after.state) in SKIPS
        assert RANK[after.state] >= RANK[before.state] or (before.state, after.state) == ("dispatched", "pending")
        assert len(after.attempts) >= len(before.attempts)
        if before.is_final:
            assert (before.state, before.reason, before.ended_at) == (after.state, after.reason, after.ended_at)
            assert len(after.attempts) == len(before.attempts)
        for stamp in ("dispatched_at", "sent_at", "delivered_at", "verified_at", "ended_at"):
            assert getattr(before, stamp) in (None, getattr(after, stamp))
        if decision.requeue:
            assert after.state == "pending"
        open_before = {attempt.number for attempt in before.open_attempts}
        open_after = {attempt.number for attempt in after.open_attempts}
        assert open_before - open_after == {release.attempt for release in decision.released}
        recalled = phone_news.recalled(before, after)
        assert all(attempt.tells_after and attempt.handed_at for attempt in recalled)
        for attempt in phone_news.asked(before, after):
            assert (True, "handed") == (attempt.tells_after, attempt.state)
            assert (attempt.lease_until or 0.0) - self.rules.ask_seconds <= (attempt.asked_at or 0.0) == self.now
            self.asked[attempt.number].append(self.now)
        for release in decision.released:
            assert after.attempts[release.attempt - 1].seed == release.seed
            self.released[release.attempt] += 1
        for old, new in zip(before.attempts, after.attempts, strict=False):
            if not old.is_open and new.is_open:
                assert (True, "ambiguous", "radio") == (new.tells_after, old.state, new.state)
                self.reopened[new.number] += 1
            if new.state == "ambiguous":
                self.ambiguous.add(new.number)
        self.message = after

    def say(self, slip: Slip, state: ReportState) -> bool:
        """A report that arrives; answers whether it was accepted."""
        try:
            self.apply(lifecycle.report(self.message, slip.number, slip.seed, state, self.now, self.rules))
        except Stale:
            return False
        return True

    @precondition(lambda self: self.message.state == "pending")
    @rule(seed=st.sampled_from(SEEDS))
    def dispatch(self, seed: str) -> None:
        try:
            self.apply(lifecycle.begin_attempt(self.message, seed, "60302", "", self.now))
        except Stale:
            assert self.now >= self.message.expires_at

    @precondition(lambda self: self.message.attempts)
    @rule(data=st.data(), is_lost=st.booleans())
    def hand_over(self, data: st.DataObject, is_lost: bool) -> None:
        self.fetch(data.draw(st.sampled_from(self.message.attempts[::-1])), is_lost)

    @precondition(lambda self: self.message.state == "pending" and self.now < self.message.expires_at)
    @rule(seed=st.sampled_from(SEEDS), asks=st.booleans())
    def goes_to(self, seed: str, asks: bool) -> None:
        """The usual course, in one step: so that the stories get further."""
        self.dispatch(seed)
        self.fetch(self.message.attempts[-1], is_lost=False)
        if asks:
            self.ask(self.slips[-1], is_answer_lost=False)

    @precondition(lambda self: self.message.state == "pending" and self.now < self.message.expires_at)
    @rule(seed=st.sampled_from(SEEDS), is_sent=st.booleans())
    def goes_to_and_is_never_heard_of(self, seed: str, is_sent: bool) -> None:
        """The worst course, in one step: sent or not, its time passes without a word."""
        self.goes_to(seed, asks=is_sent)
        slip = self.slips[-1]
        if is_sent and slip in self.candidates():
            slip.aired = True
            self.on_air.append(self.now)
        self.lease_is_over()

    def lease_is_over(self) -> None:
        """Whatever is due until the last attempt has ended, the question before a lease's end included."""
        attempt = self.message.attempts[-1]
        while self.message.attempts[attempt.number - 1].state in ("handed", "radio"):
            self.time_is_up(None, 0.0)

    def fetch(self, attempt: Attempt, is_lost: bool) -> None:
        try:
            self.apply(lifecycle.hand_over(self.message, attempt.number, attempt.seed, self.now, self.rules, self.terms))
        except Stale:
            return
        lease_until = self.message.attempts[attempt.number - 1].lease_until

        assert attempt.state == "assigned"
        assert lease_until is not None
        assert self.now < lease_until <= self.message.expires_at
        if not is_lost:
            self.slips.append(Slip(attempt.seed, attempt.number, lease_until))
            self.at_most_one_may_send()

    @rule(seconds=QUARTERS, lane_head_at=st.none() | QUARTERS.map(START.__add__), is_late=st.booleans())
    def time_passes(self, seconds: float, lane_head_at: float | None, is_late: bool) -> None:
        self.now += seconds
        if not is_late:
            self.apply(lifecycle.due(self.message, self.now, self.rules, lane_head_at))

    @precondition(lambda self: lifecycle.next_due(self.message, self.rules) is not None)
    @rule(lane_head_at=st.none() | QUARTERS.map(START.__add__), late_by=st.sampled_from([0.0, 0.0, 0.25, 5.0]))
    def time_is_up(self, lane_head_at: float | None, late_by: float) -> None:
        self.now = max(self.now, lifecycle.next_due(self.message, self.rules) or 0.0) + late_by
        self.apply(lifecycle.due(self.message, self.now, self.rules, lane_head_at))

    @precondition(lambda self: self.message.state == "pending")
    @rule()
    def park(self) -> None:
        self.apply(lifecycle.park(self.message, self.now))

    @precondition(lambda self: lifecycle.can_settle(self.message))
    @rule()
    def settle(self) -> None:
        self.settlements.append(lifecycle.is_refund(self.message))
        self.message = replace(self.message, settled=True)

    # What the caller does

    @rule(matches=RARELY)
    def verify(self, matches: bool) -> None:
        before = self.message
        verdict = lifecycle.verify(before, matches, self.now)
        if verdict.refused is None:
            assert matches
            assert before.tries_left > 0
            assert self.now < before.expires_at
            assert verdict.decision.message.state == "verified"
        self.apply(verdict.decision)

    @rule(is_meant=RARELY)
    def cancel(self, is_meant: bool) -> None:
        if not is_meant:
            return
        try:
            self.apply(lifecycle.cancel(self.message, self.now, "withdrawn"))
        except Stale:
            assert self.message.is_final

    # What the phones do

    def may_send(self, slip: Slip) -> bool:
        raise NotImplementedError

    def at_most_one_may_send(self) -> None:
        raise NotImplementedError

    def candidates(self) -> list[Slip]:
        return [slip for slip in self.slips if not (slip.dead or slip.given_up or slip.aired) and self.may_send(slip)]

    def on_hand(self) -> list[Slip]:
        return [slip for slip in self.slips if not slip.dead]

    @precondition(lambda self: self.on_hand())
    @rule(data=st.data(), is_answer_lost=st.booleans())
    def radio(self, data: st.DataObject, is_answer_lost: bool) -> None:
        self.ask(data.draw(st.sampled_from(self.on_hand()[::-1])), is_answer_lost)

    def ask(self, slip: Slip, is_answer_lost: bool) -> None:
        if not self.say(slip, "radio"):
            return
        attempt = self.message.attempts[-1]

        assert self.message.state == "dispatched"
        assert attempt.number == slip.number
        assert self.now <= slip.valid_until <= self.message.expires_at
        if not is_answer_lost:
            slip.permitted = True
            self.at_most_one_may_send()

    @precondition(lambda self: self.candidates())
    @rule(data=st.data(), is_lost=st.booleans())
    def send(self, data: st.DataObject, is_lost: bool) -> None:
        slip = data.draw(st.sampled_from(self.candidates()))
        slip.aired = True
        self.on_air.append(self.now)
        if not is_lost:
            self.say(slip, "sent")

    @precondition(lambda self: any(slip.aired for slip in self.on_hand()))
    @rule(data=st.data(), state=st.sampled_from(["sent", "delivered"]))
    def report_late_or_again(self, data: st.DataObject, state: ReportState) -> None:
        slip = data.draw(st.sampled_from([slip for slip in self.on_hand() if slip.aired]))
        self.say(slip, state)

        assert self.message.attempts[slip.number - 1].sent_at is not None
        assert not self.say(slip, "sent")

    @precondition(lambda self: any(not slip.aired for slip in self.on_hand()))
    @rule(data=st.data(), state=st.sampled_from(["failed", "cancelled"]), is_lost=st.booleans(), is_repeated=st.booleans())
    def give_up(self, data: st.DataObject, state: ReportState, is_lost: bool, is_repeated: bool) -> None:
        slip = data.draw(st.sampled_from([slip for slip in self.on_hand() if not slip.aired]))
        slip.given_up = True
        if not is_lost:
            self.say(slip, state)
            if is_repeated:
                assert not self.say(slip, state)

    @rule(seed=st.sampled_from(SEEDS), is_meant=RARELY)
    def phone_dies(self, seed: str, is_meant: bool) -> None:
        for slip in self.slips:
            slip.dead = slip.dead or (is_meant and slip.seed == seed)

    @precondition(lambda self: self.message.attempts)
    @rule(number=st.integers(-1, 6), seed=st.sampled_from(SEEDS), state=st.sampled_from(["radio", "sent", "failed"]))
    def report_of_nothing(self, number: int, seed: str, state: ReportState) -> None:
        if self.message.attempt(number, seed) is None:
            assert not self.say(Slip(seed, number, 0.0), state)

    # What must hold after each step

    @invariant()
    def at_most_one_attempt_is_open(self) -> None:
        assert len(self.message.open_attempts) <= 1
        for attempt in self.message.open_attempts:
            assert attempt is self.message.current

    @invariant()
    def nothing_waits_in_an_outbox_for_nothing(self) -> None:
        """Where the text is not needed any more, and is erased, no seed can fetch it."""
        if not self.message.needs_text:
            assert all(attempt.state != "assigned" for attempt in self.message.attempts)

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert self.message.handed_over <= self.rules.max_attempts

    @invariant()
    def places_are_freed_once(self) -> None:
        for attempt in self.message.attempts:
            assert self.released[attempt.number] == (0 if attempt.is_open else 1) + self.reopened[attempt.number]

    @invariant()
    def phones_are_not_asked_too_often(self) -> None:
        """Nor when the next seed may have begun."""
        for attempt in self.message.attempts:
            times = self.asked[attempt.number]
            end = (attempt.lease_until or 0.0) + (attempt.margin_seconds or 0.0)
            assert (times[-1] if times else None) == attempt.asked_at
            assert all(at < end for at in times)
            if self.rules.ask_again_seconds:
                assert all(later - earlier >= self.rules.ask_again_seconds for earlier, later in itertools.pairwise(times))
            else:
                assert len(times) <= 1

    @invariant()
    def something_is_due_until_it_is_settled(self) -> None:
        message = self.message
        is_over = message.is_final and message.settled and not message.open_attempts

        assert is_over == (lifecycle.next_due(message, self.rules) is None)
        assert lifecycle.can_settle(message) == (message.is_final and not message.settled and not message.open_attempts)

    @invariant()
    def refund_or_sent(self) -> None:
        """A final message is paid for because it went out or was verified, or it is given back; and it is settled once."""
        message = self.message
        assert len(self.settlements) <= 1
        assert (message.sent_at is None) == (message.times_on_air == 0)
        if message.is_final:
            assert lifecycle.is_refund(message) != (message.sent_at is not None or message.state == "verified")

    def teardown(self) -> None:
        """Accepted is final: time alone brings every message to its end, in a bounded number of steps that each do something."""
        if not hasattr(self, "message"):
            return
        for _ in range(STEPS_TO_THE_END):
            due_at = lifecycle.next_due(self.message, self.rules)
            if due_at is None:
                break
            if due_at - 0.001 > self.now:
                assert self.message is lifecycle.due(self.message, due_at - 0.001, self.rules).message
            self.now = max(self.now, due_at)
            decision = lifecycle.due(self.message, self.now, self.rules)
            if decision.message is self.message:
                self.settle()
            else:
                self.apply(decision)

        assert lifecycle.next_due(self.message, self.rules) is None
        assert self.message.is_final
        assert self.message.settled
        assert self.message.reason
        assert len(self.settlements) == 1
        assert all(self.released[attempt.number] == 1 + self.reopened[attempt.number] for attempt in self.message.attempts)


class AskFirst(Lifecycle):
    """Phones that send only after the router said yes; then as late as they like."""

    def may_send(self, slip: Slip) -> bool:
        return slip.permitted

    @invariant()
    def at_most_one_may_send(self) -> None:
        """But for those whose attempt was declared ambiguous."""
        known = [slip for slip in self.candidates() if self.message.attempts[slip.number - 1].state != "ambiguous"]
        assert len(known) <= 1

    @invariant()
    def on_the_air_once(self) -> None:
        """At most once, ever; with `resend` once more for each time that nobody could know."""
        if len(self.on_air) > 1:
            assert self.message.ambiguous_policy == "resend"
        assert len(self.on_air) <= 1 + len(self.ambiguous)


class ByTheClock(Lifecycle):
    """Phones that ask nobody and send while their lease runs, by a clock that is wrong by up to half the skew."""

    terms = Terms(margin_seconds=2.0)

    def may_send(self, slip: Slip) -> bool:
        return self.now + self.offsets[slip.seed] < slip.valid_until

    @invariant()
    def at_most_one_may_send(self) -> None:
        """Never two at the same time (invariant 2), however the clocks differ."""
        assert len(self.candidates()) <= 1

    @invariant()
    def nothing_after_the_end(self) -> None:
        """Nothing is sent after it expired (invariant 4), but for what a clock is wrong by."""
        assert all(at < self.message.expires_at + self.rules.skew_seconds / 2 for at in self.on_air)


class TellsAfter(ByTheClock):
    """Phones of SMSGate's app: by the clock, and what they did they tell afterwards, in any order, or never."""

    terms = Terms(tells_after=True, margin_seconds=2.0)

    @initialize(silence=st.sampled_from(["resend", "account"]))
    def choose_silence(self, silence: Any) -> None:
        self.rules = replace(self.rules, silence=silence)

    def ask(self, slip: Slip, is_answer_lost: bool) -> None:
        """No question: it goes to the radio while its lease runs, and the report of that may be lost."""
        if slip in self.candidates():
            slip.aired = True
            self.on_air.append(self.now)
        if slip.aired and not is_answer_lost:
            self.say(slip, "radio")

    @precondition(lambda self: self.message.state == "pending" and self.now < self.message.expires_at)
    @rule(seed=st.sampled_from(SEEDS), other=st.sampled_from(SEEDS), meanwhile=st.sampled_from(["waits", "assigned", "handed"]))
    def goes_to_and_is_heard_of_too_late(self, seed: str, other: str, meanwhile: str) -> None:
        """Sent within the lease, and told when the message has moved on, or was about to."""
        self.goes_to(seed, asks=False)
        slip = self.slips[-1]
        if slip not in self.candidates():
            return
        slip.aired = True
        self.on_air.append(self.now)
        self.lease_is_over()
        if meanwhile != "waits" and self.message.state == "pending":
            self.dispatch(other)
        if meanwhile == "handed" and self.message.state == "dispatched":
            self.fetch(self.message.attempts[-1], is_lost=False)
        self.say(slip, "radio")

    @precondition(lambda self: any(slip.aired and self.message.attempts[slip.number - 1].asked_at for slip in self.on_hand()))
    @rule(data=st.data())
    def is_asked_and_tells_again(self, data: st.DataObject) -> None:
        """Its first word was lost; where it comes before the margin is over, nobody else ever had the message."""
        slip = data.draw(st.sampled_from([slip for slip in self.on_hand() if slip.aired]))
        attempt = self.message.attempts[slip.number - 1]
        is_waiting = attempt.state == "handed" and self.message.state == "dispatched"
        is_taken = self.say(slip, "sent")

        assert is_taken == (attempt.sent_at is None)
        if is_waiting:
            assert ("sent", slip.number) == (self.message.state, self.message.attempts[-1].number)

    @invariant()
    def on_the_air_once_unless_nobody_could_know(self) -> None:
        """Once more for each attempt that was ambiguous, and only where the rules say so."""
        assert len(self.on_air) <= 1 + len(self.ambiguous)
        if len(self.on_air) > 1:
            assert "resend" in (self.rules.silence, self.message.ambiguous_policy)

    @invariant()
    def a_known_radio_keeps_others_from_beginning(self) -> None:
        """Nothing new is handed over while an attempt is known to be on the radio."""
        on_radio = [attempt for attempt in self.message.attempts if attempt.state == "radio"]
        assert len(on_radio) <= 1
        if on_radio and self.message.state == "dispatched":
            assert on_radio[0] is self.message.current


TestAskFirst = AskFirst.TestCase
TestByTheClock = ByTheClock.TestCase
TestTellsAfter = TellsAfter.TestCase
_SETTINGS = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestAskFirst.settings = TestByTheClock.settings = TestTellsAfter.settings = _SETTINGS
