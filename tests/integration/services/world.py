"""All services over one store, a clock set by hand, and a queue that is a list: a whole router without a process of its own."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from router.domain.account import Account, KeyCredential, Limits
from router.domain.choosing import Chooser
from router.domain.device import Device, Sim
from router.domain.directory import Directory
from router.domain.errors import Unavailable
from router.domain.message import LANES, Message
from router.domain.rules import Rules
from router.domain.seed import Quota, Seed
from router.domain.selection import FailoverBudget
from router.domain.templates import Template
from router.queue.entries import Entry, LaneState
from router.services.acceptance import Acceptance, Draft, Plan
from router.services.accounts import AccountAdmin, AccountDirectory
from router.services.codes import Codes
from router.services.devices import Devices
from router.services.dispatch import Dispatch
from router.services.fleet import FleetCopy
from router.services.outbox import Handed, Outbox, Report
from router.services.phones import Phones
from router.services.presence import Presence
from router.services.seeds import SeedRegistry
from router.services.submit import Accepted, Request, Submit
from router.services.timekeeping import Timekeeping
from router.services.transitions import Transitions
from router.services.webhooks import Announcer
from router.settings import Settings
from router.store.accounts import hash_key
from router.store.store import Store
from tests.integration.store.kit import PHONE, SetClock, ask, open_store

PEPPER = b"a pepper of the server, 32 bytes"
KEY = "sk_test_a_key"
IMSI = "603010000000001"
OTHER_IMSI = "603010000000002"


class Queue:
    """Where the queue would be. `away`: publishing fails, before or after (`but_kept`) the entries are on it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.away = False
        self.but_kept = False
        self.depth = 0
        self.lanes = {lane: LaneState(0) for lane in LANES}

    async def publish(self, entries: Sequence[Entry]) -> None:
        if not self.away or self.but_kept:
            self.entries += entries
        if self.away:
            raise Unavailable("the queue cannot be reached")

    def drain(self) -> list[str]:
        ids = [entry.id for entry in self.entries]
        self.entries.clear()
        return ids


class World:
    """`settings` are those of `Settings`; the rules follow from them. `clock` and `store` may be another world's: a second process."""

    def __init__(self, redis_url: str, *, clock: SetClock | None = None, queue: Any = None, **settings: Any) -> None:
        defaults = {"price": 5, "phone_hourly_limit": 0, "daily_limit": 0, "code_length": 10, "parts_per_half_hour": 0}
        self.settings = Settings(_env_file=None, **defaults | settings)
        self.rules: Rules = self.settings.rules()
        self.clock = clock or SetClock()
        self.queue = queue or Queue()
        self.store: Store = open_store(redis_url, self.rules, open_seeds=self.settings.open_seeds)
        self.transitions = Transitions(self.store, self.queue, self.clock, self.rules, Announcer(self.store, self.clock))
        self.accounts = AccountDirectory(self.store)
        self.admin = AccountAdmin(self.store, self.clock, self.settings)
        self.registry = SeedRegistry(self.store, self.clock, self.rules, self.settings)
        self.presence = Presence(self.store, self.clock, self.rules)
        self.submitting = Submit(
            self.store, self.queue, self.transitions, self.accounts, self.presence, self.clock, self.rules, self.settings, PEPPER
        )
        self.codes = Codes(self.store, self.transitions, PEPPER)
        self.outbox = Outbox(self.store, self.transitions, self.clock, self.rules, open_seeds=self.settings.open_seeds)
        self.devices = Devices(self.store, self.clock, self.rules, self.settings)
        self.phones = Phones(self.store, self.devices, self.outbox, self.transitions, self.clock, self.rules)
        self.timekeeping = Timekeeping(self.store, self.transitions, self.clock, self.rules, lambda: self.queue.lanes)
        self.directory = Directory(self.rules)
        self.fleet = FleetCopy(self.store, self.directory, self.clock, self.rules)
        self.chooser = Chooser(self.directory, FailoverBudget(self.rules), self.rules)
        self.dispatching = Dispatch(self.store, self.transitions, self.chooser, self.clock)

    async def close(self) -> None:
        await self.store.close()

    async def account(self, balance: int = 1000, key: str = KEY, text: str = "Code {code}", **fields: Any) -> Account:
        account, _ = await self.admin.create("test", key=key, balance=balance, **fields)
        template = Template(key="default", text=text, code_length=10, code_seconds=300.0, default=True)
        await self.admin.set_template(account.id, template)
        return await self.accounts.authenticate(hash_key(key))

    async def seed(self, imsi: str = IMSI, **fields: Any) -> str:
        """Enrolled, online, and seen by everybody."""
        _, token = await self.registry.enrol(imsi, **{"quota": Quota(half_hour=0, hour=0, day=0)} | fields)
        await self.registry.ping(imsi, "+213661999999", "seed")
        await self.look()
        return token

    async def phone(self, account: Account, *numbers: str, shared: bool = True) -> Device:
        """A phone of SMSGate's app with these SIMs, online, and seen by everybody."""
        sims = tuple(Sim(place + 1, phone_number=number) for place, number in enumerate(numbers or ("+213661999999",)))
        device, _ = await self.devices.register(account.id, shared=shared, name="phone", push_token="", sims=sims)
        assert [] == await self.phones.pull(device, 100, "lifo")
        await self.look()
        return device

    async def look(self) -> None:
        await self.presence.look()
        await self.fleet.refresh()

    async def submit(self, account: Account, phone: str = PHONE, *, key: str = KEY, **fields: Any) -> Accepted:
        request = Request(**{"dialect": "gatewire", "credential": KeyCredential(hash_key(key)), "phone": phone} | fields)
        return await self.submitting.submit(account, request)

    async def charge_alone(self, account: Account, phone: str = PHONE, **fields: Any) -> Draft:
        """The process dies between the charge of a message and its record."""
        drafts: list[Draft] = []

        async def dies(acceptance: Acceptance, plan: Plan) -> None:
            drafts.extend(plan.drafts)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Acceptance, "_record", dies)
            with pytest.raises(KeyboardInterrupt):
                await self.submit(account, phone, **fields)
        (draft,) = drafts
        return draft

    async def dispatch(self) -> list[str]:
        """What stands on the queue, with a fresh copy of the fleet; answers the unknown ids."""
        await self.fleet.refresh()
        return await self.dispatching.run(self.queue.drain())

    async def fetch(self, imsi: str = IMSI) -> list[Handed]:
        return await self.outbox.fetch(imsi, "60301", 10)

    async def report(self, handed: Handed, state: str, imsi: str = IMSI, error: str | None = None) -> int:
        accepted, _ = await self.outbox.report(imsi, "60301", [Report(handed.id, handed.attempt, state, error)])  # type: ignore[arg-type]
        return accepted

    async def message(self, message_id: str) -> Message:
        (stored,) = await self.store.messages.load(self.store.batch(), [message_id])
        assert stored is not None
        return stored.message

    async def timer(self, message_id: str) -> float | None:
        score = await ask(self.store, lambda batch: batch.add("ZSCORE", self.store.timers.key(message_id), message_id))
        return None if score is None else float(score)

    async def seen(self, imsi: str = IMSI) -> Seed:
        return await self.registry.get(imsi)

    async def balance(self, account: Account) -> int:
        return await self.admin.balance(account.id)

    async def time_passes(self, seconds: float) -> int:
        """And the timekeeper looks; the seeds stay online."""
        self.clock.advance(seconds)
        for imsi in [seed.id for seed in await self.registry.every()]:
            await self.registry.ping(imsi, "+213661999999", "seed")
        return await self.timekeeping.run_due()


def limits(**fields: int) -> Limits:
    return replace(Limits(), **fields)
