"""What is kept for phones of SMSGate's app beyond what every seed has, and the channel on which their open event streams are told things.

- `unsure:{<seed>}` sorted set: attempt → when its lease ended without a word. With its next pulls the phone is asked for the truth.
- `PHONES_CHANNEL` (pub/sub, a hint only: it may be lost).
"""

from typing import Any

import msgspec

from router.domain.device import device_of_seed
from router.domain.message import Attempt, Message
from router.domain.phone_messages import phone_id
from router.store.redis import Batch
from router.store.seeds import Slip

PHONES_CHANNEL = "phones"
"""News for the phone of a device, as JSON of `News`."""
_ASKED_SECONDS = 3600
_ASKED_AT_ONCE = 20

_encode = msgspec.json.Encoder().encode


HANG_UP = "hang up"
"""News for the stream itself: the phone is deleted, or has other SIMs now. It ends, and a phone that is still one opens another."""


class News(msgspec.Struct, frozen=True):
    """What an open event stream of a phone is to be told."""

    device: str
    event: str
    data: Any = None


parse_news = msgspec.json.Decoder(News).decode


class Phones:
    """Every method adds to a batch."""

    @staticmethod
    def _unsure(seed_id: str) -> str:
        return f"unsure:{{{seed_id}}}"

    @staticmethod
    def notify(batch: Batch, device_id: str, event: str, data: Any = None) -> None:
        """Tells the phone's event stream, whichever process has it."""
        batch.add("PUBLISH", PHONES_CHANNEL, _encode(News(device_id, event, data)))

    def ask(self, batch: Batch, attempt: Attempt) -> None:
        """A phone is to look at its list: of what it has, and we have not heard of, it tells the state again."""
        self.notify(batch, device_of_seed(attempt.seed), "MessageEnqueued")

    def recall(self, batch: Batch, message: Message, attempt: Attempt, now: float) -> None:
        """A phone is not to send this any more; if it has gone silent with it, it is also asked what became of it."""
        if attempt.radio_at is None:
            self.notify(batch, device_of_seed(attempt.seed), "MessageCancelled", {"messageId": phone_id(message.id, attempt.number)})
        if attempt.state == "ambiguous":
            key = self._unsure(attempt.seed)
            batch.add("ZREMRANGEBYSCORE", key, "-inf", repr(now - _ASKED_SECONDS))
            batch.add("ZADD", key, repr(now), str(Slip(message.id, attempt.number, message.parts)))
            batch.add("EXPIRE", key, _ASKED_SECONDS)
            self.notify(batch, device_of_seed(attempt.seed), "MessageEnqueued")

    def unsure(self, batch: Batch, seed_id: str) -> int:
        """Adds a read of the newest attempts that went silent; the answer at this place is a list of slips, to be parsed."""
        return batch.add("ZREVRANGE", self._unsure(seed_id), 0, _ASKED_AT_ONCE - 1)

    def is_sure(self, batch: Batch, seed_id: str, slip: Slip) -> None:
        """The phone has told the truth of an attempt."""
        batch.add("ZREM", self._unsure(seed_id), str(slip))

    @staticmethod
    def held(batch: Batch, seed_id: str) -> int:
        """Adds a read of what a seed has fetched and not ended; the answer at this place is a list of slips, to be parsed."""
        return batch.add("ZRANGE", f"held:{{{seed_id}}}", 0, -1)
