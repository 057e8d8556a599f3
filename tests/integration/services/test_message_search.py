"""Finding messages, over a real Redis."""

import asyncio

import pytest

from router.domain.account import KeyCredential
from router.domain.errors import Invalid
from router.domain.message import Message
from router.domain.submission_request import NewSubmission
from router.services.message_search import MessageSearch, Term
from router.services.submissions import Submissions
from router.store.accounts import hash_key
from tests.integration.services.world import KEY, World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def search(world: World) -> MessageSearch:
    # Records are gone by Redis' own clock
    world.clock.at = await world.store.time()
    return MessageSearch(world.store, world.rules)


async def everything(search: MessageSearch, limit: int, **asked: str) -> list[str]:
    """All pages, one after the other."""
    found: list[str] = []
    before = ""
    for _ in range(100):
        page = await search.find(limit=limit, before=before, **asked)  # type: ignore[arg-type]
        found += [message.id for message in page.messages]
        if not (before := page.older):
            break
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_pages_of_all_accounts(world: World, search: MessageSearch, limit: int) -> None:
    """Whatever the size of a page, each message of each account is on one, the newest first."""
    await world.seed()
    accounts = [await world.account(key=f"sk_test_{number}xx") for number in range(4)]
    owners = [0, 1, 2, 3, 0, 1, 2, 3, 0, 0, 0, 0, 0]
    made: list[str] = []
    for turn, owner in enumerate(owners):
        made.append((await world.submit(accounts[owner], f"+2136610000{turn:02d}", key=f"sk_test_{owner}xx")).message.id)
        # Lists are in order by the millisecond
        await asyncio.sleep(0.002)

    assert made[::-1] == await everything(search, limit)
    own = [message_id for message_id, owner in zip(made, owners, strict=True) if owner == 0]
    assert own[::-1] == await everything(search, limit, account=accounts[0].id)


async def test_state_and_what_it_costs(world: World, search: MessageSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that is rare is looked for so far and no further, and a page says where to go on."""
    await world.seed()
    account = await world.account(balance=10_000)
    made = [(await world.submit(account, f"+21366100{turn:04d}")).message.id for turn in range(30)]
    monkeypatch.setattr("router.services.message_search.MOST_READ", 10)
    page = await search.find(state="sent")

    assert ([], 10) == (page.messages, page.looked_at)
    assert page.older
    assert made[::-1] == await everything(search, 50, state="pending")


async def test_identify(world: World, search: MessageSearch) -> None:
    """An id, with or without the number of an attempt; an Idempotency-Key; a submission; a number in any spelling; nothing else."""
    await world.seed()
    account = await world.account()
    message: Message = (await world.submit(account, "+213661000001", idempotency_key="order 7")).message

    assert message.id == await search.identify(f" {message.id}\n")
    assert message.id == await search.identify(f"{message.id}_2")
    assert message.id == await search.identify("order 7")
    for spelling in ("+213661000001", "0661 00 00 01", "00213-661-000-001"):
        assert Term("phone", "+213661000001") == await search.identify(spelling)
    for words, told in (("order 8", "no message"), ("", "1 to"), ("x" * 300, "1 to"), ("0661", "no message")):
        with pytest.raises(Invalid, match=told) as error:
            await search.identify(words)
        assert not words or words not in str(error.value)


async def test_by_phone_and_account(world: World, search: MessageSearch) -> None:
    """Of a phone's messages those of one account; a page at a time."""
    await world.seed()
    first, second = await world.account(), await world.account(key="sk_test_other")
    mine = [(await world.submit(first, "+213661000001")).message.id for _ in range(3)]
    theirs = (await world.submit(second, "+213661000001", key="sk_test_other")).message.id
    await world.submit(first, "+213661000002")
    term = search.phone("0661000001")
    found = await search.find(term, limit=2)

    assert [theirs, mine[2]] == [message.id for message in found.messages]
    assert [mine[1], mine[0]] == [message.id for message in (await search.find(term, limit=2, before=found.older)).messages]
    assert mine[::-1] == [message.id for message in (await search.find(term, account=first.id)).messages]
    for before in ("x", "-1", "٣"):
        with pytest.raises(Invalid):
            await search.find(term, before=before)
        with pytest.raises(Invalid):
            await search.find(before=before)


async def test_by_submission(world: World, search: MessageSearch) -> None:
    """The id that a client knows a submission by leads to all of its messages, in the order of its recipients; so does its key."""
    await world.seed(pace_seconds=0.02)
    account = await world.account()
    submissions = Submissions(world.store, world.submitting.acceptance, world.transitions, world.devices, world.clock, world.rules)
    asked = NewSubmission(recipients=("+213661000001", "+213661000002"), body="a text", id="client-1")
    told = await submissions.submit(account, KeyCredential(hash_key(KEY)), asked, "order 9")

    assert Term("submission", "client-1") == await search.identify("client-1")
    assert Term("submission", "client-1") == await search.identify("order 9")
    found = await search.find(Term("submission", "client-1"))
    assert list(told.view.submission.messages) == [message.id for message in found.messages]
