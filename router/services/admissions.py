"""Admissions without a record: a process died between charging a message and recording it, or a backup caught it there."""

import structlog
from msgspec import Struct

from router.store.store import Store

_log = structlog.get_logger()
_BATCH = 500


class Checked(Struct, frozen=True):
    """How many admissions were looked at, and how many of them were undone."""

    looked_at: int
    undone: int


async def check_admissions(store: Store, before: float) -> Checked:
    """Looks at admissions of before that time whose record nobody has seen. Most are fine; one that was never recorded is made void, so
    that a writer that was only slow comes too late, and undone.

    There may be more where it looked at any. Raises `Unavailable`.
    """
    account_ids = await store.accounts.all_ids(store.batch())
    waiting = await store.accounts.unconfirmed(store.batch(), account_ids, before, _BATCH)
    if not waiting:
        return Checked(0, 0)
    batch = store.batch()
    voids = [store.messages.void(batch, item.message_id) for item in waiting]
    charges = [store.accounts.charge(batch, item.account, item.message_id) for item in waiting]
    answers = await batch.run()
    undone = 0
    batch = store.batch()
    for item, void, charge in zip(waiting, voids, charges, strict=True):
        if answers[void] == 1 and answers[charge] is not None:
            store.accounts.undo(batch, item.account, item.message_id, answers[charge], item.admitted_at)
            undone += 1
            _log.warning("admission.undone", message_id=item.message_id, account=item.account)
        else:
            store.accounts.confirm(batch, item.account, item.message_id)
    await batch.run()
    return Checked(len(waiting), undone)
