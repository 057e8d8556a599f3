import asyncio
from typing import Any

import pytest

from router.store.accounts import Accounts, Admission, Admitted
from router.store.store import Store
from tests.integration.store.kit import (
    NOW,
    PHONE,
    a_message,
    admit,
    an_account,
    an_admission,
    ask,
    everything,
    with_wallet,
    without_listings,
)

pytestmark = pytest.mark.anyio
OTHER_PHONE = "+213661000002"


async def balance(store: Store, account_id: str) -> int:
    return int(await ask(store, lambda batch: Accounts.balance(batch, account_id)))


async def settle(store: Store, account_id: str, message_id: str, *, refund: bool, to: str = PHONE) -> int:
    message = a_message(id=message_id, account=account_id, to=to)
    return await ask(store, lambda batch: store.accounts.settle(batch, message, refund=refund))


async def undo(store: Store, ask_: Admission, *, is_refunded: bool = False) -> int:
    charge = await ask(store, lambda batch: Accounts.charge(batch, ask_.account.id, ask_.message_id))
    entry = charge if charge is not None else Accounts.charge_entry(ask_)
    return await ask(
        store, lambda batch: store.accounts.undo(batch, ask_.account.id, ask_.message_id, entry, ask_.now, is_refunded=is_refunded)
    )


def books(redis_url: str) -> dict[str, Any]:
    return without_listings(everything(redis_url))


# Admission


async def test_admitted(store: Store, redis_url: str) -> None:
    """Charged, counted, listed, and watched until its record is seen."""
    account = await with_wallet(store, 12)
    now = await store.time()
    first = an_admission(account, now=now, limits=(9, 9, 9), idempotency_key="k", body_print="p")

    assert Admitted("ok") == await admit(store, first)
    found = everything(redis_url)
    key = f"acct:{{{account.id}}}"
    id = first.message_id.encode()
    assert b"7" == found[key][b"balance"]
    assert {id: f"5|{PHONE}|k".encode()} == found[f"{key}:charges"]
    for listing in ("unconfirmed", f"phone:{PHONE}"):
        assert [(id, now)] == found[f"{key}:{listing}"]
    assert [{b"i": id}] == [fields for _, fields in found[f"{key}:messages"]]
    assert b"1" == found[f"{key}:day:{int(now // 86400)}"]
    assert b"1" == found[f"{key}:hour:{int(now // 3600)}"]


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


@pytest.mark.parametrize("limit", [0, 9])
async def test_older_code_among_plain_messages(store: Store, limit: int) -> None:
    """The newest code stays the older one, however the plain SMS to the same phone stand around it."""
    account = await with_wallet(store, 100)
    kinds = [False, True, False, True, False, False]
    asked = [
        an_admission(account, is_code=is_code, limits=(0, 0, limit), now=NOW + second) for second, is_code in enumerate(kinds)
    ]
    named = [(await admit(store, admission)).id for admission in asked]

    assert ["", "", "", asked[1].message_id, "", ""] == named
    assert asked[3].message_id == (await admit(store, an_admission(account, now=NOW + 6))).id


async def test_older_code_is_known_for_an_hour(store: Store) -> None:
    """No code lives longer."""
    account = await with_wallet(store, 100)
    older = an_admission(account)
    await admit(store, older)

    assert older.message_id == (await admit(store, an_admission(account, to=PHONE, now=NOW + 3599.9))).id
    other = an_admission(account, to=OTHER_PHONE)
    await admit(store, other)
    assert "" == (await admit(store, an_admission(account, to=OTHER_PHONE, now=NOW + 3600))).id


async def test_plain_messages_are_remembered_where_they_are_limited(store: Store, redis_url: str) -> None:
    """Without a limit of the phone nothing is kept of them there."""
    account = await with_wallet(store, 100)
    free, limited = (an_admission(account, is_code=False, limits=(0, 0, limit), now=NOW + limit) for limit in (0, 2))
    await admit(store, free)
    key = f"acct:{{{account.id}}}:phone:{PHONE}"

    assert key not in everything(redis_url)
    await admit(store, limited)
    assert [(f"-{limited.message_id}".encode(), NOW + 2)] == everything(redis_url)[key]


# The listing


async def test_listed_in_the_order_of_admission(store: Store) -> None:
    """Latest first, as many as are asked for; whatever their ids are, and what was undone stays among them."""
    account, other = await with_wallet(store, 100), await with_wallet(store, 100)
    now = await store.time()
    asked = [an_admission(account, now=now, message_id=f"wg_{name}") for name in "caebd"]
    for admission in asked:
        await admit(store, admission)
    await admit(store, an_admission(other, now=now))
    await undo(store, asked[-1])

    assert ["wg_d", "wg_b", "wg_e", "wg_a", "wg_c"] == await Accounts.message_ids(store.batch(), account.id, 10)
    assert ["wg_d", "wg_b"] == await Accounts.message_ids(store.batch(), account.id, 2)
    assert [] == await Accounts.message_ids(store.batch(), "ac_nobody", 10)


async def test_listings_are_forgotten(store: Store) -> None:
    """When older than any record can be, but for what Redis cannot cut off cheaply: less than a block of a stream (100 entries)."""
    account = await with_wallet(store, 100)
    now = await store.time()
    key = Accounts.key(account.id, "messages")
    batch = store.batch()
    for second in range(500):
        batch.add("XADD", key, int((now - 700_000 + second) * 1000), "i", f"wg_old_{second}")
    for second in range(100):
        batch.add("XADD", key, int((now - 500 + second) * 1000), "i", f"wg_kept_{second}")
    await batch.run()
    new = an_admission(account, now=now)
    await admit(store, new)
    listed = await Accounts.message_ids(store.batch(), account.id, 1000)

    assert [new.message_id, *(f"wg_kept_{second}" for second in reversed(range(100)))] == listed[:101]
    assert len(listed) < 201


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
    """As if it had never been asked: wallet, counters, the idempotency key, and the phone's older code. Only the listing keeps it."""
    account = await with_wallet(store, 100)
    for at, is_code in ((NOW - 1, older), (NOW - 0.5, False)):
        await admit(store, an_admission(account, limits=(9, 9, 9), now=at, is_code=is_code))
    before = books(redis_url)
    undone = an_admission(account, limits=limits, idempotency_key=key, body_print="p")
    assert "ok" == (await admit(store, undone)).outcome

    assert before != books(redis_url)
    assert 1 == await undo(store, undone)
    assert before == books(redis_url)
    assert 0 == await undo(store, undone)
    assert before == books(redis_url)


async def test_undo_leaves_what_came_after(store: Store) -> None:
    """A newer code keeps its place, and so does a key that another message holds by now."""
    account = await with_wallet(store, 100)
    undone = an_admission(account, idempotency_key="k", body_print="p")
    newer = an_admission(account, now=NOW + 1)
    await admit(store, undone)
    assert undone.message_id == (await admit(store, newer)).id
    await undo(store, undone)

    assert newer.message_id == (await admit(store, an_admission(account, now=NOW + 2))).id
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
    """A message that was recorded, then withdrawn: its money is back already, and all the rest is undone for a caller that says so."""
    account = await with_wallet(store, 100)
    first = an_admission(account, limits=(9, 9, 9), is_code=older)
    await admit(store, first)
    before = books(redis_url)
    undone = an_admission(account, limits=(9, 9, 9), idempotency_key="k", body_print="p", now=NOW + 1)
    await admit(store, undone)
    await settle(store, account.id, undone.message_id, refund=True)
    refunded = books(redis_url)

    assert 0 == await undo(store, undone)
    assert refunded == books(redis_url)
    assert 1 == await undo(store, undone, is_refunded=True)
    assert before == books(redis_url)


async def test_undo_before_the_refund(store: Store, redis_url: str) -> None:
    """The caller takes it for refunded, and the wallet has not heard of it yet: undoing gives the money back, settling then does not."""
    account = await with_wallet(store, 100)
    before = books(redis_url)
    undone = an_admission(account, limits=(9, 9, 9))
    await admit(store, undone)

    assert 1 == await undo(store, undone, is_refunded=True)
    assert before == books(redis_url)
    assert 0 == await settle(store, account.id, undone.message_id, refund=True)
    assert before == books(redis_url)


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
    again = an_admission(account, now=NOW + 1)
    assert admission.message_id == (await admit(store, again)).id, "settling does not look at the phone: who replaces it will find it over"
    assert 1 == len(await Accounts.unconfirmed(store.batch(), [account.id], NOW + 1, 10))


async def test_settled_at_once_by_many(store: Store) -> None:
    account = await with_wallet(store, 100)
    admission = an_admission(account)
    await admit(store, admission)
    given = await asyncio.gather(*(settle(store, account.id, admission.message_id, refund=True) for _ in range(10)))

    assert [0] * 9 + [5] == sorted(given)


async def test_settle_keeps_a_newer_code(store: Store) -> None:
    account = await with_wallet(store, 100)
    older, newer = an_admission(account), an_admission(account, now=NOW + 1)
    await admit(store, older)
    await admit(store, newer)
    await settle(store, account.id, older.message_id, refund=True)

    assert newer.message_id == (await admit(store, an_admission(account, now=NOW + 2))).id


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


async def test_confirmed_many_at_once(store: Store) -> None:
    """Those that are named, and those only; naming one twice does no harm."""
    account = await with_wallet(store, 100)
    asked = [an_admission(account, is_code=False) for _ in range(4)]
    for admission in asked:
        await admit(store, admission)
    for _ in range(2):
        await ask(store, lambda batch: Accounts.confirm(batch, account.id, *(admission.message_id for admission in asked[:3])))

    assert [asked[3].message_id] == [i.message_id for i in await Accounts.unconfirmed(store.batch(), [account.id], NOW, 10)]


async def test_a_change_is_found_out(store: Store) -> None:
    account = await with_wallet(store, 100)
    await ask(store, lambda batch: Accounts.change(batch, account.id, {}))

    assert "changed" == (await admit(store, an_admission(account))).outcome
    fresh = await Accounts.load(store.batch(), account.id)
    assert fresh is not None
    assert "ok" == (await admit(store, an_admission(fresh))).outcome
