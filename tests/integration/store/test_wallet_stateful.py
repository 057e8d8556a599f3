"""The wallet against a model of it: whatever is admitted, settled, undone, topped up and asked again, in any order, money adds up."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from router.store.accounts import Accounts, Admission
from tests.integration.store.kit import NOW, a_message, admit, an_account, an_admission, ask, open_store, with_wallet

PHONES = ("+213661000001", "+213661000002")
LIMITS = (12, 7, 4)
START = 60


class Known(msgspec.Struct):
    """A message that was admitted, as the model has it."""

    admission: Admission
    fate: str = "open"
    confirmed: bool = False
    undone: bool = False


class Wallet(RuleBasedStateMachine):
    redis_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.store = open_store(self.redis_url)
        self.now = NOW
        self.topups = 0
        self.given_back = Counter[str]()
        self.messages: dict[str, Known] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.days = Counter[int]()
        self.hours = Counter[int]()
        self.phones: dict[str, dict[str, float]] = {phone: {} for phone in PHONES}

    def do(self, add: Any) -> Any:
        return self.loop.run(ask(self.store, add))

    @initialize()
    def begin(self) -> None:
        self.account = self.loop.run(with_wallet(self.store, START, id=an_account().id))

    @property
    def expected_balance(self) -> int:
        charged = sum(known.admission.price for known in self.messages.values() if known.fate in ("open", "kept"))
        return START + self.topups - charged

    def last_hour(self, to: str) -> dict[str, float]:
        return {id: at for id, at in self.phones[to].items() if at > self.now - 3600}

    def older_code(self, to: str) -> str:
        codes = {id: at for id, at in self.last_hour(to).items() if self.messages[id].admission.is_code}
        return max(codes, key=lambda id: (codes[id], id), default="")

    # What the script should answer: the order of spec/gatewire.md

    def verdict(self, asked: Admission) -> tuple[str, str]:
        if asked.idempotency_key in self.keys:
            id, body = self.keys[asked.idempotency_key]
            return ("replay", id) if body == asked.body_print else ("mismatch", "")
        if self.days[int(self.now // 86400)] >= LIMITS[0]:
            return "day", ""
        if self.hours[int(self.now // 3600)] >= LIMITS[1]:
            return "hour", ""
        if len(self.last_hour(asked.to)) >= LIMITS[2]:
            return "phone", ""
        if self.expected_balance < asked.price:
            return "balance", ""
        return ("ok", self.older_code(asked.to) if asked.is_code else "") if asked.served else ("unserved", "")

    @rule(
        to=st.sampled_from(PHONES), price=st.integers(0, 25), key=st.sampled_from(["", "", "k", "a|b|c"]),
        body=st.sampled_from("pq"), is_code=st.booleans(), served=st.integers(0, 9).map(bool),
    )  # fmt: skip
    def admit(self, to: str, price: int, key: str, body: str, is_code: bool, served: bool) -> None:
        asked = an_admission(
            self.account, to=to, price=price, idempotency_key=key, body_print=body if key else "", is_code=is_code,
            served=served, now=self.now, limits=LIMITS,
        )  # fmt: skip
        outcome, id = self.verdict(asked)
        admitted = self.loop.run(admit(self.store, asked))

        assert (outcome, id) == (admitted.outcome, admitted.id)
        if outcome != "ok":
            return
        self.messages[asked.message_id] = Known(asked)
        self.days[int(self.now // 86400)] += 1
        self.hours[int(self.now // 3600)] += 1
        self.phones[to][asked.message_id] = self.now
        if key:
            self.keys[key] = (asked.message_id, body)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), refund=st.booleans())
    def settle(self, data: st.DataObject, refund: bool) -> None:
        """Also of what was settled or undone before."""
        id = data.draw(st.sampled_from(list(self.messages)))
        known = self.messages[id]
        given = self.do(
            lambda batch: self.store.accounts.settle(
                batch, a_message(id=id, account=self.account.id, to=known.admission.to), refund=refund
            )
        )

        assert (known.admission.price if known.fate == "open" and refund else 0) == given
        known.confirmed = True
        if known.fate == "open":
            known.fate = "refunded" if refund else "kept"
            self.given_back[id] += refund

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        """Also of what was undone before; what was refunded once only, since that is its caller's business."""
        id = data.draw(st.sampled_from(list(self.messages)))
        known, asked = self.messages[id], self.messages[id].admission
        is_refunded = known.fate == "refunded" and not known.undone and data.draw(st.booleans())
        entry = self.do(lambda batch: Accounts.charge(batch, self.account.id, id)) or Accounts.charge_entry(asked)
        done = self.do(
            lambda batch: self.store.accounts.undo(batch, self.account.id, id, entry, asked.now, is_refunded=is_refunded)
        )

        assert int(known.fate == "open" or is_refunded) == done
        if not done:
            return
        self.given_back[id] += known.fate == "open"
        known.fate = "refunded"
        known.confirmed = known.undone = True
        self.days[int(asked.now // 86400)] -= 1
        self.hours[int(asked.now // 3600)] -= 1
        self.phones[asked.to].pop(id, None)
        if self.keys.get(asked.idempotency_key, ("", ""))[0] == id:
            del self.keys[asked.idempotency_key]

    @rule(amount=st.integers(-40, 40))
    def topup(self, amount: int) -> None:
        expected = self.expected_balance + amount

        assert (expected if expected >= 0 else -1) == self.do(lambda batch: Accounts.topup(batch, self.account.id, amount))
        if expected >= 0:
            self.topups += amount

    @rule(seconds=st.sampled_from([0.5, 60.0, 1700.0, 3600.0, 80_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def money_adds_up(self) -> None:
        if not hasattr(self, "account"):
            return
        key = self.store.accounts.key
        batch = self.store.batch()
        batch.add("HGET", key(self.account.id), "balance")
        batch.add("HKEYS", key(self.account.id, "charges"))
        batch.add("ZRANGE", key(self.account.id, "unconfirmed"), 0, -1)
        for to in PHONES:
            batch.add("ZRANGEBYSCORE", key(self.account.id, f"phone:{to}"), f"({self.now - 3600}", "+inf")
        balance, charges, unconfirmed, *phones = self.loop.run(batch.run())

        assert self.expected_balance == int(balance)
        assert int(balance) >= 0
        assert {id.encode() for id, known in self.messages.items() if known.fate == "open"} == set(charges)
        assert {id.encode() for id, known in self.messages.items() if not known.confirmed} == set(unconfirmed)
        assert [{self.member(id) for id in self.last_hour(to)} for to in PHONES] == [set(members) for members in phones]
        assert all(times <= 1 for times in self.given_back.values())

    def member(self, id: str) -> bytes:
        return f"{'' if self.messages[id].admission.is_code else '-'}{id}".encode()

    def teardown(self) -> None:
        self.loop.run(self.store.close())
        self.loop.close()


def test_wallet(redis_url: str) -> None:
    class Bound(Wallet):
        pass

    Bound.redis_url = redis_url
    slow_is_fine = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Bound, settings=settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=slow_is_fine)
    )
