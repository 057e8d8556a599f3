"""Seeds at rest, and what they are to send.

- `seed:{<id>}` hash, `FIELDS` below and `token_hash` · `outbox:{<id>}` what waits for it · `held:{<id>}` what it has fetched ·
  `quota:{<id>}` parts per minute and hour · `recipients:{<id>}` whom it has sent to this month, as fingerprints. One tag, so that room
  is decided and taken in one script.
- `online:<pool>` sorted set seed → LPS: by carrier, or by carrier and account where it serves that one only (`Seed.pool`; `online:-` for
  seeds whose carrier is not known) · `carriers` the set of these pools · `seeds:changed` sorted set seed → when something other than a
  ping changed it · `seeds:all` sorted set seed → first ping or enrolment · `seeds:guests` sorted set seed → last ping, of those that are
  not enrolled.

An attempt stands in outbox and held as `<message id>:<number>:<parts>`.
"""

import functools
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from router.domain.lifecycle import Release
from router.domain.rules import Rules
from router.domain.seed import Quota, Seed, pool_of
from router.store.redis import Batch, Script, text

_VIEW = Script("seed_view")
_PING = Script("seed_ping")
_RESERVE = Script("seed_reserve")
_TAKE = Script("seed_take")
_FINISH = Script("seed_finish")
_PUT_BACK = Script("seed_put_back")

FIELDS = (
    "msisdn", "kind", "carrier", "country", "enrolled", "enabled", "draining", "first_ping", "lps", "window_seconds", "pace_seconds",
    "quota", "in_flight", "consecutive_failures", "failed_at", "bad", "outcomes", "seconds_to_sent", "sent", "failed", "device", "sim",
    "account", "shared", "rest_seconds", "last_given_at", "reliability", "probes",
)  # fmt: skip
_CHANGES_KEPT_SECONDS = 600.0
_UNKNOWN = "-"


# What most seeds have in common is one object for all of them: a choice among a hundred thousand seeds is bound by how many places in
# memory it has to look at.
_ZERO = 0.0
_UNUSED = (0, 0, 0)


def _number(value: str) -> float:
    return (float(value) or _ZERO) if value else _ZERO


@functools.lru_cache(maxsize=1000)
def _quota(value: str) -> Quota:
    return msgspec.json.decode(value, type=Quota) if value else Quota()


def _month(now: float) -> int:
    """The UTC month, counted from the year 0."""
    date = time.gmtime(now)
    return date.tm_year * 12 + date.tm_mon - 1


class Fingerprints(Protocol):
    """What knows a text again without keeping it (router.secrets.Sealer)."""

    def fingerprint(self, text: str, among: str) -> int: ...


class Slip(msgspec.Struct, frozen=True):
    """One attempt in a seed's outbox."""

    message_id: str
    number: int
    parts: int

    def __str__(self) -> str:
        return f"{self.message_id}:{self.number}:{self.parts}"

    @classmethod
    def parse(cls, member: bytes) -> "Slip":
        message_id, number, parts = member.decode().rsplit(":", 2)
        return cls(message_id, int(number), int(parts))


class Credentials(msgspec.Struct, frozen=True):
    """What an API call of a seed is checked against."""

    known: bool
    token_hash: str
    carrier: str
    enrolled: bool
    account: str = ""
    shared: bool = True

    @property
    def pool(self) -> str:
        """Where its signs of life are listed: what `Seeds.touch` wants."""
        return pool_of(self.carrier, self.account, shared=self.shared)


class Seeds:
    """Every method adds to a batch, or runs an empty one where it says so."""

    def __init__(self, rules: Rules, fingerprints: Fingerprints, *, open_seeds: bool = False) -> None:
        self._rules = rules
        self._fingerprints = fingerprints
        self._open_seeds = open_seeds

    @staticmethod
    def key(seed_id: str) -> str:
        return f"seed:{{{seed_id}}}"

    @staticmethod
    def _places(seed_id: str) -> tuple[str, str, str, str, str]:
        tag = f"{{{seed_id}}}"
        return f"seed:{tag}", f"outbox:{tag}", f"held:{tag}", f"quota:{tag}", f"recipients:{tag}"

    @staticmethod
    def online_key(pool: str) -> str:
        """The list of those that were heard of, by when."""
        return f"online:{pool or _UNKNOWN}"

    # Signs of life

    @staticmethod
    def ping(batch: Batch, seed: Seed, now: float, token_hash: str | None) -> int:
        """A ping with what the seed says of itself; a token hash enrols it. The answer at this place is {carrier, '1' = enrolled now}."""
        enrol = "0" if token_hash is None else "1"
        about = (seed.msisdn, seed.kind, seed.carrier, seed.country)
        return batch.call(_PING, (Seeds.key(seed.id),), repr(now), *about, enrol, token_hash or "")

    @staticmethod
    def touch(batch: Batch, seed_id: str, pool: str, now: float, *, first: bool = False) -> None:
        """Any sign of life: the last ping time, in the record and in its pool's list."""
        batch.add("HSET", Seeds.key(seed_id), "lps", repr(now))
        batch.add("ZADD", Seeds.online_key(pool), repr(now), seed_id)
        if first:
            batch.add("SADD", "carriers", pool or _UNKNOWN)
            batch.add("ZADD", "seeds:all", "NX", repr(now), seed_id)

    @staticmethod
    def mark_changed(batch: Batch, seed_id: str, now: float) -> None:
        """Tells the dispatchers to look at it again."""
        batch.add("ZADD", "seeds:changed", repr(now), seed_id)

    @staticmethod
    def trim_changes(batch: Batch, now: float) -> None:
        batch.add("ZREMRANGEBYSCORE", "seeds:changed", "-inf", repr(now - _CHANGES_KEPT_SECONDS))

    # Guests: they ping, and nobody has enrolled them

    @staticmethod
    def guest(batch: Batch, seed_id: str) -> int:
        """Adds two reads: whether it is a guest already (its last ping, or None), and how many guests there are."""
        place = batch.add("ZSCORE", "seeds:guests", seed_id)
        batch.add("ZCARD", "seeds:guests")
        return place

    @staticmethod
    def keep_guest(batch: Batch, seed_id: str, now: float, seconds: int) -> None:
        """It is forgotten so long after this ping, unless it is enrolled. The carriers' lists, which dispatch reads, do not have it."""
        batch.add("ZADD", "seeds:guests", repr(now), seed_id)
        batch.add("ZADD", "seeds:all", "NX", repr(now), seed_id)
        batch.add("EXPIRE", Seeds.key(seed_id), seconds)

    @staticmethod
    def guests_since(batch: Batch, since: float) -> int:
        """Adds a read of the guests heard of since; the answer at this place is like that of `pinged_since`."""
        return batch.add("ZRANGEBYSCORE", "seeds:guests", repr(since), "+inf", "WITHSCORES")

    @staticmethod
    def no_guest(batch: Batch, seed_id: str) -> None:
        """It was enrolled: it stays."""
        batch.add("ZREM", "seeds:guests", seed_id)
        batch.add("PERSIST", Seeds.key(seed_id))

    @staticmethod
    async def forget_guests(batch: Batch, lists: Batch, carriers: Sequence[str], before: float, limit: int) -> int:
        """Takes guests that were last heard of before then out of every list. Runs both (empty) batches."""
        batch.add("ZRANGEBYSCORE", "seeds:guests", "-inf", repr(before), "LIMIT", 0, limit)
        ids = [text(seed_id) for seed_id in (await batch.run())[0]]
        if ids:
            for key in (*map(Seeds.online_key, carriers), "seeds:all", "seeds:guests"):
                lists.add("ZREM", key, *ids)
            await lists.run()
        return len(ids)

    # Reading

    def view(self, batch: Batch, seed_id: str, now: float) -> int:
        """Adds a read of all that the choice wants to know; hand the answer at this place to `parse`."""
        seed, _, _, quota, recipients = self._places(seed_id)
        return batch.call(_VIEW, (seed, quota, recipients), repr(now), _month(now), *FIELDS)

    def parse(self, seed_id: str, answer: list[Any] | None) -> Seed | None:
        """The seed from an answer to `view`; None where there is none."""
        if answer is None:
            return None
        half_hour, hour, day, recipients, values = answer
        fields = dict(zip(FIELDS, map(text, values), strict=True))
        return Seed(
            id=seed_id,
            msisdn=fields["msisdn"],
            kind=sys.intern(fields["kind"] or "seed"),
            carrier=sys.intern(fields["carrier"]),
            country=sys.intern(fields["country"]),
            enrolled=fields["enrolled"] == "1" or self._open_seeds,
            enabled=fields["enabled"] != "0",
            draining=fields["draining"] == "1",
            first_ping=_number(fields["first_ping"]),
            lps=_number(fields["lps"]),
            window_seconds=_number(fields["window_seconds"]),
            pace_seconds=_number(fields["pace_seconds"]),
            quota=_quota(fields["quota"]),
            used=(half_hour, hour, day) if day or hour else _UNUSED,
            in_flight=int(fields["in_flight"] or 0),
            consecutive_failures=int(fields["consecutive_failures"] or 0),
            failed_at=_number(fields["failed_at"]),
            bad=_number(fields["bad"]),
            outcomes=_number(fields["outcomes"]),
            seconds_to_sent=_number(fields["seconds_to_sent"]),
            sent=int(fields["sent"] or 0),
            failed=int(fields["failed"] or 0),
            device=fields["device"],
            sim=int(fields["sim"] or 0),
            account=sys.intern(fields["account"]),
            shared=fields["shared"] != "0",
            recipients_used=recipients,
            rest_seconds=_number(fields["rest_seconds"]),
            last_given_at=_number(fields["last_given_at"]),
            reliability=float(fields["reliability"] or 1.0),
            probes=int(fields["probes"] or 0),
        )

    async def load(self, batch: Batch, ids: Sequence[str], now: float) -> list[Seed | None]:
        """These seeds, in order. Runs the (empty) batch."""
        for seed_id in ids:
            self.view(batch, seed_id, now)
        return [self.parse(seed_id, answer) for seed_id, answer in zip(ids, await batch.run(), strict=True)]

    @staticmethod
    async def carriers(batch: Batch) -> list[str]:
        """Pools that ever had a seed: carriers, accounts' own ones of a carrier, '-' for unknown ones. Runs the (empty) batch."""
        batch.add("SMEMBERS", "carriers")
        return sorted(text(carrier) for carrier in (await batch.run())[0])

    @staticmethod
    def pinged_since(batch: Batch, pool: str, since: float) -> int:
        """Adds a read of who was heard of since; the answer at this place is flat: id, LPS, id, LPS, …, oldest first."""
        return batch.add("ZRANGEBYSCORE", Seeds.online_key(pool), repr(since), "+inf", "WITHSCORES")

    @staticmethod
    def changed_since(batch: Batch, since: float) -> int:
        """Adds a read of what else changed; the answer at this place is like that of `pinged_since`."""
        return batch.add("ZRANGEBYSCORE", "seeds:changed", repr(since), "+inf", "WITHSCORES")

    @staticmethod
    async def all_ids(batch: Batch) -> list[str]:
        """Every seed that was ever pinged or enrolled, in that order. Runs the (empty) batch."""
        batch.add("ZRANGE", "seeds:all", 0, -1)
        return [text(seed_id) for seed_id in (await batch.run())[0]]

    @staticmethod
    def credentials(batch: Batch, seed_id: str) -> int:
        """Adds a read of what a call of this seed is checked against; hand the answer at this place to `parse_credentials`."""
        return batch.add("HMGET", Seeds.key(seed_id), "enabled", "token_hash", "carrier", "enrolled", "account", "shared")

    def parse_credentials(self, answer: list[bytes | None]) -> Credentials:
        enabled, token_hash, carrier, enrolled, account, shared = answer
        return Credentials(enabled is not None, text(token_hash), text(carrier), enrolled == b"1", text(account), shared != b"0")

    # The outbox

    def reserve(self, batch: Batch, seed: Seed, slip: Slip, now: float, *, account: str, to: str) -> int:
        """Takes a place at the seed for a message of that account to that recipient; the answer at this place is b'ok', or why not."""
        waived = "1" if self._open_seeds else "0"
        limits = seed.quota_limits(self._rules)
        capacity = seed.capacity(self._rules)
        recipients = seed.recipients_limit(self._rules)
        # Only where it counts: fingerprints take longer than the rest of this
        recipient = self._fingerprints.fingerprint(to, seed.id) if recipients else 0
        return batch.call(
            _RESERVE, self._places(seed.id), str(slip), slip.parts, repr(now), capacity, *limits, waived, account, recipients, _month(now),
            recipient,
        )  # fmt: skip

    def take(self, batch: Batch, seed_id: str, limit: int, token_hash: str) -> int:
        """The seed fetches; the answer at this place is a list of slips, to be parsed; None where its token has been replaced meanwhile.

        `token_hash` is what was shown; empty where no token is asked for.
        """
        seed, outbox, held, *_ = self._places(seed_id)
        return batch.call(_TAKE, (outbox, held, seed), limit, token_hash)

    def put_back(self, batch: Batch, seed_id: str, slip: Slip) -> int:
        """A slip that was fetched before its message knew of it waits again; the answer at this place is 0 where it was freed meanwhile."""
        _, outbox, held, *_ = self._places(seed_id)
        return batch.call(_PUT_BACK, (outbox, held), str(slip))

    @staticmethod
    def waiting(batch: Batch, seed_id: str) -> int:
        """Adds a count of what waits in a seed's outbox."""
        return batch.add("ZCARD", f"outbox:{{{seed_id}}}")

    @staticmethod
    def slips(batch: Batch, seed_id: str, limit: int) -> int:
        """Adds two reads, of what waits for it and of what it has fetched; their answers are flat: slip, when it was reserved, slip, …"""
        place = batch.add("ZRANGE", f"outbox:{{{seed_id}}}", 0, limit - 1, "WITHSCORES")
        batch.add("ZRANGE", f"held:{{{seed_id}}}", 0, limit - 1, "WITHSCORES")
        return place

    def finish(self, batch: Batch, slip: Slip, release: Release, now: float) -> int:
        """Frees the place and keeps the record of the seed; the answer at this place is 1, or 0 where it was free already."""
        handed = "1" if release.handed_over else "0"
        seconds = "" if release.seconds is None else f"{release.seconds:.4f}"
        rules = self._rules
        return batch.call(
            _FINISH, self._places(release.seed), str(slip), slip.parts, release.outcome, handed, repr(now), seconds, rules.stats_decay,
            rules.pace_seconds, rules.limit_rest_seconds, rules.limit_rest_max_seconds,
        )  # fmt: skip

    # What an operator changes

    @staticmethod
    def enrol(batch: Batch, seed: Seed, token_hash: str, now: float) -> None:
        """Makes it dispatchable; what is given about it stands above what it says itself."""
        fields: list[str] = ["enrolled", "1", "token_hash", token_hash]
        for name in ("msisdn", "carrier", "country", "device", "account"):
            if value := getattr(seed, name):
                fields += [name, value]
        if seed.sim:
            fields += ["sim", str(seed.sim)]
        if seed.account or not seed.shared:
            fields += ["shared", str(int(seed.shared))]
        if seed.pace_seconds:
            fields += ["pace_seconds", repr(seed.pace_seconds)]
        if seed.quota != Quota():
            fields += ["quota", msgspec.json.encode(seed.quota).decode()]
        batch.add("HSETNX", Seeds.key(seed.id), "enabled", "1")
        batch.add("HSET", Seeds.key(seed.id), *fields)
        Seeds.no_guest(batch, seed.id)
        batch.add("ZADD", "seeds:all", "NX", repr(now), seed.id)
        batch.add("SADD", "carriers", seed.pool or _UNKNOWN)
        Seeds.mark_changed(batch, seed.id, now)

    @staticmethod
    def change(batch: Batch, seed_id: str, fields: dict[str, str], now: float) -> None:
        """Sets fields of a seed that exists."""
        flat = [item for pair in fields.items() for item in pair]
        batch.add("HSET", Seeds.key(seed_id), *flat)
        Seeds.mark_changed(batch, seed_id, now)

    @staticmethod
    def move(batch: Batch, seed: Seed, pool: str) -> None:
        """It belongs to that pool from now on: the seed is listed there, and no more where it was."""
        if seed.pool != pool:
            batch.add("ZREM", Seeds.online_key(seed.pool), seed.id)
        batch.add("SADD", "carriers", pool or _UNKNOWN)
        if seed.lps:
            batch.add("ZADD", Seeds.online_key(pool), repr(seed.lps), seed.id)
