"""Which seeds take their work from RabbitMQ, what has come back from their queues, and which relay is at work.

- `amqp:phones` hash: queue → JSON of `QueueOfSeed`. A queue is one seed's, so it is the key.
- `amqp:back:{<seed>}` sorted set: attempt → when its message came back from the queue. Its marker proves nothing then.
- `amqp:{relay}` string: the relay that is at work; it expires.
"""

import msgspec

from router.domain.amqp_phones import QueueOfSeed
from router.store.redis import Batch, Script
from router.store.seeds import Slip

_PHONES = "amqp:phones"
_RELAY = "amqp:{relay}"
_BACK_SECONDS = 7 * 86_400
_LEAD = Script("lead")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(QueueOfSeed).decode


class AmqpPhones:
    """Every method adds to a batch."""

    @staticmethod
    def claim(batch: Batch, place: QueueOfSeed) -> int:
        """The answer at this place is 1 where the queue was free."""
        return batch.add("HSETNX", _PHONES, place.queue, _encode(place))

    @staticmethod
    def keep(batch: Batch, place: QueueOfSeed) -> None:
        """Of a queue that is this seed's already."""
        batch.add("HSET", _PHONES, place.queue, _encode(place))

    @staticmethod
    def drop(batch: Batch, *queues: str) -> None:
        """They are nobody's any more."""
        batch.add("HDEL", _PHONES, *queues)

    @staticmethod
    def every(batch: Batch) -> int:
        """Adds a read of all; hand the answer at this place to `parse`."""
        return batch.add("HGETALL", _PHONES)

    @staticmethod
    def parse(answer: dict[bytes, bytes] | list[bytes]) -> list[QueueOfSeed]:
        values = answer.values() if isinstance(answer, dict) else answer[1::2]
        return [_decode(value) for value in values]

    # What came back

    @staticmethod
    def _back(seed_id: str) -> str:
        return f"amqp:back:{{{seed_id}}}"

    @staticmethod
    def came_back(batch: Batch, seed_id: str, slip: Slip, now: float) -> None:
        key = AmqpPhones._back(seed_id)
        batch.add("ZREMRANGEBYSCORE", key, "-inf", repr(now - _BACK_SECONDS))
        batch.add("ZADD", key, repr(now), str(slip))
        batch.add("EXPIRE", key, _BACK_SECONDS)

    @staticmethod
    def has_come_back(batch: Batch, seed_id: str, slip: Slip) -> int:
        """Adds a read; the answer at this place is None where it has not."""
        return batch.add("ZSCORE", AmqpPhones._back(seed_id), str(slip))

    # The relay at work

    @staticmethod
    def lead(batch: Batch, name: str, seconds: float) -> int:
        """The relay of that name is at work for so long, 0 = no longer; the answer at this place is 1, or 0 where another one is."""
        return batch.call(_LEAD, (_RELAY,), name, int(seconds * 1000))
