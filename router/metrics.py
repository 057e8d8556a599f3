"""What Prometheus is told. Labels have few values: a carrier, a dialect, a reason, a state; never a phone, a message, an account or a seed.

Every known label value stands at zero from the start, so that a rate over the first event is right. Each process exports all of them. A
counter tells what this process did: add them up. A gauge says in its help whether it is one view of what all see (`max`), or of this
process alone (`sum`).
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.utils import floatToGoString

from router.domain.carriers import carriers_of_country
from router.domain.fraud import REASONS as BLOCK_REASONS
from router.domain.lifecycle import FAILOVER_REASONS
from router.domain.message import DIALECTS, LANES
from router.domain.selection import REASONS

CARRIERS = (*(carrier for country in ("DZ", "TN", "MA") for carrier in carriers_of_country(country)), "other")
_KNOWN_CARRIERS = frozenset(CARRIERS)
REFUSALS = ("unauthorized", "forbidden", "invalid", "country", "limit", "balance", "no_seed", "blocked", "unavailable")
REPORT_STATES = ("accepted", "radio", "sent", "delivered", "failed", "cancelled")
ENDS = ("sent", "verified", "failed", "expired", "cancelled")
UNSENT = ("failed", "expired")
OUTCOMES = ("on_net", "cross_carrier", "parked", "reserve_refused")
PING_AGES = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 3600.0, 86_400.0, float("inf"))
PING_AGE_LABELS: tuple[str, ...] = tuple(map(floatToGoString, PING_AGES))
HEARTBEATS = ("arrived", "late", "failed")
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


def carrier_label(carrier: str) -> str:
    """The carrier, or `other` for one that we have no table of."""
    return carrier if carrier in _KNOWN_CARRIERS else "other"


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


def children(metric: MetricWrapperBase, *labels: Sequence[str]) -> dict[tuple[str, ...], Any]:
    """The series of these labels' values, ready to be counted on: looking one up by `labels` costs ten times as much."""
    return {values: metric.labels(*values) for values in product(*labels)}


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
ENDED = _counter(
    "messages_ended", "Messages that became final, once each: a plain SMS with its sending, a code verified or over.",
    carrier=CARRIERS, dialect=DIALECTS, state=ENDS,
)  # fmt: skip
CODES_SENT = _counter("codes_sent", "Codes that went out: sent, or verified before their seed said so.", carrier=CARRIERS)
CODES_UNSENT = _counter(
    "codes_unsent", "Codes whose time ended, or that failed, without having been sent.", carrier=CARRIERS, state=UNSENT
)
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
CHOICES = _counter(
    "choices", "Choices of a seed: of the own carrier, of another one, none (the message is parked), or one whose record then refused.",
    outcome=OUTCOMES,
)  # fmt: skip
PASSED_OVER = _counter("passed_over", "Seeds that were looked at for a message and could not have it.", reason=REASONS)
REDELIVERED = _counter("queue_redelivered", "Queue entries that the broker gave out once more: their first consumer had left them.")
HEARTBEATS_TOTAL = _counter("heartbeats", "Heartbeats by what became of them; late: arrived, yet not in time.", result=HEARTBEATS)
PREFIX_BLOCKS = _counter(
    "prefix_blocks", "Blocks of prefixes that began; in the mode `watch`, also what would have been blocked.", reason=BLOCK_REASONS
)
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
CODE_SENT_SECONDS = _histogram("code_sent_seconds", "The same of codes alone: a bulk message may take long, and nobody minds.")

LOOP_LAG_SECONDS = Histogram(
    "seedrouter_loop_lag_seconds", "How much later than asked this process' event loop woke a sleeper.", buckets=_LAG_BUCKETS
)

AMQP_MESSAGES = _counter(
    "amqp_phone_messages", "Messages for phones at RabbitMQ: put into their queues, refused there, expired untaken, given back, sent.",
    result=("published", "refused", "expired", "failed", "dropped", "unclear", "acknowledged"),
)  # fmt: skip
AMQP_PHONES = _gauge("amqp_phones_present", "Phones at RabbitMQ whose queue has its one consumer, as the relay at work knows it (max).")

IN_FLIGHT = _gauge("in_flight_parts", "Parts that seeds hold (each dispatcher's copy: max).", carrier=CARRIERS)
SEEDS_ENROLLED = _gauge("seeds_enrolled", "Enrolled seeds that were ever heard of (each dispatcher's copy: max).", carrier=CARRIERS)
SEEDS_BY_PING_AGE = _gauge(
    "seeds_by_ping_age", "Enrolled seeds that were heard of within so many seconds, cumulative (each dispatcher's copy: max).",
    le=PING_AGE_LABELS,
)  # fmt: skip
SEEDS_FAILING = _gauge("seeds_failing", "Online seeds with a failure share above 0.5 (each dispatcher's copy: max).", carrier=CARRIERS)
SEED_ROOM = _gauge("seed_room_parts", "Parts that online seeds could take at this moment (each dispatcher's copy: max).", carrier=CARRIERS)
QUOTA_USED = _gauge(
    "seeds_quota_used_ratio", "Used share of the tightest limit, mean of the online seeds (each dispatcher's copy: max).", carrier=CARRIERS
)
LOAD_MAX = _gauge(
    "seed_load_max_ratio",
    "Messages to the busiest seed ÷ mean of the online seeds, the mean at least 1; of what this dispatcher gave out in the last 5 minutes, "
    "0 = nothing (of each dispatcher alone: max).", carrier=CARRIERS,
)  # fmt: skip
SEEDS_ONLINE = _gauge("seeds_online", "Seeds that may send and were heard of within their online window (max).", carrier=CARRIERS)
SEEDS_TRIPPED = _gauge("seeds_tripped", "Online seeds whose breaker is open (each dispatcher's copy: max).", carrier=CARRIERS)
SYNC_SOCKETS_OPEN = _gauge("sync_sockets_open", "Open sockets of the synchronisation at this api process (sum).")
STREAMS_OPEN = _gauge("event_streams_open", "Open event streams of SMSGate phones at this api process (sum).")
QUEUE_DEPTH = _gauge("queue_depth", "Entries on the queue (each timekeeper's view: max).", lane=LANES)
QUEUE_OLDEST_SECONDS = _gauge("queue_oldest_seconds", "Age of the oldest entry on the queue (each timekeeper's view: max).", lane=LANES)
QUEUE_UNACKNOWLEDGED = _gauge(
    "queue_unacknowledged", "Entries in consumers' hands; 0 where the broker cannot tell (each timekeeper's view: max).", lane=LANES
)
QUEUE_CONSUMERS = _gauge("queue_consumers", "Consumers of the queue that this process has connected: 1 or 0 for a dispatcher (sum).")
DEAD_LETTER_DEPTH = _gauge("dead_letter_depth", "Entries on the dead-letter queue (each timekeeper's view: max).")
PARKED = _gauge("parked", "Messages that wait for a seed (each timekeeper's view: max).", carrier=CARRIERS)
PREFIXES_BLOCKED = _gauge(
    "prefixes_blocked", "Prefixes to which messages are refused now (each timekeeper's view: max).", carrier=CARRIERS
)
PREFIXES_SUSPECTED = _gauge(
    "prefixes_suspected", "Prefixes under suspicion that nobody is refused for, by the mode `watch` (each timekeeper's view: max).",
    carrier=CARRIERS,
)  # fmt: skip
MESSAGES_OPEN = _gauge(
    "messages_open", "Messages that are not settled: waiting, in flight, or sent and not verified yet (each timekeeper's view: max)."
)
INBOUND_DEPTH = _gauge("inbound_depth", "SMS that wait on the queue seedrouter.inbound, as this process knows it (max).")
DELIVERIES_WAITING = _gauge("deliveries_waiting", "Webhook deliveries that are still to be made (max).")
DELIVERIES_DEAD = _gauge("deliveries_dead", "Webhook deliveries that were given up and can be replayed (max).")
TARGETS_PAUSED = _gauge("targets_paused", "Addresses of webhooks whose breaker is open, as this courier knows it (max).")
WORKERS = ("dispatcher", "timekeeper", "courier", "relay")
LAST_RUN = _gauge("last_run_timestamp_seconds", "When a worker last went round its loop (max by role).", role=WORKERS)

HEARTBEAT_SENT_AT = _gauge(
    "heartbeat_sent_timestamp_seconds", "When the last heartbeat was begun; 0 = never (each timekeeper's view: max)."
)
HEARTBEAT_ARRIVED_AT = _gauge(
    "heartbeat_arrived_timestamp_seconds", "When a heartbeat last came out at the other end; 0 = never (each timekeeper's view: max)."
)
HEARTBEAT_SECONDS = _gauge("heartbeat_seconds", "How long the last heartbeat that arrived was under way (each timekeeper's view: max).")

REDIS_UP = _gauge("redis_up", "Every Redis that writes answers: 1, else 0 (each timekeeper's view: max, as for all redis_ gauges).")
REDIS_PING_SECONDS = _gauge("redis_ping_seconds", "Time of a PING, the slowest node (max).")
REDIS_USED_MEMORY = _gauge("redis_used_memory_bytes", "Memory in use, all nodes (max).")
REDIS_MAXMEMORY = _gauge("redis_maxmemory_bytes", "The limit of memory, all nodes; 0 = a node has none (max).")
REDIS_FRAGMENTATION = _gauge("redis_fragmentation_ratio", "Memory taken from the system ÷ memory in use, the worst node (max).")
REDIS_EVICTED = _gauge("redis_evicted_keys", "Keys thrown away for want of memory since the start, all nodes: must stay 0 (max).")
REDIS_COMMANDS = _gauge("redis_commands_processed", "Commands since the start, all nodes (max).")
REDIS_CLIENTS = _gauge("redis_connected_clients", "Open connections, all nodes (max).")
REDIS_AOF = _gauge("redis_aof_enabled", "Every node keeps an append-only file: 1, else 0 (max).")
REDIS_POLICY_OK = _gauge("redis_eviction_policy_ok", "Every node's maxmemory-policy is noeviction: 1, else 0 (max).")
REDIS_WRITE_OK = _gauge("redis_last_write_ok", "Every node's last writes to its files went well, AOF and RDB: 1, else 0 (max).")
REDIS_REPLICA_LAG = _gauge("redis_replica_lag_bytes", "How far the slowest replica is behind; 0 also where there is none (max).")
