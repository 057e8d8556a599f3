"""The judge of `torture`: set algebra over what was asked for, what the router says, and what was on the air. No I/O.

Prior art: Jepsen's set checker, which compares acknowledged writes with a final read; here the final read is twofold: the router's
records, and the phones' ledger, which the router cannot know.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from router.domain.message import END_STATES
from router.domain.rules import AmbiguousPolicy
from workers.simulator.air import Sms

SKEW_SECONDS: Final = 2.0
"""How long after its message's end an SMS may be on the air: what clocks may differ by."""
_NEVER_SENT: Final = frozenset({"failed", "cancelled", "expired"})


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One code that was asked for, to a number (E.164) of its own. `ids`: each one that was acknowledged, in that order.

    `answered` is false where the last answer that came leaves open whether it was accepted.
    """

    to: str
    ids: tuple[str, ...] = ()
    answered: bool = True


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the router knows it at the end. Times are Unix seconds."""

    id: str
    state: str
    expires_at: float
    ended_at: float | None = None
    sent_at: float | None = None
    ambiguous: bool = False
    """Had it an attempt of which nobody knew whether it went out?"""

    @property
    def has_ended(self) -> bool:
        """In an end state, or `sent`: a code that nobody verifies goes no further."""
        return self.state == "sent" or self.state in END_STATES

    @property
    def fate(self) -> str:
        """Its state; a code that was sent and then not used is told apart from one that was never sent."""
        return "expired after sent" if self.state == "expired" and self.sent_at is not None else self.state

    @property
    def is_refunded(self) -> bool:
        """It ended without a phone's word that it was sent."""
        return self.state in _NEVER_SENT and self.sent_at is None

    @property
    def may_be_refunded(self) -> bool:
        """Its phone's word came after its end: before or after the refund."""
        return self.state in _NEVER_SENT and self.sent_at is not None and self.ended_at is not None and self.sent_at > self.ended_at


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """The wallet at the start and at the end, and the price of a message, in minor units."""

    start: int
    end: int
    price: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Lists are ids of messages, sorted; `forked` are numbers of submissions."""

    attempted: int
    acknowledged: int
    unanswered: int
    states: dict[str, int]
    on_air: int
    lost: list[str]
    """Acknowledged, and without an end."""
    unexpected: list[str]
    """On the air, and neither acknowledged nor one whose answer was lost."""
    forked: list[str]
    """Acknowledged with two ids: repeated with the same Idempotency-Key, and accepted anew."""
    twice: list[str]
    late: list[str]
    """On the air after their time was over."""
    unseen: list[str]
    """Said to be sent, and never on the air."""
    ambiguous: list[str]
    """Counted, no fault: permission was given, then came silence."""
    refunded: int
    balance: int
    expected_balance: tuple[int, int]
    """From, to: they differ where a phone's word came after the end of its message."""

    @property
    def problems(self) -> list[str]:
        """Which promises were broken; empty when none was."""
        found = [
            f"{len(ids)} {what}"
            for ids, what in (
                (self.lost, "acknowledged messages have no end"),
                (self.unexpected, "messages were on the air that nobody was promised"),
                (self.forked, "submissions were accepted twice"),
                (self.twice, "messages were on the air twice"),
                (self.late, "messages were on the air after their time"),
                (self.unseen, "messages are said to be sent and were never on the air"),
            )
            if ids
        ]
        if not self.expected_balance[0] <= self.balance <= self.expected_balance[1]:
            found.append(f"the wallet holds {self.balance} minor units, not {self.expected_balance[0]}")
        if not self.acknowledged:
            found.append("nothing was accepted: this has shown nothing")
        return found

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_document(self) -> dict[str, Any]:
        """All counts, and the ids where there should be none."""
        counts = ("lost", "unexpected", "forked", "twice", "late", "unseen", "ambiguous")
        return {
            "ok": self.ok,
            "problems": self.problems,
            "attempted": self.attempted,
            "acknowledged": self.acknowledged,
            "unanswered": self.unanswered,
            "states": self.states,
            "on_air": self.on_air,
            **{name: len(getattr(self, name)) for name in counts},
            "refunded": self.refunded,
            "balance": {"end": self.balance, "expected": list(self.expected_balance)},
            "ids": {name: getattr(self, name) for name in counts if getattr(self, name)},
        }


def check(
    submissions: Sequence[Submission], records: Mapping[str, Record], ledger: Iterable[Sms], money: Money, policy: AmbiguousPolicy = "wait"
) -> Verdict:
    """Judge a run. `records`: every message of the account, by id; `ledger`: all that was on the air."""
    air: dict[str, list[Sms]] = {}
    for sms in ledger:
        air.setdefault(sms.id, []).append(sms)
    acknowledged = {message_id for submission in submissions for message_id in submission.ids}
    twice = {message_id for message_id, sent in air.items() if len(sent) > 1 and not _may_be_twice(records.get(message_id), policy)}
    refunded = sum(record.is_refunded for record in records.values())
    least = money.start - money.price * (len(records) - refunded)
    most = least + money.price * sum(record.may_be_refunded for record in records.values())
    return Verdict(
        attempted=len(submissions),
        acknowledged=len(acknowledged),
        unanswered=sum(not submission.answered for submission in submissions),
        states=dict(Counter(records[message_id].fate if message_id in records else "unknown" for message_id in sorted(acknowledged))),
        on_air=len(air),
        lost=sorted(message_id for message_id in acknowledged if message_id not in records or not records[message_id].has_ended),
        unexpected=sorted(set(air) - acknowledged - _answer_was_lost(submissions, air)),
        forked=sorted(submission.to for submission in submissions if len(set(submission.ids)) > 1),
        twice=sorted(twice),
        late=sorted(message_id for message_id, sent in air.items() if _is_late(records.get(message_id), sent)),
        unseen=sorted(record.id for record in records.values() if record.sent_at is not None and record.id not in air),
        ambiguous=sorted(record.id for record in records.values() if record.ambiguous),
        refunded=refunded,
        balance=money.end,
        expected_balance=(least, most),
    )


def _may_be_twice(record: Record | None, policy: AmbiguousPolicy) -> bool:
    return policy == "resend" and record is not None and record.ambiguous


def _is_late(record: Record | None, sent: Sequence[Sms]) -> bool:
    return record is not None and max(sms.at for sms in sent) > record.expires_at + SKEW_SECONDS


def _answer_was_lost(submissions: Sequence[Submission], air: Mapping[str, Sequence[Sms]]) -> set[str]:
    """For each submission without an answer the first message to its number: one may be on the air, a second may not."""
    unanswered = {submission.to for submission in submissions if not submission.answered and not submission.ids}
    first: dict[str, str] = {}
    for message_id, (sms, *_) in sorted(air.items(), key=lambda item: item[1][0].at):
        if sms.to in unanswered:
            first.setdefault(sms.to, message_id)
    return set(first.values())
