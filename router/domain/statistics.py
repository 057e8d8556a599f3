"""Live figures: what was counted per minute and carrier, and what follows from sums of it.

Times are Unix seconds by the router's clock. Counts of buckets are added up by all processes (`router.tally`), so that a figure is one of
the whole router. Figures of a minute are of what happened in it, whenever the messages were accepted.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from router.domain.census import SeedTally
from router.domain.lifecycle import FailoverReason

SENT_BUCKETS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of what is kept of the time from acceptance to sent; one more bucket has what took longer."""
MINUTE_SECONDS: Final = 60
MAX_MINUTES: Final = 1440
FLOW: Final = "flow"
"""The family of what becomes of messages."""
FAILOVERS: Final = "failovers"
"""The stream of the latest failovers."""
MAX_FAILOVERS: Final = 1000
"""How many of them are kept."""

_NONE_SENT: Final = (0,) * (len(SENT_BUCKETS_SECONDS) + 1)
_WITHIN: Final = tuple(f"<{place}" for place in range(len(_NONE_SENT)))


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Counts that are kept in buckets of one width. `width_seconds` is a multiple of a minute (`router.tally.GRAIN_SECONDS`)."""

    name: str
    width_seconds: int = MINUTE_SECONDS
    keep_seconds: int
    """A bucket is forgotten so long after it was last added to."""

    def __post_init__(self) -> None:
        if self.width_seconds < MINUTE_SECONDS or self.width_seconds % MINUTE_SECONDS:
            raise ValueError(f"{self.name}: buckets of whole minutes, not {self.width_seconds} s")

    def start(self, at: float) -> int:
        """When the bucket of that moment begins."""
        return int(at) // self.width_seconds * self.width_seconds


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to messages. `sent_within`: per bucket of SENT_BUCKETS_SECONDS, how many were sent within it; not cumulative."""

    accepted: int = 0
    dispatched: int = 0
    """Given to their first seed."""
    sent: int = 0
    verified: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    failovers: int = 0
    ambiguous: int = 0
    """Attempts, not messages."""
    codes_sent: int = 0
    """`sent`, of codes only: what `conversion` is a share of."""
    sent_within: tuple[int, ...] = _NONE_SENT

    def __add__(self, other: "Counts") -> "Counts":
        within = tuple(mine + theirs for mine, theirs in zip(self.sent_within, other.sent_within, strict=True))
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in COUNTED}, sent_within=within)

    @property
    def conversion(self) -> float | None:
        """The share of sent codes that came back right, 0.0 to 1.0; None where none was sent.

        In a short time it is a rough figure, since a code is verified later than it is sent; so it is never told as more than 1.0.
        """
        return min(1.0, self.verified / self.codes_sent) if self.codes_sent else None

    def sent_quantile(self, q: float) -> float | None:
        """Seconds from acceptance to sent that a share `q` (0.0 to 1.0) of the sent messages did not exceed; None where none was sent.

        Spread evenly within its bucket, as Prometheus' histogram_quantile does; what took longer than the last bound counts as that.
        """
        total = sum(self.sent_within)
        if not total:
            return None
        rank, below = q * total, 0
        for place, upper in enumerate(SENT_BUCKETS_SECONDS):
            inside = self.sent_within[place]
            if inside and below + inside >= rank:
                lower = SENT_BUCKETS_SECONDS[place - 1] if place else 0.0
                return lower + (upper - lower) * max(0.0, rank - below) / inside
            below += inside
        return SENT_BUCKETS_SECONDS[-1]


COUNTED: Final = tuple(name for name in Counts.__struct_fields__ if name != "sent_within")
"""The plain counts."""


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One minute, which begins `at`. `carriers`: by the messages' carrier, MCC+MNC; empty where no table knows it."""

    at: float
    carriers: dict[str, Counts]

    def total(self) -> Counts:
        """Of all carriers."""
        return total(self.carriers.values())


def total(many: Iterable[Counts]) -> Counts:
    """All of them together."""
    return sum(many, Counts())


def flow_field(carrier: str, what: str) -> str:
    """The field of a bucket of `FLOW` for one of `COUNTED`, or for what `within` names."""
    return f"{carrier}:{what}"


def within(seconds: float) -> str:
    """The bucket of SENT_BUCKETS_SECONDS that a time to sent falls into, as fields are named: `<3` is the fourth."""
    return _WITHIN[bisect_left(SENT_BUCKETS_SECONDS, seconds)]


def read_flow(fields: Mapping[str, int]) -> dict[str, Counts]:
    """A bucket of `FLOW`, by carrier. Fields that this version does not know are passed over."""
    found: dict[str, dict[str, int]] = {}
    for field, n in fields.items():
        carrier, _, what = field.rpartition(":")
        found.setdefault(carrier, {})[what] = n
    return {
        carrier: Counts(
            **{name: counts[name] for name in COUNTED if name in counts}, sent_within=tuple(counts.get(name, 0) for name in _WITHIN)
        )
        for carrier, counts in sorted(found.items())
    }


class Failover(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was taken from a seed for another. `to` is masked; `carrier` is the seed's; `attempt` numbers the one that ended."""

    at: float
    message: str
    to: str
    carrier: str
    seed: str
    reason: FailoverReason
    error: str | None
    attempt: int


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All seeds by carrier, and the messages that wait for one, as a dispatcher knew them `at`."""

    at: float
    carriers: dict[str, SeedTally]
    parked: dict[str, int]
    """By carrier; empty for messages that more than one carrier's seeds could serve."""


class CarrierView(msgspec.Struct, frozen=True, kw_only=True):
    """One carrier at a glance. `carrier` is empty for messages of which no table knows it."""

    carrier: str
    carrier_name: str
    online: int
    ready: int
    tripped: int
    room: int
    in_flight: int
    parked: int
    hour: Counts
    """Of the last 60 minutes."""
    as_of: float | None
    """When a dispatcher told of the seeds; None where none ever did. Without one the figures of seeds stand still."""

    @property
    def failed_over(self) -> float | None:
        """The share of the last hour's attempts that ended in a failover, 0.0 to 1.0; None where there was none.

        A message's first attempt is counted as dispatched, and each failover brings one more.
        """
        attempts = self.hour.dispatched + self.hour.failovers
        return self.hour.failovers / attempts if attempts else None
