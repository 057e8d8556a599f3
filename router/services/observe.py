"""Counts and logs what happened to messages, from the difference between before and after: one place for all who change them."""

import structlog

from router import metrics
from router.domain.errors import NotFound, RouterError
from router.domain.lifecycle import FAILOVER_REASONS, ReportState, Stale
from router.domain.message import Message
from router.domain.numbering import mask

_log = structlog.get_logger()


def transition(before: Message, after: Message, now: float) -> None:
    """One committed change of a message."""
    carrier, dialect = metrics.carrier_label(after.carrier), after.dialect
    _attempts(before, after, now)
    if after.dispatched_at is not None and before.dispatched_at is None:
        metrics.DISPATCHED.labels(carrier, dialect).inc()
    if after.state == before.state:
        return
    if after.state == "pending":
        for old, new in zip(before.attempts, after.attempts, strict=True):
            if new.state != old.state and new.state in FAILOVER_REASONS:
                metrics.FAILOVERS.labels(new.state).inc()
    elif after.state in metrics.BY_STATE:
        metrics.BY_STATE[after.state].labels(carrier, dialect).inc()
        if after.state == "sent":
            metrics.SENT_SECONDS.labels(carrier).observe(max(0.0, now - after.created_at))
    log = _log.info if after.is_final else _log.debug
    log(
        "message.moved", message_id=after.id, account=after.account, to=mask(after.to), state=after.state, before=before.state,
        reason=after.reason, attempt=len(after.attempts), seed=after.current.seed if after.current else None,
    )  # fmt: skip


def _attempts(before: Message, after: Message, now: float) -> None:
    if before.attempts == after.attempts:
        return
    carrier = metrics.carrier_label(after.carrier)
    if len(after.attempts) > len(before.attempts):
        metrics.ATTEMPTS.labels(carrier).inc()
    for old, new in zip(before.attempts, after.attempts, strict=False):
        if new.handed_at is not None and old.handed_at is None and not any(a.handed_at for a in before.attempts):
            metrics.HANDOVER_SECONDS.labels(carrier).observe(max(0.0, now - after.created_at))
        if new.state == "ambiguous" and old.state != "ambiguous":
            metrics.AMBIGUOUS.labels(carrier).inc()
            _log.warning("attempt.ambiguous", message_id=after.id, attempt=new.number, seed=new.seed)
    if after.times_on_air > max(1, before.times_on_air):
        metrics.DUPLICATES.labels(carrier).inc()
        _log.warning("message.duplicate", message_id=after.id, times=after.times_on_air)


def accepted(message: Message) -> None:
    """It is recorded and queued."""
    metrics.ACCEPTED.labels(metrics.carrier_label(message.carrier), message.dialect).inc()
    _log.info("message.accepted", message_id=message.id, account=message.account, to=mask(message.to), carrier=message.carrier)


def parked(message: Message) -> None:
    """It has to wait for a seed."""
    metrics.PARKED_TOTAL.labels(metrics.carrier_label(message.carrier)).inc()
    _log.debug("message.parked", message_id=message.id, carrier=message.carrier)


def reported(state: ReportState, error: RouterError | None) -> bool:
    """Counts a report by what came of it; answers whether it was stale, or of what is not there. Any other error is raised."""
    is_stale = isinstance(error, (Stale, NotFound))
    metrics.REPORTS.labels(state, "stale" if is_stale else "accepted").inc()
    if error is not None and not is_stale:
        raise error
    return is_stale


def refund(message: Message, amount: int) -> None:
    """So much was given back (minor units); nothing is told of nothing."""
    if amount:
        metrics.REFUNDS.labels(message.dialect).inc()
        _log.info("message.refunded", message_id=message.id, account=message.account, amount=amount)
