"""The end of a restore: what the backup caught between two steps."""

import pytest

from router.secrets import Sealer
from router.services.restoring import Restored, Restoring
from tests.integration.services.world import World

pytestmark = pytest.mark.anyio


async def finish(world: World, *, resume: bool) -> Restored:
    restoring = Restoring(world.store, world.transitions, world.clock, Sealer(bytes(32)))  # type: ignore[arg-type]
    return await restoring.finish(resume=resume)


@pytest.mark.parametrize(("resume", "state", "balance"), [(False, "failed", 1000), (True, "pending", 995)])
async def test_charged_and_not_recorded(world: World, resume: bool, state: str, balance: int) -> None:
    """Undone at once, however young: nobody can still record it. What was recorded is not touched by that, though nobody confirmed it."""
    await world.seed()
    account = await world.account()
    recorded = (await world.submit(account)).message
    lost = await world.charge_alone(account, "+213661000002")
    assert 990 == await world.balance(account)
    restored = await finish(world, resume=resume)

    assert 1 == restored.undone
    assert balance == await world.balance(account)
    assert state == (await world.message(recorded.id)).state
    assert [None] == await world.store.messages.load(world.store.batch(), [lost.message.id])
    assert 0 == (await finish(world, resume=resume)).undone
    assert balance == await world.balance(account)
