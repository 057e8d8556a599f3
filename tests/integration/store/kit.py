"""What the tests of the store and of the services share: a clock that is set by hand, a store, and things to put into it."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from router.clock import Clock
from router.domain.account import Account
from router.domain.message import Message
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.redis_link import connect
from router.secrets import Sealer
from router.store.accounts import Accounts, Admission, Admitted
from router.store.redis import Batch, Script
from router.store.store import Store

NOW = 2_000_000_000.0
"""In the future of any real Redis (records carry a time to go), 3 h 33 min 20 s into its UTC day."""
PHONE = "+213661000001"
_ids = itertools.count(1)


class SetClock(Clock):
    """A clock that stands still until it is told."""

    def __init__(self, at: float = NOW) -> None:
        super().__init__()
        self.at = at

    def now(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


def open_store(url: str, rules: Rules | None = None, *, open_seeds: bool = False, timer_shards: int = 2) -> Store:
    return Store(
        connect(url), rules or Rules(), Sealer(bytes(range(32))), timer_shards=timer_shards, retention_seconds=600,
        idempotency_seconds=86400, open_seeds=open_seeds,
    )  # fmt: skip


async def ask(store: Store, add: Callable[[Batch], object]) -> Any:
    """Runs what `add` adds to a batch; answers the answer at the place that `add` gives, or else the last one."""
    batch = store.batch()
    place = add(batch)
    answers = await batch.run()
    return answers[place if isinstance(place, int) else -1]


def a_message(**fields: Any) -> Message:
    about: dict[str, Any] = {
        "id": f"wg_{next(_ids)}", "account": "ac_1", "dialect": "gatewire", "kind": "otp", "lane": "otp", "to": PHONE, "country": "DZ",
        "carrier": "60301", "parts": 1, "price": 5, "created_at": NOW, "expires_at": NOW + 300, "queued_at": NOW,
    }  # fmt: skip
    return Message(**about | fields)


def an_account(**fields: Any) -> Account:
    return Account(**{"id": f"ac_{next(_ids)}", "name": "test", "rev": 1, "created_at": NOW} | fields)


def a_seed(**fields: Any) -> Seed:
    return Seed(**{"id": f"60301{next(_ids):010}", "carrier": "60301", "country": "DZ"} | fields)


def an_admission(account: Account, **fields: Any) -> Admission:
    about: dict[str, Any] = {
        "account": account, "message_id": f"wg_{next(_ids)}", "to": PHONE, "now": NOW, "limits": (0, 0, 0), "served": True,
        "is_code": True, "price": 5,
    }  # fmt: skip
    return Admission(**about | fields)


async def with_wallet(store: Store, balance: int, **fields: Any) -> Account:
    account = an_account(**fields)
    batch = store.batch()
    store.accounts.create(batch, account, balance, "")
    await batch.run()
    return account


async def admit(store: Store, admission: Admission) -> Admitted:
    return Accounts.parse_admitted(await ask(store, lambda batch: store.accounts.admit(batch, admission)))


async def seal_forged(store: Store, message_id: str) -> None:
    """Puts a text into a record that somebody else has sealed."""
    key, forged = store.messages.key(message_id), b"\x01 sealed by somebody else"
    version, length, rest = (await ask(store, lambda batch: batch.add("GET", key))).split(b":", 2)
    record = b"%b:%d:%b%b" % (version, len(forged), forged, rest[int(length) :])
    await ask(store, lambda batch: batch.add("SET", key, record, "KEEPTTL"))


def everything(url: str) -> dict[str, Any]:
    """All that stands in the database, by key; each value as its type has it. Times to live are left out."""
    found: dict[str, Any] = {}
    with redis.Redis.from_url(url) as client:
        readers: dict[bytes, Callable[[bytes], Any]] = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"set": client.smembers,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            b"stream": client.xrange,
        }
        for key in client.scan_iter(count=1000):
            kind = client.type(key)
            if kind != b"none":
                found[key.decode()] = readers[kind](key)
    return found


def without_listings(found: dict[str, Any]) -> dict[str, Any]:
    """`everything` but the listings, which keep what was undone: their readers pass over what has no record."""
    return {key: value for key, value in found.items() if not (key.startswith("acct:") and key.endswith("}:messages"))}


class CallsSeen:
    """Every script call of a test: its name and its keys. Fails at once where the keys of one call have more than one hash tag."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        call = Batch.call

        def watched(batch: Batch, script: Script, keys: tuple[str, ...], *arguments: Any) -> int:
            tags = {hash_tag(key) for key in keys}
            assert len(tags) == 1, f"{script.name} touches {sorted(tags)}: {keys}"
            self.calls.append((script.name, keys))
            return call(batch, script, keys, *arguments)

        monkeypatch.setattr(Batch, "call", watched)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.calls}


def hash_tag(key: str) -> str:
    """What Redis Cluster hashes of a key: what stands between the first { and the next }."""
    before, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    assert opened, f"{before} has no hash tag"
    assert closed, f"{key} has no hash tag"
    assert tag, f"{key}: Redis hashes the whole key where the braces are empty"
    return tag


def strings_of(value: Any) -> Iterator[bytes]:
    """Every string inside an answer of redis-py."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from strings_of(pair)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from strings_of(item)
