"""Queue and Redis: what waits, who takes it, whether what is kept is kept; and webhooks."""

from typing import Any

from deploy.grafana.board import Row, board
from deploy.grafana.panels import Query, figure, series

UID = "seedrouter-queue"
_YES = {"1": ("yes", "green"), "0": ("NO", "red")}


def dashboard() -> dict[str, Any]:
    """seedrouter-queue."""
    return board(
        UID, "Seedrouter / Queue and Redis", "What waits, who takes it, whether what is kept is kept; and webhooks.",
        [Row("Queue", _queue()), Row("Redis: is it as it must be?", _redis_state()), Row("Redis", _redis()), Row("Webhooks", _webhooks())],
    )  # fmt: skip


def _redis_now(metric: str) -> str:
    """Only timekeepers look at Redis; the other roles export the same series, at zero."""
    return f'max(seedrouter_redis_{metric}{{job="timekeeper"}})'


def _queue() -> list[Any]:
    return [
        series(
            1, "Depth",
            "Entries on the queue, by lane, those in consumers' hands included. It should be near zero: what has no seed is parked.",
            "it grows: fewer dispatchers than needed, or none. Another one can be started at any time.",
            "short", Query("max by (lane) (seedrouter_queue_depth)", "{{lane}}"), stacked=True, decimals=0,
        ),
        series(
            2, "Age of the oldest entry", "By lane. RabbitMQ cannot tell it: there it stays at zero, look at the depth and the heartbeat.",
            "codes above 10 s: dispatchers are too slow or gone. Above 60 s with all of it in hands: one hangs.",
            "s", Query("max by (lane) (seedrouter_queue_oldest_seconds)", "{{lane}}"), alerts=["ConsumerLag", "UnacknowledgedStuck"],
        ),
        series(
            3, "Unacknowledged", "Entries in consumers' hands, by lane.",
            "it stays although nothing new comes: a dispatcher hangs with them. After 30 s another one takes over what a dead one held.",
            "short", Query("max by (lane) (seedrouter_queue_unacknowledged)", "{{lane}}"), stacked=True, decimals=0,
        ),
        series(
            4, "Consumers", "Dispatchers that are connected to the queue.",
            "fewer than dispatchers run: they cannot reach the broker, their log says `queue.consumer_reconnects`.",
            "short", Query("sum(seedrouter_queue_consumers)", "consumers"), decimals=0,
        ),
        series(
            5, "Given out again", "Per second: entries that a consumer left behind, and messages that were put on the queue once more.",
            "redelivered: dispatchers die or hang. Republished: the queue lost entries, or nobody took them for 5 s.",
            "cps", Query("sum(rate(seedrouter_queue_redelivered_total[5m]))", "redelivered"),
            Query("sum(rate(seedrouter_republished_total[5m]))", "republished"),
        ),
        series(
            6, "Dead letters", "Entries on the dead-letter queue, and how many came within 5 minutes, by reason.",
            "each is a message that nobody could handle. The console's page *Dead letters* shows and replays them.",
            "short", Query("max(seedrouter_dead_letter_depth)", "there now"),
            Query("sum by (reason) (increase(seedrouter_dead_letters_total[5m]))", "new: {{reason}}"), alerts=["DeadLetters"], decimals=0,
        ),
        series(
            7, "Loop lag, p99", "How much later than asked the event loops of each role woke a sleeper.",
            "above 0.1 s the role is short of processor time: start another one, or give it a faster core.",
            "s", Query("histogram_quantile(0.99, sum by (le, job) (rate(seedrouter_loop_lag_seconds_bucket[$__rate_interval])))",
            "{{job}}"),
        ),
        series(
            8, "Incoming SMS", "SMS that wait on the queue for incoming ones, and those that came in per second, by result.",
            "it grows: nobody takes them (`seedrouter inbound`). At its bound the router answers 503 to who brings more.",
            "short", Query("max(seedrouter_inbound_depth)", "waiting"),
            Query("sum by (result) (rate(seedrouter_incoming_total[5m]))", "{{result}} per second"),
        ),
    ]  # fmt: skip


def _redis_state() -> list[Any]:
    return [
        figure(
            20, "Answers", "Every Redis that writes answers.", "nothing is accepted and nothing is sent until it does. See the runbook.",
            "none", Query(_redis_now("up")), alerts=["RedisDown"], words=_YES,
        ),
        figure(
            21, "Refuses when full", "maxmemory-policy is noeviction everywhere.", "a full Redis drops accepted messages. See the runbook.",
            "none", Query(_redis_now("eviction_policy_ok")), alerts=["RedisEvictionPolicyWrong"], words=_YES,
        ),
        figure(
            22, "Append-only", "Every node keeps an append-only file.", "a restart loses accepted messages. See the runbook.",
            "none", Query(_redis_now("aof_enabled")), alerts=["RedisPersistenceWrong"], words=_YES,
        ),
        figure(
            23, "Last write to disk", "The last writes of append-only file and snapshot went well.", "the disk is full or broken.",
            "none", Query(_redis_now("last_write_ok")), alerts=["RedisPersistenceWrong"], words=_YES,
        ),
        figure(
            24, "Evicted", "Keys thrown away for want of memory since Redis started.",
            "anything but 0: messages are gone. See *Refuses when full*.",
            "short", Query(_redis_now("evicted_keys")), decimals=0,
        ),
        figure(
            25, "Fragmentation", "Memory taken from the system ÷ memory in use, the worst node.",
            "above 1.5 with gigabytes in use: restart that node when it is quiet. With some megabytes it says nothing.",
            "none", Query(_redis_now("fragmentation_ratio")), decimals=2,
        ),
    ]  # fmt: skip


def _redis() -> list[Any]:
    return [
        series(
            30, "Memory used", "Used ÷ maxmemory, all nodes. Without maxmemory there is nothing to show: set one.",
            "at 1 new messages are refused. A waiting message takes about 1.1 kB; records stay for the retention.",
            "percentunit", Query("seedrouter:redis_memory_used:ratio", "used"), alerts=["RedisMemoryHigh"], ceiling=1,
        ),
        series(
            31, "Memory", "Bytes in use, and the limit.",
            "it grows day by day: shorten the retention (`SEEDROUTER_RETENTION_SECONDS`), or add memory.",
            "bytes", Query(_redis_now("used_memory_bytes"), "used"), Query(_redis_now("maxmemory_bytes"), "maxmemory"),
        ),
        series(
            32, "Ping", "Time of a PING from the timekeeper, the slowest node.",
            "above some milliseconds: a slow disk, a slow command (SLOWLOG GET), swap, or a network in between.",
            "s", Query(_redis_now("ping_seconds"), "ping"),
        ),
        series(
            33, "Commands", "Commands per second, all nodes.",
            "it rises without traffic: something polls. A hundred thousand is one core's worth.",
            "ops", Query('max(rate(seedrouter_redis_commands_processed{job="timekeeper"}[$__rate_interval]))', "commands"),
        ),
        series(
            34, "Clients", "Open connections, all nodes.",
            "it grows without end: somebody opens and does not close. Redis' own bound is 10,000.",
            "short", Query(_redis_now("connected_clients"), "clients"), decimals=0,
        ),
        series(
            35, "Replica lag", "How far the slowest replica is behind. Zero also where there is none.",
            "a failover now would lose so much of what was accepted.",
            "bytes", Query(_redis_now("replica_lag_bytes"), "behind"),
        ),
    ]  # fmt: skip


def _webhooks() -> list[Any]:
    return [
        series(
            40, "Deliveries", "Tries per second by how they ended: arrived, failed for now, given up, no longer wanted.",
            "failed: a receiver is down or slow; it is tried again for hours. Dead: it was given up.",
            "cps", Query("sum by (result) (rate(seedrouter_deliveries_total[$__rate_interval]))", "{{result}}"), stacked=True,
        ),
        series(
            41, "Given up", "Deliveries given up within an hour, and those that are kept and can be replayed.",
            "find the receiver by `seedrouter webhooks dead`; when it is well again, `seedrouter webhooks replay`.",
            "short", Query('sum(increase(seedrouter_deliveries_total{result="dead"}[1h]))', "within an hour"),
            Query("max(seedrouter_deliveries_dead)", "kept"), alerts=["WebhooksDead"], decimals=0,
        ),
        series(
            42, "Waiting", "Deliveries that are still to be made, and addresses whose breaker is open.",
            "waiting grows with none paused: couriers are too few. With some paused: those receivers are down.",
            "short", Query("max(seedrouter_deliveries_waiting)", "waiting"), Query("max(seedrouter_targets_paused)", "paused addresses"),
            decimals=0,
        ),
        series(
            43, "Time to delivery", "From an event until its receiver had it.",
            "p50 is high: receivers answer slowly, or couriers are too few. p99 alone: some receiver was down for a while.",
            "s",
            *(
                Query(f"histogram_quantile({share}, sum by (le) (rate(seedrouter_delivery_seconds_bucket[$__rate_interval])))", name)
                for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
        ),
    ]  # fmt: skip
