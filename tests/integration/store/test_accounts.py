import asyncio
from typing import Any

import pytest

from router.store.accounts import Accounts, Admitted
from router.store.store import Store
from tests.integration.store.kit import NOW, PHONE, a_message, admit, an_account, an_admission, ask, everything, with_wallet

pytestmark = pytest.mark.anyio
OTHER_PHONE = "+213661000002"


async def balance(store: Store, account_id: str) -> int:
    return int(await ask(store, lambda batch: Accounts.balance(batch, account_id)))


async def settle(store: Store, account_id: str, message_id: str, *, refund: bool, to: str = PHONE) -> int:
    message = a_message(id=message_id, account=account_id, to=to)
    return await ask(store, lambda batch: store.accounts.settle(batch, message, refund=refund))


async def undo(store: Store, ask_: Any, older: str = "") -> int:
    charge = await ask(store, lambda batch: Accounts.charge(batch, ask_.account.id, ask_.message_id))
    entry = charge if charge is not None else Accounts.charge_entry(ask_, older)
    return await ask(store, lambda batch: store.accounts.undo(batch, ask_.account.id, ask_.message_id, entry, ask_.now))


# Admission


async def test_admitted(store: Store, redis_url: str) -> None:
    """Charged, counted, listed, and watched until its record is seen."""
    account = await with_wallet(store, 12)
    first = an_admission(account, limits=(9, 9, 9), idempotency_key="k", body_print="p")

    assert Admitted("ok") == await admit(store, first)
    found = everything(redis_url)
    key = f"acct:{{{account.id}}}"
    id = first.message_id.encode()
    assert b"7" == found[key][b"balance"]
    assert {id: f"5|{PHONE}|".encode()} == {k: v[: len(f"5|{PHONE}|")] for k, v in found[f"{key}:charges"].items()}
    for listing in ("unconfirmed", "messages", f"phone:{PHONE}"):
        assert [(id, NOW)] == found[f"{key}:{listing}"]
    assert b"1" == found[f"{key}:day:{int(NOW // 86400)}"]
    assert b"1" == found[f"{key}:hour:{int(NOW // 3600)}"]
    assert {PHONE.encode(): id} == found[f"{key}:open"]


async def test_asked_again(store: Store, redis_url: str) -> None:
    """The same admission once more, its answer was lost on the way: the same answer, and nothing counts twice."""
    account = await with_wallet(store, 100)
    older = an_admission(account)
    await admit(store, older)
    again = an_admission(account, limits=(2, 2, 2), idempotency_key="k", body_print="p")
    first = await admit(store, again)
    before = everything(redis_url)

    assert older.message_id == first.id
    assert [first, first] == [await admit(store, again) for _ in range(2)]
    assert before == everything(redis_url)


async def test_only_the_exact_balance(store: Store) -> None:
    account = await with_wallet(store, 5)

    assert Admitted("ok") == await admit(store, an_admission(account, is_code=False))
    assert Admitted("balance") == await admit(store, an_admission(account, is_code=False))
    assert Admitted("ok") == await admit(store, an_admission(account, is_code=False, price=0))
    assert 0 == await balance(store, account.id)


async def test_the_last_money_goes_once(store: Store) -> None:
    account = await with_wallet(store, 35)
    outcomes = await asyncio.gather(*(admit(store, an_admission(account)) for _ in range(30)))

    assert 7 == sum(admitted.outcome == "ok" for admitted in outcomes)
    assert 23 == sum(admitted.outcome == "balance" for admitted in outcomes)
    assert 0 == await balance(store, account.id)


async def test_older_code(store: Store) -> None:
    """By phone; a plain SMS neither is one nor takes its place."""
    account = await with_wallet(store, 100)
    first, other = an_admission(account), an_admission(account, to=OTHER_PHONE)

    assert ["", ""] == [(await admit(store, first)).id, (await admit(store, other)).id]
    assert "" == (await admit(store, an_admission(account, is_code=False))).id
    assert first.message_id == (await admit(store, an_admission(account))).id


async def test_listings_are_forgotten(store: Store) -> None:
    """Once their records are surely gone."""
    account = await with_wallet(store, 100)
    old, new = an_admission(account), an_admission(account, now=NOW + 601)
    await admit(store, old)

    assert [old.message_id] == await Accounts.message_ids(store.batch(), account.id, 10)
    await admit(store, new)
    assert [new.message_id] == await Accounts.message_ids(store.batch(), account.id, 10)


# Refusals: spec/gatewire.md, "when several apply"

REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("changed", {"rev": 2}),
    ("mismatch", {"idempotency_key": "used", "body_print": "another"}),
    ("day", {"day": 1}),
    ("hour", {"hour": 1}),
    ("phone", {"phone": 1}),
    ("balance", {"price": 1000}),
    ("unserved", {"served": False}),
]


@pytest.mark.parametrize("place", range(len(REFUSALS)))
async def test_the_first_of_several_refusals(store: Store, redis_url: str, place: int) -> None:
    """Each refusal stands above all that come after it, and nothing is charged, counted or kept for any."""
    account = await with_wallet(store, 100, id="ac_refused")
    await admit(store, an_admission(account, idempotency_key="used", body_print="one", limits=(9, 9, 9)))
    wrong: dict[str, Any] = {}
    for _, faults in REFUSALS[place:]:
        wrong |= faults
    limits = tuple(wrong.pop(name, 0) for name in ("day", "hour", "phone"))
    asked = an_account(id=account.id, rev=wrong.pop("rev", 1))
    before = everything(redis_url)
    admitted = await admit(store, an_admission(asked, limits=limits, now=NOW + 1, **wrong))

    assert REFUSALS[place][0] == admitted.outcome
    assert before == everything(redis_url)


async def test_waits(store: Store) -> None:
    """How long until it is worth trying again: the next UTC day, the next hour, or when the oldest of the phone's is an hour old."""
    account = await with_wallet(store, 1000)
    await admit(store, an_admission(account, limits=(0, 0, 1), now=NOW - 600.5))

    assert Admitted("day", wait_seconds=86400 - 12800) == await admit(store, an_admission(account, limits=(1, 0, 0)))
    assert Admitted("hour", wait_seconds=3600 - 2000) == await admit(store, an_admission(account, limits=(0, 1, 0)))
    assert Admitted("phone", wait_seconds=3000) == await admit(store, an_admission(account, limits=(0, 0, 1)))


async def test_limits_end(store: Store) -> None:
    account = await with_wallet(store, 1000)
    limits = (1, 1, 1)
    await admit(store, an_admission(account, limits=limits))

    assert "phone" == (await admit(store, an_admission(account, limits=(0, 0, 1), now=NOW + 3599))).outcome
    assert "ok" == (await admit(store, an_admission(account, limits=(0, 0, 1), now=NOW + 3600))).outcome
    assert "ok" == (await admit(store, an_admission(account, limits=(0, 0, 1), to=OTHER_PHONE))).outcome
    assert "hour" == (await admit(store, an_admission(account, limits=(0, 1, 0), now=NOW + 1599))).outcome
    assert "day" == (await admit(store, an_admission(account, limits=limits, now=NOW + 73_599))).outcome
    assert "ok" == (await admit(store, an_admission(account, limits=limits, now=NOW + 73_600))).outcome


async def test_unknown_account(store: Store, redis_url: str) -> None:
    assert "changed" == (await admit(store, an_admission(an_account()))).outcome
    assert {} == everything(redis_url)


# Idempotency


async def test_replay_stands_above_limits_and_money(store: Store, redis_url: str) -> None:
    """The same request again is the same message, even where a new one would be refused; nothing is charged for it."""
    account = await with_wallet(store, 5)
    first = an_admission(account, idempotency_key="k", body_print="p", limits=(1, 1, 1))
    await admit(store, first)
    before = everything(redis_url)
    again = an_admission(account, idempotency_key="k", body_print="p", limits=(1, 1, 1), served=False)

    assert Admitted("replay", id=first.message_id) == await admit(store, again)
    assert before == everything(redis_url)


async def test_idempotency_keys_are_the_accounts_own(store: Store) -> None:
    one, two = await with_wallet(store, 5), await with_wallet(store, 5)

    for account in (one, two):
        assert "ok" == (await admit(store, an_admission(account, idempotency_key="k", body_print="p"))).outcome


async def test_one_of_many_with_one_key(store: Store) -> None:
    account = await with_wallet(store, 100)
    asked = [an_admission(account, idempotency_key="k", body_print="p") for _ in range(20)]
    answers = await asyncio.gather(*(admit(store, admission) for admission in asked))

    winners = [admission.message_id for admission, answer in zip(asked, answers, strict=True) if answer.outcome == "ok"]
    assert 1 == len(winners)
    assert set(winners) == {answer.id for answer in answers if answer.outcome == "replay"}
    assert 95 == await balance(store, account.id)


async def test_key_is_kept_as_a_hash(store: Store, redis_url: str) -> None:
    """Its length does not matter, and whatever a client puts into it makes no other key of Redis."""
    account = await with_wallet(store, 100)
    for key in ("}{x", "a|b|c", "é" * 100):
        assert "ok" == (await admit(store, an_admission(account, idempotency_key=key, body_print="p"))).outcome

    idem = [key for key in everything(redis_url) if ":idem:" in key]
    assert 3 == len(idem)
    assert {64} == {len(key.rpartition(":")[2]) for key in idem}


# Undo


@pytest.mark.parametrize("limits", [(9, 9, 9), (0, 0, 0)])
@pytest.mark.parametrize("key", ["", "k", "a|b"])
@pytest.mark.parametrize("older", [True, False])
async def test_undo_restores_exactly(store: Store, redis_url: str, limits: tuple[int, int, int], key: str, older: bool) -> None:
    """As if it had never been asked: wallet, counters, lists, the idempotency key, and the phone's older code."""
    account = await with_wallet(store, 100)
    for at, is_code in ((NOW - 1, older), (NOW - 0.5, False)):
        await admit(store, an_admission(account, limits=(9, 9, 9), now=at, is_code=is_code))
    before = everything(redis_url)
    undone = an_admission(account, limits=limits, idempotency_key=key, body_print="p")
    assert "ok" == (await admit(store, undone)).outcome

    assert before != everything(redis_url)
    assert 1 == await undo(store, undone)
    assert before == everything(redis_url)
    assert 0 == await undo(store, undone)
    assert before == everything(redis_url)


async def test_undo_leaves_what_came_after(store: Store) -> None:
    """A newer code keeps its place, and so does a key that another message holds by now."""
    account = await with_wallet(store, 100)
    undone = an_admission(account, idempotency_key="k", body_print="p")
    newer = an_admission(account)
    await admit(store, undone)
    assert undone.message_id == (await admit(store, newer)).id
    await undo(store, undone)

    assert newer.message_id == (await admit(store, an_admission(account))).id
    assert "ok" == (await admit(store, an_admission(account, idempotency_key="k", body_print="another"))).outcome


async def test_undo_counts_where_it_was_counted(store: Store) -> None:
    """In the day and hour of the admission, however late the undoing."""
    account = await with_wallet(store, 100)
    early = an_admission(account, now=NOW - 7200)
    await admit(store, early)
    await admit(store, an_admission(account))
    await undo(store, early)

    assert "hour" == (await admit(store, an_admission(account, limits=(0, 1, 0)))).outcome
    assert "ok" == (await admit(store, an_admission(account, limits=(0, 1, 0), now=NOW - 7200))).outcome


@pytest.mark.parametrize("older", [True, False])
async def test_undo_after_a_refund(store: Store, redis_url: str, older: bool) -> None:
    """A message that was recorded, then withdrawn: its money is back already, all the rest is undone; and once."""
    account = await with_wallet(store, 100)
    first = an_admission(account, limits=(9, 9, 9), is_code=older)
    await admit(store, first)
    before = everything(redis_url)
    undone = an_admission(account, limits=(9, 9, 9), idempotency_key="k", body_print="p")
    admitted = await admit(store, undone)
    await settle(store, account.id, undone.message_id, refund=True)

    assert [1, 0] == [await undo(store, undone, admitted.id) for _ in range(2)]
    assert before == everything(redis_url)


# Settling, and the wallet


@pytest.mark.parametrize("refund", [True, False])
async def test_settle_once(store: Store, refund: bool) -> None:
    """The charge is kept or given back once, whoever says what after that."""
    account = await with_wallet(store, 100)
    admission = an_admission(account)
    await admit(store, admission)

    assert (5 if refund else 0) == await settle(store, account.id, admission.message_id, refund=refund)
    assert [0, 0] == [await settle(store, account.id, admission.message_id, refund=again) for again in (True, False)]
    assert (100 if refund else 95) == await balance(store, account.id)
    assert "" == (await admit(store, an_admission(account))).id, "a settled code is no older open one"
    assert 1 == len(await Accounts.unconfirmed(store.batch(), [account.id], NOW, 10))


async def test_settled_at_once_by_many(store: Store) -> None:
    account = await with_wallet(store, 100)
    admission = an_admission(account)
    await admit(store, admission)
    given = await asyncio.gather(*(settle(store, account.id, admission.message_id, refund=True) for _ in range(10)))

    assert [0] * 9 + [5] == sorted(given)


async def test_settle_keeps_a_newer_code(store: Store) -> None:
    account = await with_wallet(store, 100)
    older, newer = an_admission(account), an_admission(account)
    await admit(store, older)
    await admit(store, newer)
    await settle(store, account.id, older.message_id, refund=True)

    assert newer.message_id == (await admit(store, an_admission(account))).id


async def test_price_is_what_was_charged(store: Store) -> None:
    """Whatever it costs by now."""
    account = await with_wallet(store, 100)
    admission = an_admission(account, price=17)
    await admit(store, admission)
    await ask(store, lambda batch: Accounts.change(batch, account.id, {"price": "1"}))

    assert 17 == await settle(store, account.id, admission.message_id, refund=True)


@pytest.mark.parametrize(("amount", "answer", "left"), [(5, 15, 15), (-10, 0, 0), (-11, -1, 10), (0, 10, 10)])
async def test_topup_floor(store: Store, amount: int, answer: int, left: int) -> None:
    account = await with_wallet(store, 10)

    assert answer == await ask(store, lambda batch: Accounts.topup(batch, account.id, amount))
    assert left == await balance(store, account.id)


async def test_topup_of_nobody(store: Store, redis_url: str) -> None:
    assert -2 == await ask(store, lambda batch: Accounts.topup(batch, "ac_nobody", 5))
    assert {} == everything(redis_url)


async def test_unconfirmed(store: Store) -> None:
    """Oldest first, of several accounts, until confirmed."""
    one, two = await with_wallet(store, 100), await with_wallet(store, 100)
    asked = [an_admission(one, now=NOW - 40), an_admission(one, now=NOW - 50), an_admission(two, now=NOW - 29)]
    for admission in asked:
        await admit(store, admission)
    found = await Accounts.unconfirmed(store.batch(), [one.id, two.id], NOW - 30, 10)

    assert [(one.id, asked[1].message_id, NOW - 50), (one.id, asked[0].message_id, NOW - 40)] == [
        (item.account, item.message_id, item.admitted_at) for item in found
    ]
    await ask(store, lambda batch: Accounts.confirm(batch, one.id, asked[1].message_id))
    assert [asked[0].message_id] == [i.message_id for i in await Accounts.unconfirmed(store.batch(), [one.id], NOW, 10)]


async def test_a_change_is_found_out(store: Store) -> None:
    account = await with_wallet(store, 100)
    await ask(store, lambda batch: Accounts.change(batch, account.id, {}))

    assert "changed" == (await admit(store, an_admission(account))).outcome
    fresh = await Accounts.load(store.batch(), account.id)
    assert fresh is not None
    assert "ok" == (await admit(store, an_admission(fresh))).outcome
