"""Counts and logs what happened to messages, from the difference between before and after: one place for all who change them."""

import structlog

from router import metrics
from router.domain.errors import NotFound, RouterError
from router.domain.lifecycle import FAILOVER_REASONS, ReportState, Stale
from router.domain.message import DIALECTS, Message
from router.domain.numbering import mask
from router.services import flow
from router.services.prefix_tally import PREFIXES

_log = structlog.get_logger()
# All that a message's whole life counts on, looked up once
_ACCEPTED = metrics.children(metrics.ACCEPTED, metrics.CARRIERS, DIALECTS)
_DISPATCHED = metrics.children(metrics.DISPATCHED, metrics.CARRIERS, DIALECTS)
_ENDED = metrics.children(metrics.ENDED, metrics.CARRIERS, DIALECTS, metrics.ENDS)
_BY_STATE = {state: metrics.children(counter, metrics.CARRIERS, DIALECTS) for state, counter in metrics.BY_STATE.items()}
_ATTEMPTS = metrics.children(metrics.ATTEMPTS, metrics.CARRIERS)
_HANDOVER_SECONDS = metrics.children(metrics.HANDOVER_SECONDS, metrics.CARRIERS)
_SENT_SECONDS = metrics.children(metrics.SENT_SECONDS, metrics.CARRIERS)
_CODE_SENT_SECONDS = metrics.children(metrics.CODE_SENT_SECONDS, metrics.CARRIERS)
_CODES_SENT = metrics.children(metrics.CODES_SENT, metrics.CARRIERS)
_CODES_UNSENT = metrics.children(metrics.CODES_UNSENT, metrics.CARRIERS, metrics.UNSENT)
_CHOICES = metrics.children(metrics.CHOICES, metrics.OUTCOMES)


def transition(before: Message, after: Message, now: float) -> None:
    """One committed change of a message. A heartbeat's is nobody's traffic: it is counted when it has arrived (services/heartbeat.py)."""
    if after.is_heartbeat:
        return
    carrier, dialect = metrics.carrier_label(after.carrier), after.dialect
    _attempts(before, after, now)
    if after.dispatched_at is not None and before.dispatched_at is None:
        _DISPATCHED[carrier, dialect].inc()
        flow.count(after, "dispatched", now)
    if after.kind == "otp" and _went_out(after) and not _went_out(before):
        _CODES_SENT[carrier,].inc()
        flow.count(after, "codes_sent", now)
        PREFIXES.sent(after, now)
    if after.state != before.state:
        _moved(before, after, carrier, now)


def _moved(before: Message, after: Message, carrier: str, now: float) -> None:
    """It is in another state."""
    dialect = after.dialect
    if after.is_final and not before.is_final and not _is_taken_back(before, after):
        _ENDED[carrier, dialect, after.state].inc()
        if after.kind == "otp" and after.state in metrics.UNSENT and not _went_out(after):
            _CODES_UNSENT[carrier, after.state].inc()
    if after.state == "pending":
        for old, new in zip(before.attempts, after.attempts, strict=True):
            if new.state != old.state and new.state in FAILOVER_REASONS:
                metrics.FAILOVERS.labels(new.state).inc()
                flow.failed_over(after, new, now)
    elif after.state in _BY_STATE:
        _BY_STATE[after.state][carrier, dialect].inc()
        flow.reached(after, now)
        if after.state == "verified":
            PREFIXES.verified(after, now)
        if after.state == "sent":
            _SENT_SECONDS[carrier,].observe(max(0.0, now - after.created_at))
            if after.kind == "otp":
                _CODE_SENT_SECONDS[carrier,].observe(max(0.0, now - after.created_at))
    log = _log.info if after.is_final else _log.debug
    log(
        "message.moved", message_id=after.id, account=after.account, to=mask(after.to), state=after.state, before=before.state,
        reason=after.reason, attempt=len(after.attempts), seed=after.current.seed if after.current else None,
    )  # fmt: skip


def _is_taken_back(before: Message, after: Message) -> bool:
    """Its sender heard that it was not accepted (`acceptance`): the one end that is marked as told before it was."""
    return after.state == "cancelled" and after.told != before.told


def _went_out(message: Message) -> bool:
    """Does anybody know that it was sent? Whoever has the right code knows, whatever its seed says."""
    return message.sent_at is not None or message.verified_at is not None


def _attempts(before: Message, after: Message, now: float) -> None:
    if before.attempts == after.attempts:
        return
    carrier = metrics.carrier_label(after.carrier)
    if len(after.attempts) > len(before.attempts):
        _ATTEMPTS[carrier,].inc()
    for old, new in zip(before.attempts, after.attempts, strict=False):
        if new.handed_at is not None and old.handed_at is None and not any(a.handed_at for a in before.attempts):
            _HANDOVER_SECONDS[carrier,].observe(max(0.0, now - after.created_at))
        if new.state == "ambiguous" and old.state != "ambiguous":
            metrics.AMBIGUOUS.labels(carrier).inc()
            flow.count(after, "ambiguous", now)
            _log.warning("attempt.ambiguous", message_id=after.id, attempt=new.number, seed=new.seed)
    if after.times_on_air > max(1, before.times_on_air):
        metrics.DUPLICATES.labels(carrier).inc()
        _log.warning("message.duplicate", message_id=after.id, times=after.times_on_air)


def accepted(message: Message) -> None:
    """It is recorded and queued."""
    if message.is_heartbeat:
        return
    _ACCEPTED[metrics.carrier_label(message.carrier), message.dialect].inc()
    flow.count(message, "accepted", message.created_at)
    PREFIXES.accepted(message)
    _log.info("message.accepted", message_id=message.id, account=message.account, to=mask(message.to), carrier=message.carrier)


def cancelled_after_all(message: Message) -> None:
    """It was to be taken back, and counts as accepted since that came too late for others of its submission."""
    _ENDED[metrics.carrier_label(message.carrier), message.dialect, "cancelled"].inc()


def parked(message: Message) -> None:
    """It has to wait for a seed."""
    if message.is_heartbeat:
        return
    _CHOICES["parked",].inc()
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
