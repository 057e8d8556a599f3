"""What a message and its attempts are. How they change stands in `lifecycle`; nothing here has behaviour beyond reading itself."""

from typing import Literal

import msgspec

from router.domain.rules import AmbiguousPolicy

State = Literal["pending", "dispatched", "sent", "verified", "failed", "expired", "cancelled"]
STATES: tuple[State, ...] = ("pending", "dispatched", "sent", "verified", "failed", "expired", "cancelled")
END_STATES: frozenset[State] = frozenset({"verified", "failed", "expired", "cancelled"})

Kind = Literal["otp", "sms"]
Lane = Literal["otp", "notification", "bulk"]
LANES: tuple[Lane, ...] = ("otp", "notification", "bulk")
"""The three priorities, highest first; one queue each."""

Event = Literal["sms:sent", "sms:delivered", "sms:failed", "sms:cancelled"]
"""What webhooks hear of a message, each once."""

ONE_SEED = "="
"""Before the id of a seed in `Message.only`: no device, account or seed has it in its id."""

HEARTBEAT = "~heartbeat"
"""The account of the router's own synthetic messages, and the one seed that has them: no API can name either, and nothing counts them."""

Dialect = Literal["gatewire", "smsgate", "relaysms", "operator"]
DIALECTS: tuple[Dialect, ...] = ("gatewire", "smsgate", "relaysms", "operator")

AttemptState = Literal[
    "assigned",  # in the seed's outbox, not fetched yet
    "handed",  # fetched: the lease runs
    "radio",  # the seed has given it to the radio: only a failure moves it now
    "sent",
    "failed",  # the seed said so
    "returned",  # the seed gave it back unsent
    "unfetched",  # never handed over in time
    "silent",  # the lease and the margin passed without a word
    "ambiguous",  # given to the radio, then silence
    "withdrawn",  # taken back by us before it was handed over
]
OPEN_ATTEMPTS: frozenset[AttemptState] = frozenset({"assigned", "handed", "radio"})
"""Attempts that hold a place at their seed."""


class Attempt(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One try of a message on one seed. Times are Unix seconds by the router's clock. Fields are kept by their order: add new ones last."""

    number: int
    seed: str
    carrier: str
    state: AttemptState
    assigned_at: float
    why: str = ""
    """Why this seed was chosen and others were passed over, in the words of `selection`."""
    handed_at: float | None = None
    lease_until: float | None = None
    radio_at: float | None = None
    sent_at: float | None = None
    delivered_at: float | None = None
    ended_at: float | None = None
    error: str | None = None
    tells_after: bool = False
    """The seed goes by its lease alone and tells afterwards what it did (SMSGate's app): its silence proves nothing."""
    margin_seconds: float | None = None
    """From the end of the lease until another seed may send; None = the rule's `skew_seconds`."""
    asked_at: float | None = None
    """When its phone was last asked what became of it, its lease being about to end without a word."""
    parked_at: float | None = None
    """Since when the message had waited for this seed, or any; None where there was one at once."""
    parked_why: str = ""
    """Why there was none then, in the words of `selection`."""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_ATTEMPTS

    @property
    def was_handed_over(self) -> bool:
        return self.handed_at is not None


class Message(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One text to one recipient. The text itself is not here: it is sealed beside the record, and erased when it is no longer needed.

    Fields are kept by their order: add new ones last, with a default.
    """

    id: str
    account: str
    dialect: Dialect
    kind: Kind
    lane: Lane
    to: str
    country: str
    carrier: str
    """MCC+MNC of the recipient; empty where no table knows it: then any seed of the country may serve."""
    parts: int
    price: int
    created_at: float
    expires_at: float
    state: State = "pending"
    reason: str | None = None
    """Why it is in its end state; also the last failure, while it waits for its next attempt."""
    attempts: tuple[Attempt, ...] = ()
    ambiguous_policy: AmbiguousPolicy = "wait"
    code_hash: bytes | None = None
    code_length: int = 0
    tries_left: int = 0
    queued_at: float = 0.0
    """When it was last put on the queue."""
    republished: int = 0
    parked_at: float | None = None
    dispatched_at: float | None = None
    sent_at: float | None = None
    delivered_at: float | None = None
    verified_at: float | None = None
    ended_at: float | None = None
    settled: bool = False
    """Charge kept or given back: the last thing that happens to a message."""
    submission: str = ""
    """The id that the client knows the submission by, in a dialect where one has many recipients."""
    place: int = 0
    """Which recipient of the submission this is, from 0."""
    only: str = ""
    """The id of a device or of an account: only seeds of that group may serve; `=<seed id>`: that seed alone. Empty = any."""
    sim: int = 0
    """Only the SIM of that number in its phone, 1 to 3; 0 = any."""
    data_port: int = 0
    """Above 0 it is a data message to that port, and its text is base64."""
    encrypted: bool = False
    """Text and recipient are ciphertexts, for the phone to open."""
    delivery_report: bool = True
    priority: int = 0
    """What the client said, -128 to 127; phones are told it."""
    not_before: float = 0.0
    """It is not sent before this time."""
    told: tuple[Event, ...] = ()
    """Events that the courier has been given."""
    parked_why: str = ""
    """While it is parked: why no seed could take it then, in the words of `selection`."""

    @property
    def is_final(self) -> bool:
        """Nothing but timestamps can change any more: an end state, or a plain SMS that was sent."""
        return self.state in END_STATES or (self.state == "sent" and self.kind == "sms")

    @property
    def needs_text(self) -> bool:
        """Could a seed still have to send it? When not, the text is erased."""
        return self.state in ("pending", "dispatched")

    @property
    def is_for_one_seed(self) -> bool:
        """A probe: it says something of its seed only when no other has it, and only when it goes out once."""
        return self.only.startswith(ONE_SEED)

    @property
    def is_heartbeat(self) -> bool:
        """The router's own: nobody's traffic."""
        return self.account == HEARTBEAT

    @property
    def current(self) -> Attempt | None:
        """The attempt that is open; where none is, the last that a seed had, or was to have."""
        had: Attempt | None = None
        for attempt in reversed(self.attempts):
            if attempt.is_open:
                return attempt
            if had is None and attempt.was_handed_over:
                had = attempt
        return had or (self.attempts[-1] if self.attempts else None)

    @property
    def open_attempts(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.is_open]

    @property
    def handed_over(self) -> int:
        """How many attempts a seed really had: those that count towards `max_attempts`."""
        return sum(attempt.was_handed_over for attempt in self.attempts)

    @property
    def times_on_air(self) -> int:
        return sum(attempt.sent_at is not None for attempt in self.attempts)

    def attempt(self, number: int, seed: str) -> Attempt | None:
        """The attempt of that number, if it was that seed's."""
        if 1 <= number <= len(self.attempts) and self.attempts[number - 1].seed == seed:
            return self.attempts[number - 1]
        return None
