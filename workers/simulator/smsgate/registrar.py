"""Who a phone is to the router: it registers once, tells its SIMs at each start, and registers anew where it is not known any more."""

import asyncio
import random

from workers.simulator.backoff import Backoff
from workers.simulator.client import TokenRefused, Unanswered
from workers.simulator.smsgate.client import MobileClient
from workers.simulator.smsgate.handset import Handset
from workers.simulator.smsgate.wire import Registration, SimCard, Update


class Registrar:
    """One phone's. `credentials` is the Authorization of its registration (`client.with_…`)."""

    def __init__(self, handset: Handset, client: MobileClient, credentials: str, rng: random.Random) -> None:
        self.credentials = credentials
        self.is_answered = asyncio.Event()
        """Did the router ever take the registration, or refuse it?"""
        self._handset = handset
        self._client = client
        times = handset.behaviour.times
        self._backoff = Backoff(rng, times.retry_seconds, times.longest_retry_seconds)
        self._renewing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Registrar {self._handset.registered}>"

    @property
    def token(self) -> str:
        return self._handset.registered.token if self._handset.registered is not None else ""

    async def start(self) -> None:
        """Known to the router when it returns; tries until then."""
        async with self._renewing:
            await self._ensure()

    async def renew(self, refused: str) -> None:
        """The router refused this token: register anew, unless that has been done since."""
        async with self._renewing:
            if self.token == refused:
                self._handset.registered = None
                await self._ensure()

    async def _ensure(self) -> None:
        while True:
            try:
                await (self._register() if self._handset.registered is None else self._update())
            except TokenRefused:
                self._handset.app_counts.refusals += 1
                if self._handset.registered is not None:
                    self._handset.registered = None
                    continue
                self.is_answered.set()
            except Unanswered:
                self._handset.app_counts.failed_calls += 1
            else:
                self._backoff.reset()
                return
            await self._handset.conditions.sleep(self._backoff.next_seconds())

    async def _register(self) -> None:
        registration = Registration(name=self._handset.sims.name, sim_cards=self._cards())
        self._handset.registered = await self._client.register(self.credentials, registration)
        self._handset.app_counts.registrations += 1
        self.is_answered.set()

    async def _update(self) -> None:
        registered = self._handset.registered
        if registered is None:
            raise RuntimeError("there is nothing to update before the registration")
        await self._client.update(registered.token, Update(id=registered.id, sim_cards=self._cards()))
        self._handset.app_counts.updates += 1

    def _cards(self) -> list[SimCard] | None:
        behaviour = self._handset.behaviour
        return self._handset.sims.cards(masked=behaviour.masks_sims) if behaviour.tells_sims else None
