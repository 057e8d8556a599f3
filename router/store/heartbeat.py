"""The heartbeat at rest (domain/heartbeat.py).

- `heartbeat:{beat}` string: JSON of `Beat` · `heartbeat:{beat}:lead` string: the timekeeper that beats; it expires.
- Its account `acct:{~heartbeat}` and its seed `seed:{~heartbeat}` are records like all others, and in no list: nobody finds them, and no
  message of somebody else can choose that seed.
"""

import msgspec

from router.domain.account import Account
from router.domain.heartbeat import CARRIER, Beat
from router.domain.message import HEARTBEAT
from router.domain.seed import Quota
from router.store.accounts import Accounts
from router.store.listings import by_account
from router.store.redis import Batch, Script
from router.store.seeds import Seeds

_BEAT = "heartbeat:{beat}"
_LEAD_KEY = "heartbeat:{beat}:lead"
_LEAD = Script("lead")
_NO_LIMITS = msgspec.json.encode(Quota(half_hour=0, hour=0, day=0, recipients=0)).decode()
_PACE_SECONDS = 0.01
"""Its seed has room for what an earlier heartbeat may have left behind."""

ACCOUNT = Account(id=HEARTBEAT, name="heartbeat", rev=1, created_at=0.0)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Beat).decode


class HeartbeatStore:
    """Every method adds to a batch."""

    @staticmethod
    def lead(batch: Batch, name: str, seconds: float) -> int:
        """The timekeeper of that name beats for so long, 0 = no longer; the answer at this place is 1, or 0 where another one does."""
        return batch.call(_LEAD, (_LEAD_KEY,), name, int(seconds * 1000))

    @staticmethod
    def read(batch: Batch) -> int:
        """Adds a read of the last heartbeat; hand the answer at this place to `parse`."""
        return batch.add("GET", _BEAT)

    @staticmethod
    def parse(answer: bytes | None) -> Beat:
        """What another version has written counts as nothing."""
        try:
            return _decode(answer) if answer else Beat()
        except msgspec.MsgspecError:
            return Beat()

    @staticmethod
    def write(batch: Batch, beat: Beat) -> None:
        batch.add("SET", _BEAT, _encode(beat))

    @staticmethod
    def announce(batch: Batch, now: float, window_seconds: float) -> None:
        """Its account and its seed, online for so long and with a clean record, whatever became of the last heartbeat.

        Dispatchers hear of the seed since it has changed; it stands in no list of pools.
        """
        batch.add("HSET", Accounts.key(HEARTBEAT), "name", ACCOUNT.name, "rev", ACCOUNT.rev, "created_at", repr(ACCOUNT.created_at))
        fields = {
            "kind": "heartbeat", "carrier": CARRIER, "country": "", "account": HEARTBEAT, "shared": "0", "enrolled": "1", "enabled": "1",
            "draining": "0", "lps": repr(now), "window_seconds": repr(window_seconds), "pace_seconds": repr(_PACE_SECONDS),
            "quota": _NO_LIMITS, "consecutive_failures": "0", "failed_at": "0", "bad": "0", "outcomes": "0", "rest_seconds": "0",
        }  # fmt: skip
        Seeds.change(batch, HEARTBEAT, fields, now)

    @staticmethod
    def forget(batch: Batch) -> None:
        """What the last heartbeat has left in its account's lists: none of it is for anybody to see."""
        batch.add("DEL", by_account(HEARTBEAT))
        for part in ("unconfirmed", "charges"):
            batch.add("DEL", Accounts.key(HEARTBEAT, part))
