"""A kombu transport on Redis Streams: at-least-once delivery with leases, in bulk.

    from kombu import Connection
    from router.queue.streams import register

    register()
    with Connection("redisstreams://localhost:6379/0") as connection:
        ...

It needs kombu 5.7, redis-py 6.4 to 8, and Redis 6.2 or later, or Valkey; nothing else of this project.

**URLs.** `redisstreams://[user:password@]host[:port]/[database]`; a unix socket: `redisstreams:///path/to/redis.sock/[database]` (the path
stands where the database's number would; no `+` in the name, kombu would take what is before it for the transport). TLS: kombu's `ssl`
argument, or `?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=…` in the URL. Sentinel: the sentinels as URLs with `;` in between, or as the option
`sentinels`, and the option `master_name`. Cluster: any node, or several with `;` in between, and the option `cluster=True`. All keys of a
connection have one hash tag, so they are on one node of a cluster; different `hash_tag`s spread different applications over it.

**What is promised.** A message that was published (the call returned) is delivered until it is acknowledged, whichever client dies; how
safe it is in Redis is Redis' configuration (`appendonly yes`; `appendfsync always` or `everysec`; replication is asynchronous). It may be
delivered twice: when a consumer dies between its work and the sending of its acknowledgement (they go with the next read, at the latest
after `ack_flush_interval`), or cannot renew its lease for `visibility_timeout`. Order within a queue and priority is kept; what is given
back takes its old place. A stream holds exactly what is not acknowledged.

**Transport options** (`Connection(…, transport_options={…})`):

- `global_keyprefix` ("kombu:"), `hash_tag` ("streams"), `group` ("kombu"): names in Redis.
- `priority_steps` ([0]): a stream for each; a message of priority p goes to the highest step that is not above p. 9 is the highest, as in
  AMQP. `lowest_first_every` (10): every so many reads begin with the lowest, so that nothing starves.
- `queue_order_strategy` ("round_robin"): "sorted", "priority", a class, or the path of one "module:Class", as in
  `kombu.utils.scheduling`: `update(queues)`, `consume(n)` gives the order, `rotate(queue)` tells which queue a read began with.
- `read_count` (100): how many a read takes at most where there is no prefetch limit.
- `visibility_timeout` (30): seconds after which what a dead consumer held is delivered again. A living one renews, however long it takes.
- `delivery_limit` (10): how often a message may come again; then it goes to the dead letters. Below 0: no limit.
- `dead_letter_suffix` (".dead"): where to, if the queue has no `x-dead-letter-exchange`.
- `ack_batch_size` (500), `ack_flush_interval` (0.2 s): when gathered acknowledgements go without a read. `flush_on_sigterm` (true).
- `binding_cache_seconds` (1): how old a publisher's copy of an exchange's bindings may be.
- `temporary_queue_expires` (3600): seconds that an exclusive or auto-delete queue outlives its dead process.
- `dead_consumer_seconds` (600): a consumer that holds nothing and was silent for so long leaves the group.
- `socket_timeout` (15), `socket_connect_timeout` (5), `socket_keepalive` (true), `client_name`.
- `master_name`, `sentinels`, `sentinel_kwargs`, `min_other_sentinels`; `cluster` (false).

**Queue arguments**, in RabbitMQ's words: `x-delivery-limit`, `x-dead-letter-exchange`, `x-dead-letter-routing-key`, `x-message-ttl`,
`x-expires`. A rejected or expired message without a dead-letter exchange is dropped, as AMQP has it; one over its delivery limit, or one
that cannot be read, goes to `<queue>.dead`. Dead letters have the headers `x-death` and `x-first-death-*`; `time` is Unix seconds. A queue
that is declared again without arguments keeps those it has. **Message headers**: `x-delay`, in ms; on a redelivery `x-delivery-count`.

**Beside kombu's verbs** a channel has `publish_many(queue, bodies, …)` for ready bytes, `flush_acks()`, and `queue_state(queue)`.

**Where it differs from AMQP.** A late acknowledgement of a consumer that lost its lease removes the message all the same. Expiry is looked
at on delivery. A connection has one consumer per queue (kombu's virtual transports). Messages that were given back are found by a waiting
consumer within a second. An auto-delete queue that nobody ever consumed ends after `temporary_queue_expires`. Purging takes delayed
messages along.
"""

from .transport import Transport

__all__ = ["Transport", "register"]


def register(alias: str = "redisstreams") -> None:
    """Makes `redisstreams://…` a URL that kombu knows."""
    from kombu.transport import TRANSPORT_ALIASES  # noqa: PLC0415

    TRANSPORT_ALIASES[alias] = f"{__name__}:Transport"
