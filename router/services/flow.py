"""What becomes of messages, counted for the live figures (`services/statistics.py`): `services/observe.py` calls it beside the metrics."""

import msgspec

from router.domain.message import Attempt, Message
from router.domain.numbering import mask
from router.domain.statistics import FAILOVERS, FLOW, Failover, flow_field, within
from router.tally import TALLY

_MAX_ERROR_LENGTH = 120
"""What a phone says is cut: it may say anything."""
_encode = msgspec.msgpack.Encoder().encode


def count(message: Message, what: str, at: float) -> None:
    """One more of `statistics.COUNTED`, or of a bucket of the time to sent. `at`: the router's clock."""
    TALLY.add(FLOW, flow_field(message.carrier, what), 1, at)


def reached(after: Message, now: float) -> None:
    """It is sent, or over."""
    count(after, after.state, now)
    if after.state == "sent":
        count(after, within(now - after.created_at), now)


def failed_over(message: Message, ended: Attempt, now: float) -> None:
    """It was taken from the seed of this attempt."""
    count(message, "failovers", now)
    failover = Failover(
        at=now, message=message.id, to=mask(message.to), carrier=ended.carrier, seed=ended.seed, reason=ended.state,  # type: ignore[arg-type]
        error=ended.error and ended.error[:_MAX_ERROR_LENGTH], attempt=ended.number,
    )  # fmt: skip
    TALLY.note(FAILOVERS, _encode(failover))
