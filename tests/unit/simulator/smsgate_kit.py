"""One phone with SMSGate's app, and a strict server."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.unit.simulator.fake_smsgate import PRIVATE_TOKEN, FakeSmsgate
from workers.simulator.air import Air, Sms, read_ledger
from workers.simulator.numbers import Sim
from workers.simulator.smsgate.behaviour import AppBehaviour, AppTimes
from workers.simulator.smsgate.client import with_private_token
from workers.simulator.smsgate.phone import AppPhone
from workers.simulator.smsgate.sims import PhoneSims

QUICK_TIMES = AppTimes(
    retry_seconds=0.05, longest_retry_seconds=0.2, reconnect_seconds=0.05, poll_seconds=60.0, minute_seconds=0.6, call_seconds=10.0
)
QUICK = AppBehaviour(radio_seconds=0.01, delivery_seconds=0.01, times=QUICK_TIMES)
SIMS = PhoneSims(
    "Simulated/test",
    (Sim("603010000000001", "+213660000001", "60301"), Sim("603020000000002", "+213770000002", "60302")),
)

Story = Callable[[FakeSmsgate, AppPhone], Awaitable[None]]


def but(behaviour: AppBehaviour = QUICK, **changes: Any) -> AppBehaviour:
    """A quick phone, but for this."""
    return msgspec.structs.replace(behaviour, **changes)


def play(
    story: Story,
    tmp_path: Path,
    behaviour: AppBehaviour = QUICK,
    *,
    sims: PhoneSims = SIMS,
    seed: int = 1,
    left: int = 0,
    prepare: Callable[[FakeSmsgate], None] = lambda server: None,
) -> list[Sms]:
    """Run a story with a phone that is registered and listens; returns what was on the air. `left`: reports that stay unsaid."""
    ledger = tmp_path / "air.jsonl"

    async def run() -> None:
        async with FakeSmsgate() as server:
            prepare(server)
            with Air(ledger) as air:
                phone = AppPhone(sims, air, behaviour, random.Random(seed))
                assert server.session is not None
                phone.start(server.session, server.url, with_private_token(PRIVATE_TOKEN))
                async with asyncio.timeout(20):
                    await phone.wait_registered()
                await story(server, phone)
                phone.switch_off()

                assert await phone.wait_silent(10) == left

    asyncio.run(run())
    return read_ledger(ledger)


def device_of(phone: AppPhone) -> str:
    assert phone.device_id is not None
    return phone.device_id
