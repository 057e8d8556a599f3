"""Where messages wait for a seed: one lot per carrier (or per country, for numbers whose carrier no table knows).

`parked:{<lot>}`, a sorted set: message id → its place. What a dispatcher has claimed stands in `parked:{<lot>}:claimed` until the
dispatcher begins an attempt or parks it again; if it dies, its claims go back. `lots` is the set of all lots that were ever used.
"""

from router.domain.message import LANES, Message
from router.store.redis import Batch, Script, text

_CLAIM = Script("parking_claim")
_HEAD_START_SECONDS = {"otp": 0.0, "notification": 30.0, "bulk": 300.0}
"""A code goes before what waits already, but not before what has waited so much longer: nothing starves."""

CLAIM_SECONDS = 5.0


def lot_of(message: Message) -> str:
    """The name of the lot where a message waits: MCC+MNC, or the country's two letters."""
    return message.carrier or message.country


def _keys(lot: str) -> tuple[str, str, str]:
    return f"parked:{{{lot}}}", f"parked:{{{lot}}}:claimed", f"parked:{{{lot}}}:places"


class Parking:
    """All lots. Every method adds to a batch or runs an empty one."""

    @staticmethod
    def park(batch: Batch, message: Message) -> None:
        """Puts a message (back) into its lot: oldest first, by lane."""
        lot = lot_of(message)
        parked, claimed, places = _keys(lot)
        batch.add("SADD", "lots", lot)
        batch.add("ZADD", parked, repr(message.created_at + _HEAD_START_SECONDS[message.lane]), message.id)
        batch.add("ZREM", claimed, message.id)
        batch.add("HDEL", places, message.id)

    @staticmethod
    def leave(batch: Batch, message: Message) -> None:
        """It has a seed, or is over."""
        parked, claimed, places = _keys(lot_of(message))
        batch.add("ZREM", parked, message.id)
        batch.add("ZREM", claimed, message.id)
        batch.add("HDEL", places, message.id)

    @staticmethod
    def forget(batch: Batch, lot: str, message_id: str) -> None:
        """Takes out an id whose record is gone."""
        parked, claimed, places = _keys(lot)
        batch.add("ZREM", parked, message_id)
        batch.add("ZREM", claimed, message_id)
        batch.add("HDEL", places, message_id)

    @staticmethod
    def claim(batch: Batch, lot: str, now: float, limit: int) -> int:
        """The first `limit` of a lot; the answer at this place is a list of ids."""
        return batch.call(_CLAIM, _keys(lot), repr(now), limit, repr(now - CLAIM_SECONDS))

    @staticmethod
    async def counts(batch: Batch, lots: list[str]) -> dict[str, int]:
        """How many wait in each lot, claimed ones included. Runs the (empty) batch."""
        for lot in lots:
            parked, claimed, _ = _keys(lot)
            batch.add("ZCARD", parked)
            batch.add("ZCARD", claimed)
        answers = await batch.run()
        return {lot: answers[2 * i] + answers[2 * i + 1] for i, lot in enumerate(lots)}

    @staticmethod
    async def lots(batch: Batch) -> list[str]:
        """All lots that were ever used. Runs the (empty) batch."""
        batch.add("SMEMBERS", "lots")
        return sorted(text(lot) for lot in (await batch.run())[0])


assert set(_HEAD_START_SECONDS) == set(LANES)  # noqa: S101 - a lane added later needs its place here
