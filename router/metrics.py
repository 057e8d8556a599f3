"""What Prometheus is told. Labels have few values: a carrier, a dialect, a reason, a state; never a phone, a message, an account or a seed.

Every known label value stands at zero from the start, so that a rate over the first event is right.
"""

from itertools import product

from prometheus_client import Counter, Gauge, Histogram

from router.domain.carriers import carriers_of_country
from router.domain.lifecycle import FAILOVER_REASONS
from router.domain.message import DIALECTS, LANES

CARRIERS = (*(carrier for country in ("DZ", "TN", "MA") for carrier in carriers_of_country(country)), "other")
REFUSALS = ("unauthorized", "forbidden", "invalid", "limit", "balance", "no_seed", "unavailable")
REPORT_STATES = ("accepted", "radio", "sent", "delivered", "failed", "cancelled")
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)


def carrier_label(carrier: str) -> str:
    """The carrier, or `other` for one that we have no table of."""
    return carrier if carrier in CARRIERS else "other"


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Counter:
    counter = Counter(f"seedrouter_{name}", text, tuple(labels))
    for values in product(*labels.values()) if labels else ():
        counter.labels(*values)
    return counter


def _gauge(name: str, text: str, **labels: tuple[str, ...]) -> Gauge:
    gauge = Gauge(f"seedrouter_{name}", text, tuple(labels))
    for values in product(*labels.values()) if labels else ():
        gauge.labels(*values)
    return gauge


def _histogram(name: str, text: str) -> Histogram:
    histogram = Histogram(f"seedrouter_{name}", text, ("carrier",), buckets=_BUCKETS)
    for carrier in CARRIERS:
        histogram.labels(carrier)
    return histogram


def _messages(verb: str, text: str) -> Counter:
    return _counter(f"messages_{verb}", text, carrier=CARRIERS, dialect=DIALECTS)


ACCEPTED = _messages("accepted", "Messages accepted: recorded, queued and answered.")
DISPATCHED = _messages("dispatched", "Messages given to their first seed.")
SENT = _messages("sent", "Messages that a seed has sent.")
VERIFIED = _messages("verified", "Codes that came back right.")
FAILED = _messages("failed", "Messages that failed for good.")
EXPIRED = _messages("expired", "Messages whose time ended.")
CANCELLED = _messages("cancelled", "Messages withdrawn before delivery.")
BY_STATE = {"sent": SENT, "verified": VERIFIED, "failed": FAILED, "expired": EXPIRED, "cancelled": CANCELLED}

REFUSED = _counter("requests_refused", "Submissions refused.", dialect=DIALECTS, reason=REFUSALS)
ATTEMPTS = _counter("attempts", "Attempts begun.", carrier=CARRIERS)
FAILOVERS = _counter("failovers", "Messages taken from a seed for another.", reason=FAILOVER_REASONS)
AMBIGUOUS = _counter("ambiguous", "Attempts of which nobody knows whether they went out.", carrier=CARRIERS)
DUPLICATES = _counter("duplicates", "Messages that went out more than once.", carrier=CARRIERS)
REFUNDS = _counter("refunds", "Charges given back.", dialect=DIALECTS)
REPORTS = _counter("reports", "Reports of seeds.", state=REPORT_STATES, result=("accepted", "stale"))
PINGS = _counter("pings", "Signs of life of seeds.", kind=("ping", "pull", "report"))
PARKED_TOTAL = _counter("parkings", "Times a message had to wait for a seed.", carrier=CARRIERS)
REPUBLISHED = _counter("republished", "Messages put on the queue again because nobody had taken them.")
DEAD_LETTERS = _counter("dead_letters", "Queue entries that could not be handled.", reason=("undecodable", "unknown_message", "error"))

SYNCS = _counter("syncs", "Steps of synchronisations.", step=("handshake", "acked", "wrong_password", "locked"))
DELIVERIES = _counter(
    "deliveries", "Webhook deliveries: arrived, failed for now, given up, or no longer wanted.",
    result=("delivered", "failed", "dead", "withdrawn"),
)  # fmt: skip

INCOMING = _counter(
    "incoming", "SMS that came in: taken, known already, or refused for now.",
    kind=("platform", "seed", "phone"), result=("taken", "repeated", "unavailable"),
)  # fmt: skip

DELIVERY_SECONDS = Histogram(
    "seedrouter_delivery_seconds", "From a webhook's event until its receiver had it.", buckets=(*_BUCKETS, 900, 3600, 14_400, 86_400)
)
HANDOVER_SECONDS = _histogram("handover_seconds", "From acceptance until a seed had the message.")
SENT_SECONDS = _histogram("sent_seconds", "From acceptance until a seed had sent the message.")

AMQP_MESSAGES = _counter(
    "amqp_phone_messages", "Messages for phones at RabbitMQ: put into their queues, refused there, expired untaken, given back, sent.",
    result=("published", "refused", "expired", "failed", "dropped", "unclear", "acknowledged"),
)  # fmt: skip
AMQP_PHONES = _gauge("amqp_phones_present", "Phones at RabbitMQ whose queue has its one consumer, as the relay at work knows it.")

IN_FLIGHT = _gauge("in_flight_parts", "Parts that seeds hold, as this process knows it.", carrier=CARRIERS)
SEEDS_ONLINE = _gauge("seeds_online", "Seeds that may send and were heard of within their online window.", carrier=CARRIERS)
SEEDS_TRIPPED = _gauge("seeds_tripped", "Online seeds whose breaker is open.", carrier=CARRIERS)
SYNC_SOCKETS_OPEN = _gauge("sync_sockets_open", "Open sockets of the synchronisation at this api process.")
STREAMS_OPEN = _gauge("event_streams_open", "Open event streams of SMSGate phones at this api process.")
QUEUE_DEPTH = _gauge("queue_depth", "Entries on the queue.", lane=LANES)
QUEUE_OLDEST_SECONDS = _gauge("queue_oldest_seconds", "Age of the oldest entry on the queue.", lane=LANES)
DEAD_LETTER_DEPTH = _gauge("dead_letter_depth", "Entries on the dead-letter queue.")
PARKED = _gauge("parked", "Messages that wait for a seed.", carrier=CARRIERS)
MESSAGES_OPEN = _gauge("messages_open", "Messages that are not settled: waiting, in flight, or sent and not verified yet.")
INBOUND_DEPTH = _gauge("inbound_depth", "SMS that wait on the queue seedrouter.inbound, as this process knows it.")
DELIVERIES_WAITING = _gauge("deliveries_waiting", "Webhook deliveries that are still to be made.")
DELIVERIES_DEAD = _gauge("deliveries_dead", "Webhook deliveries that were given up and can be replayed.")
TARGETS_PAUSED = _gauge("targets_paused", "Addresses of webhooks whose breaker is open, as this courier knows it.")
WORKERS = ("dispatcher", "timekeeper", "courier", "relay")
LAST_RUN = _gauge("last_run_timestamp_seconds", "When a worker last went round its loop.", role=WORKERS)
