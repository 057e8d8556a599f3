"""Makes a store that came from a backup fit to work with: what was open in it is ended, before any role sends it again."""

import math

import msgspec
import structlog

from router.clock import Clock
from router.domain.errors import NotFound, RouterError
from router.domain.restoring import end_restored
from router.secrets import Sealer
from router.services.admissions import check_admissions
from router.services.transitions import Done, Step, Transitions
from router.store.restoring import Made
from router.store.store import Store

_log = structlog.get_logger()
_BATCH = 500
_SEAL = "the seal key of a backup"


class WrongSecrets(RouterError):
    """The backup was made with another seal key: neither waiting texts nor phones' settings could be opened."""

    def __init__(self) -> None:
        super().__init__(
            "this backup was made with another seal key: put the secrets of that time in place (docs/operations.md), then "
            "`seedrouter restore --loaded`"
        )


class RestoreUnfinished(RouterError):
    """No role may start: it would send again what the backup holds as open."""

    def __init__(self) -> None:
        super().__init__("this store comes from a backup, and its restore has not come to an end: run `seedrouter restore --loaded`")


async def refuse_unfinished(store: Store) -> None:
    """At the start of each role. Raises `RestoreUnfinished`, `Unavailable`."""
    batch = store.batch()
    store.restoring.is_unfinished(batch)
    (unfinished,) = await batch.run()
    if unfinished:
        raise RestoreUnfinished


class Restored(msgspec.Struct, frozen=True):
    """How many messages. `made_at`: when the backup was made, None where it does not say."""

    made_at: float | None
    failed: int = 0
    expired: int = 0
    scheduled: int = 0
    """Their time has not come: they go on."""
    ended_before: int = 0
    """Settled, or about to be, as the backup had them."""
    unreadable: int = 0
    undone: int = 0
    """Charged, and not recorded yet when the backup was made: nobody ever heard that they were accepted."""


def seal_mark(sealer: Sealer) -> int:
    """By which a seal key is known again."""
    return sealer.fingerprint("", _SEAL)


class Restoring:
    """One per restore."""

    def __init__(self, store: Store, transitions: Transitions, clock: Clock, sealer: Sealer) -> None:
        self._store = store
        self._transitions = transitions
        self._clock = clock
        self._sealer = sealer

    async def note_made(self) -> None:
        """Right before a backup is made: it tells its time, and whether it fits the secrets it is restored with."""
        batch = self._store.batch()
        self._store.restoring.note_made(batch, Made(await self._store.time(), seal_mark(self._sealer)))
        await batch.run()

    async def finish(self, *, resume: bool = False) -> Restored:
        """Ends what was open, or (`resume`) leaves it to go on; then roles may start. To be repeated where it broke off.

        Raises `WrongSecrets`, and `Unavailable`.
        """
        made = await self._store.restoring.made(self._store.batch())
        if made is not None and made.seal != seal_mark(self._sealer):
            raise WrongSecrets
        counts = dict.fromkeys(("failed", "expired", "scheduled", "ended_before", "unreadable"), 0)
        if not resume:
            batch = self._store.batch()
            self._store.restoring.begin(batch)
            await batch.run()
            ids = await self._store.timers.all(self._store.batch)
            for start in range(0, len(ids), _BATCH):
                steps = [Step(message_id, end_restored) for message_id in ids[start : start + _BATCH]]
                for done in await self._transitions.apply(steps):
                    counts[_what(done)] += 1
        counts["undone"] = await self._undo_unrecorded()
        batch = self._store.batch()
        self._store.restoring.end(batch)
        await batch.run()
        _log.info("store.restored", made_at=made.at if made else None, **counts)
        return Restored(made.at if made else None, **counts)

    async def _undo_unrecorded(self) -> int:
        """The timekeeper would give them half a minute; but no role runs that could still record them."""
        undone = 0
        while (checked := await check_admissions(self._store, math.inf)).looked_at:
            undone += checked.undone
        return undone


def _what(done: Done) -> str:
    if done.before is None or done.after is None:
        if done.error is not None and not isinstance(done.error, NotFound):
            raise done.error
        return "unreadable"
    if done.before is done.after:
        return "ended_before" if done.before.is_final else "scheduled"
    return "expired" if done.after.state == "expired" else "failed"
