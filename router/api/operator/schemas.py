"""What operators send and read. Unknown fields are refused, so that a typo is told; an absent field and a null one are the same.

Money is in minor units, times are Unix seconds. Hashes and texts are never here, recipients' numbers only masked.
"""

from typing import Annotated

import msgspec

from router.domain.message import Lane, State
from router.domain.rules import AmbiguousPolicy
from router.domain.segments import Segments
from router.services.seed_view import SeedView

Amount = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Change = Annotated[int, msgspec.Meta(ge=-(10**12), le=10**12)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request."""


# Accounts


class LimitsBody(Body, frozen=True):
    """Messages; null = as it is (at first: the router's setting), 0 = no limit."""

    daily: Amount | None = None
    hourly: Amount | None = None
    phone_hourly: Amount | None = None


class NewAccount(Body, frozen=True):
    """`key`: made where it is not given. A login needs a password. What else is not given is the router's setting."""

    name: str
    key: str | None = None
    login: str | None = None
    password: str | None = None
    balance: Amount = 0
    price: Amount | None = None
    limits: LimitsBody | None = None
    countries: list[str] | None = None
    """ISO codes of those that it may send to; empty = wherever the router does."""
    ambiguous_policy: AmbiguousPolicy | None = None


class AccountChange(Body, frozen=True):
    """What is not given stays as it is."""

    enabled: bool | None = None
    otp_enabled: bool | None = None
    price: Amount | None = None
    limits: LimitsBody | None = None
    countries: list[str] | None = None
    ambiguous_policy: AmbiguousPolicy | None = None


class NewPassword(Body, frozen=True):
    """`login`: for an account that has none yet."""

    password: str
    login: str | None = None


class TopUp(Body, frozen=True):
    """`amount` may be negative, down to an empty wallet."""

    amount: Change


class NewKey(Body, frozen=True):
    """`key`: made where it is not given."""

    label: str | None = None
    key: str | None = None


class NewTemplate(Body, frozen=True):
    """What is not given is the router's setting, and not the default template."""

    text: str
    code_length: int | None = None
    code_seconds: float | None = None
    default: bool = False


class LimitsView(msgspec.Struct, frozen=True):
    """null = the router's setting, 0 = no limit."""

    daily: int | None
    hourly: int | None
    phone_hourly: int | None


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account and what its wallet holds."""

    id: str
    name: str
    created_at: float
    enabled: bool
    otp_enabled: bool
    balance: int
    price: int
    limits: LimitsView
    countries: list[str]
    ambiguous_policy: AmbiguousPolicy
    login: str


class AccountMade(AccountView, frozen=True, kw_only=True):
    """`key` is shown this once."""

    key: str


class Balance(msgspec.Struct, frozen=True):
    """What the wallet of account `id` holds."""

    id: str
    balance: int


class KeyMade(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is shown this once; later there is its `hint`, the last four characters."""

    id: str
    label: str
    key: str
    created_at: float
    hint: str


class TemplateSet(msgspec.Struct, frozen=True, kw_only=True):
    """`segments`: the size of its longest rendering."""

    key: str
    text: str
    code_length: int
    code_seconds: float
    default: bool
    segments: Segments
    warnings: list[str]


# Seeds


class QuotaBody(Body, frozen=True):
    """Parts per window, and distinct recipients per UTC month; null = as it is (at first: the router's setting), 0 = no limit."""

    half_hour: int | None = None
    hour: int | None = None
    day: int | None = None
    recipients: int | None = None


class NewSeed(Body, frozen=True):
    """`carrier`: where it is not given, the IMSI's, else the MSISDN's. `shared` false: it serves its `account` only."""

    imsi: str
    msisdn: str | None = None
    carrier: str | None = None
    pace_seconds: float | None = None
    quota: QuotaBody | None = None
    account: str | None = None
    shared: bool | None = None


class SeedChange(Body, frozen=True):
    """What is not given stays as it is."""

    enabled: bool | None = None
    draining: bool | None = None
    carrier: str | None = None
    msisdn: str | None = None
    pace_seconds: float | None = None
    quota: QuotaBody | None = None
    account: str | None = None
    shared: bool | None = None


class SeedTest(msgspec.Struct, frozen=True, kw_only=True):
    """A reliability test. Times are Unix seconds, null while they are not known; `status`: pending, success, timedout.

    `message_id`: its SMS, whose `message_state` and `message_reason` tell more while the test is pending; null where it has no record yet,
    or no more.
    """

    id: int
    imsi: str
    status: str
    started_at: float
    deadline: float
    needs_arrival: bool
    sent_at: float | None
    received_at: float | None
    routed_at: float | None
    message_id: str
    message_state: str | None
    message_reason: str | None


class SeedEnrolled(SeedView, frozen=True, kw_only=True):
    """`token` is shown this once."""

    token: str


# Messages


class NewMessage(Body, frozen=True):
    """With `text` a plain SMS (lane `notification` unless given), without it a code from a template (lane `otp`)."""

    account: str
    phone: str
    text: str | None = None
    template_key: str | None = None
    lane: Lane | None = None


class MessageMade(msgspec.Struct, frozen=True):
    """The message that was accepted, or that the same `Idempotency-Key` made before."""

    id: str
    state: State


# The queue


class LaneView(msgspec.Struct, frozen=True):
    """`oldest_seconds`: how long its oldest entry waits; null where it is empty or the broker cannot tell."""

    depth: int
    oldest_seconds: float | None


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """`parked`: messages that wait for a seed, by lot (carrier or country). `open`: messages that are not settled. `inbound`: SMS that came
    in and wait on the queue seedrouter.inbound. `webhooks_waiting`: deliveries that are still to be made; `webhooks_dead`: given up.
    """

    lanes: dict[Lane, LaneView]
    dead_letters: int
    parked: dict[str, int]
    open: int
    inbound: int
    webhooks_waiting: int
    webhooks_dead: int


class Portability(Body, frozen=True):
    """Number → the carrier it was ported to (MCC+MNC); an empty carrier removes the entry. At most 10,000."""

    numbers: dict[str, str]


class Imported(msgspec.Struct, frozen=True):
    """How many numbers were set and how many entries were removed."""

    imported: int
    removed: int
