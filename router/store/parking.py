"""Where messages wait for a seed: one lot per carrier (or per country, for numbers whose carrier no table knows), and one for what asks
for something special (`domain/lots.py`).

`parked:{<lot>}`, a sorted set: message id → its place. What a dispatcher has claimed stands in `parked:{<lot>}:claimed` until the
dispatcher begins an attempt or parks it again; if it dies, its claims go back.

`lots` is the set of all carriers' and countries' lots that were ever used. There may be as many special lots as there are phones, so
those stand in `lots:{special}`, a sorted set of lot → when a message was last put there, and are dropped when they have been empty for a
while. Who drops one compares that time, so that a message that comes at that moment keeps its lot.
"""

import msgspec

from router.domain.lots import is_special, lot_of, place_in_lot
from router.domain.message import Message
from router.store.redis import Batch, Script, text

_CLAIM = Script("parking_claim")
_DROP = Script("parking_drop")
CLAIM_SECONDS = 5.0
EMPTY_SECONDS = 60.0
"""A special lot that nothing was put into for so long is dropped, if it is empty."""


class LotUse(msgspec.Struct, frozen=True):
    """One lot that was used, and when a message was last put there; 0.0 where that is not kept."""

    name: str
    parked_at: float = 0.0


def _keys(lot: str) -> tuple[str, str, str]:
    return f"parked:{{{lot}}}", f"parked:{{{lot}}}:claimed", f"parked:{{{lot}}}:places"


class Parking:
    """All lots. Every method adds to a batch or runs an empty one."""

    @staticmethod
    def park(batch: Batch, message: Message, now: float, *, own: bool = False) -> None:
        """Puts a message (back) into its lot: oldest first, by lane. `own`: its account has phones of its own."""
        lot, other = lot_of(message, own=own), lot_of(message, own=not own)
        parked, claimed, places = _keys(lot)
        if is_special(lot):
            batch.add("ZADD", "lots:{special}", repr(now), lot)
        else:
            batch.add("SADD", "lots", lot)
        batch.add("ZADD", parked, repr(place_in_lot(message)), message.id)
        batch.add("ZREM", claimed, message.id)
        batch.add("HDEL", places, message.id)
        if other != lot and message.parked_at is not None:
            # Its account's first phone came, or its last one went to everybody, while it waited
            Parking.forget(batch, other, message.id)

    @staticmethod
    def leave(batch: Batch, message: Message) -> None:
        """It has a seed, or is over."""
        for lot in {lot_of(message), lot_of(message, own=True)}:
            Parking.forget(batch, lot, message.id)

    @staticmethod
    def forget(batch: Batch, lot: str, message_id: str) -> None:
        """Takes an id out of a lot."""
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
    async def oldest(batch: Batch, lots: list[str]) -> float | None:
        """The first place of all in these lots: when a code came, or another message and its lane's head start. Runs the (empty) batch."""
        for lot in lots:
            batch.add("ZRANGE", _keys(lot)[0], 0, 0, "WITHSCORES")
        return min((float(answer[1]) for answer in await batch.run() if answer), default=None)

    @staticmethod
    async def lots(batch: Batch) -> list[str]:
        """All lots that are in use. Runs the (empty) batch."""
        return [lot.name for lot in await Parking.uses(batch)]

    @staticmethod
    async def uses(batch: Batch) -> list[LotUse]:
        """Likewise, with when they were used. Runs the (empty) batch."""
        batch.add("SMEMBERS", "lots")
        batch.add("ZRANGE", "lots:{special}", 0, -1, "WITHSCORES")
        plain, special = await batch.run()
        found = [LotUse(text(lot)) for lot in plain]
        found += [LotUse(text(special[i]), float(special[i + 1])) for i in range(0, len(special), 2)]
        return sorted(found, key=lambda lot: lot.name)

    @staticmethod
    def drop(batch: Batch, lot: LotUse) -> None:
        """Forgets a special lot that is empty, unless it has been used since it was looked at."""
        batch.call(_DROP, ("lots:{special}",), lot.name, repr(lot.parked_at))
