"""Reliability tests at rest.

- `tests:{<seed>}` string: a seed's tests, written whole by compare-and-set; its share of successes stands in `seed:{<seed>}` from the same
  moment on.
- `tests:due:{all}` sorted set seed → when its tests are to be looked at · `tests:ids` the last id that was given to a test.
- `probe:{<hash>}` string `<test> <seed>`: whose test the SMS with that token is; it goes with the test's time.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from router.domain.reliability import History, Probe, Score
from router.store.redis import Batch, Script, text
from router.store.seeds import Seeds

_log = structlog.get_logger()
_COMMIT = Script("reliability_commit")
_CLAIM = Script("timers_claim")
_DUE = Script("reliability_due")
_DUE_KEY = "tests:due:{all}"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Probe, ...]).decode


class StoredTests(msgspec.Struct, frozen=True):
    """A seed's tests as they were read; `raw` is what a commit compares."""

    seed: str
    history: History = ()
    raw: bytes = b""


class Tests:
    """Every method adds to a batch, or runs an empty one where it says so."""

    @staticmethod
    def key(seed_id: str) -> str:
        return f"tests:{{{seed_id}}}"

    @staticmethod
    def _token_key(token_hash: str) -> str:
        return f"probe:{{{token_hash}}}"

    @staticmethod
    def new_id(batch: Batch) -> int:
        """The answer at this place is an id that no other test has."""
        return batch.add("INCR", "tests:ids")

    @staticmethod
    async def load(batch: Batch, seed_ids: Sequence[str]) -> list[StoredTests]:
        """The tests of these seeds, in order. Runs the (empty) batch."""
        for seed_id in seed_ids:
            batch.add("GET", Tests.key(seed_id))
        return [Tests._parse(seed_id, answer) for seed_id, answer in zip(seed_ids, await batch.run(), strict=True)]

    @staticmethod
    def _parse(seed_id: str, answer: bytes | None) -> StoredTests:
        if answer is None:
            return StoredTests(seed_id)
        try:
            return StoredTests(seed_id, _decode(answer), answer)
        except msgspec.MsgspecError as error:
            # Written by another version: the next test begins anew
            _log.error("tests.unreadable", seed=seed_id, error=str(error))
            return StoredTests(seed_id, raw=answer)

    @staticmethod
    def commit(batch: Batch, stored: StoredTests, history: History, score: Score) -> int:
        """The answer at this place is 1, or 0 where somebody else was first, or there is no such seed."""
        keys = (Tests.key(stored.seed), Seeds.key(stored.seed))
        return batch.call(_COMMIT, keys, stored.raw, _encode(history), f"{score.share:.4f}", score.finished)

    # Whose test an SMS is

    @staticmethod
    def remember(batch: Batch, token_hash: str, seed_id: str, probe_id: int, seconds: float) -> None:
        """For so long it is known whose test the SMS with that token is."""
        batch.add("SET", Tests._token_key(token_hash), f"{probe_id} {seed_id}", "PX", max(1, int(seconds * 1000)))

    @staticmethod
    def whose(batch: Batch, token_hash: str) -> int:
        """Hand the answer at this place to `parse_whose`."""
        return batch.add("GET", Tests._token_key(token_hash))

    @staticmethod
    def parse_whose(answer: bytes | None) -> tuple[str, int] | None:
        """Seed and test; None where nobody knows the token (any more)."""
        if answer is None:
            return None
        probe_id, _, seed_id = text(answer).partition(" ")
        return seed_id, int(probe_id)

    # When to look at them

    @staticmethod
    def look_at(batch: Batch, seed_id: str, at: float) -> None:
        """Sets the one time at which a seed's tests are looked at next."""
        batch.add("ZADD", _DUE_KEY, repr(at), seed_id)

    @staticmethod
    async def claim(batch: Batch, now: float, limit: int, hold_until: float) -> list[str]:
        """Seeds whose tests are to be looked at, held until then: so that nobody else looks meanwhile. Runs the (empty) batch."""
        batch.call(_CLAIM, (_DUE_KEY,), repr(now), limit, repr(hold_until))
        return [text(seed_id) for seed_id in (await batch.run())[0]]

    @staticmethod
    def looked(batch: Batch, seed_id: str, held_until: float, again_at: float | None) -> int:
        """Ends a claim; a test that was begun meanwhile keeps its own time."""
        return batch.call(_DUE, (_DUE_KEY,), seed_id, repr(held_until), "" if again_at is None else repr(again_at))

    # The list of gateway clients

    @staticmethod
    async def about(batch: Batch, seed_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, str]]:
        """Some fields of these seeds, as text: without their quotas, which cost most of a whole read. Runs the (empty) batch."""
        for seed_id in seed_ids:
            batch.add("HMGET", Seeds.key(seed_id), *fields)
        answers: list[list[Any]] = await batch.run()
        return [dict(zip(fields, map(text, values), strict=True)) for values in answers]
