import itertools

import pytest

from router.domain.message import Attempt, Message
from router.store.listings import by_phone
from router.store.messages import Stored
from router.store.store import Store
from tests.integration.store.kit import NOW, PHONE, a_message, ask

pytestmark = pytest.mark.anyio


async def create(store: Store, message: Message) -> bytes | None:
    return await ask(store, lambda batch: store.messages.create(batch, message, "the text"))


async def load(store: Store, message_id: str) -> Stored | None:
    (stored,) = await store.messages.load(store.batch(), [message_id])
    return stored


async def test_create_once(store: Store) -> None:
    """The first record stands, as version 1; a second one for the same id changes nothing."""
    message = a_message()

    assert b"OK" == await create(store, message)
    assert await create(store, a_message(id=message.id, price=99)) is None
    stored = await load(store, message.id)
    assert stored is not None
    assert (1, message) == (stored.version, stored.message)
    assert "the text" == store.messages.open_text(stored)


FULL = a_message(
    state="dispatched", reason="no service", code_hash=bytes(range(32)), code_length=6, tries_left=3, republished=2, parked_at=NOW + 1,
    dispatched_at=NOW + 2, sent_at=NOW + 3, delivered_at=NOW + 4, verified_at=NOW + 5, ended_at=NOW + 6, settled=True,
    attempts=(
        Attempt(number=1, seed="603010000000001", carrier="60301", state="failed", assigned_at=NOW + 2, why="x", error="no service"),
        Attempt(
            number=2, seed="603010000000002", carrier="60301", state="radio", assigned_at=NOW + 3, why="y", handed_at=NOW + 4,
            lease_until=NOW + 12, radio_at=NOW + 5, sent_at=NOW + 6, delivered_at=NOW + 7, ended_at=NOW + 8,
        ),
    ),
)  # fmt: skip


@pytest.mark.parametrize("body", ["", "::12:", "0:0:", "é" * 1000, "\x00\n\r\n$3"])
async def test_any_record_and_any_text(store: Store, body: str) -> None:
    """Every field comes back as it was, whatever the bytes of the code's hash and of the sealed text are."""
    for hash_byte in b"\x00:\n\xff":
        message = a_message(code_hash=bytes([hash_byte]) * 32)
        await ask(store, lambda batch, message=message: store.messages.create(batch, message, body))
        stored = await load(store, message.id)

        assert stored is not None
        assert message == stored.message
        assert body == store.messages.open_text(stored)
        full = Message(**{name: getattr(FULL, name) for name in Message.__struct_fields__} | {"id": message.id})
        assert 1 == await ask(store, lambda batch, stored=stored, full=full: store.messages.commit(batch, stored, full))
        stored = await load(store, message.id)
        assert stored is not None
        assert (2, full) == (stored.version, stored.message)
        assert body == store.messages.open_text(stored)


async def test_many_versions(store: Store) -> None:
    """The text stays where it is, however many digits the version has."""
    message = a_message()
    await create(store, message)
    for version in range(1, 102):
        stored = await load(store, message.id)
        assert stored is not None
        assert (version, "the text") == (stored.version, store.messages.open_text(stored))
        batch = store.batch()
        store.messages.commit(batch, stored, a_message(id=message.id, republished=version))
        assert [1] == await batch.run()


async def test_many_are_read_at_once(store: Store) -> None:
    """In the order they are asked for; None where there is none, twice where it is asked for twice."""
    first, second = a_message(), a_message()
    for message in (first, second):
        await create(store, message)
    await ask(store, lambda batch: store.messages.void(batch, "wg_void"))
    found = await store.messages.load(store.batch(), [second.id, "wg_none", first.id, "wg_void", second.id])

    assert [second, None, first, None, second] == [stored and stored.message for stored in found]
    assert [] == await store.messages.load(store.batch(), [])


async def recorded(store: Store, message_id: str) -> bool:
    return store.messages.parse_recorded(await ask(store, lambda batch: store.messages.is_recorded(batch, message_id)))


async def test_what_is_recorded(store: Store) -> None:
    """A record, with or without its text, readable or not; not a tombstone, and not nothing."""
    message = a_message()
    await create(store, message)
    read = await load(store, message.id)
    assert read is not None

    assert await recorded(store, message.id)
    await ask(store, lambda batch: store.messages.commit(batch, read, a_message(id=message.id, state="sent")))
    assert await recorded(store, message.id)
    await ask(store, lambda batch: batch.add("SET", store.messages.key("wg_strange"), "who wrote this?"))
    assert await load(store, "wg_strange") is None
    assert await recorded(store, "wg_strange")
    await ask(store, lambda batch: store.messages.void(batch, "wg_void"))
    assert not await recorded(store, "wg_void")
    assert not await recorded(store, "wg_none")


async def goes_at(store: Store, message_id: str) -> float:
    """When the record goes by itself, in Unix seconds; from what is left, since Redis 6.2 cannot be asked for the time itself."""
    left_ms = await ask(store, lambda batch: batch.add("PTTL", store.messages.key(message_id)))
    assert isinstance(left_ms, int)
    assert left_ms > 0
    return await store.time() + left_ms / 1000


async def test_record_goes_by_itself(store: Store) -> None:
    message = a_message()
    await create(store, message)
    going_at = await goes_at(store, message.id)

    assert message.expires_at + 600 == pytest.approx(going_at, abs=5)


async def test_commit_is_a_compare_and_set(store: Store) -> None:
    """Of two who read the same version, one commits; the other's decision leaves no trace."""
    message = a_message()
    await create(store, message)
    read = await load(store, message.id)
    assert read is not None
    first, second = a_message(id=message.id, reason="first"), a_message(id=message.id, reason="second")
    batch = store.batch()
    store.messages.commit(batch, read, first)
    store.messages.commit(batch, read, second)

    assert [1, 0] == await batch.run()
    stored = await load(store, message.id)
    assert stored is not None
    assert (2, first) == (stored.version, stored.message)
    assert 0 < await ask(store, lambda batch: batch.add("PTTL", store.messages.key(message.id)))


@pytest.mark.parametrize(("state", "kept"), [("pending", True), ("dispatched", True), ("sent", False), ("cancelled", False)])
async def test_text_is_erased(store: Store, state: str, kept: bool) -> None:
    """As soon as no seed could have to send it any more."""
    message = a_message()
    await create(store, message)
    read = await load(store, message.id)
    assert read is not None
    await ask(store, lambda batch: store.messages.commit(batch, read, a_message(id=message.id, state=state)))
    stored = await load(store, message.id)

    assert stored is not None
    assert kept == (stored.sealed_text is not None)
    if not kept:
        with pytest.raises(ValueError):
            store.messages.open_text(stored)


async def test_commit_without_a_record(store: Store) -> None:
    """What is gone stays gone."""
    message = a_message()

    assert 0 == await ask(store, lambda batch: store.messages.commit(batch, Stored(1, message), message))
    assert await load(store, message.id) is None


async def test_void_before_create(store: Store) -> None:
    """A late writer cannot record what was undone; a tombstone is no record, and nothing can be committed on it."""
    message = a_message()

    assert 1 == await ask(store, lambda batch: store.messages.void(batch, message.id))
    assert 1 == await ask(store, lambda batch: store.messages.void(batch, message.id))
    assert await create(store, message) is None
    assert await load(store, message.id) is None
    assert 0 == await ask(store, lambda batch: store.messages.commit(batch, Stored(1, message), message))
    left = await ask(store, lambda batch: batch.add("PTTL", store.messages.key(message.id)))
    assert 86_000_000 < left <= 86_400_000


async def test_void_after_create(store: Store) -> None:
    """A recorded message is not void, and stays as it is."""
    message = a_message()
    await create(store, message)
    before = await goes_at(store, message.id)

    assert 0 == await ask(store, lambda batch: store.messages.void(batch, message.id))
    stored = await load(store, message.id)
    assert stored is not None
    assert (1, message) == (stored.version, stored.message)
    assert before == pytest.approx(await goes_at(store, message.id), abs=5)


# What an operator finds by phone

NEIGHBOUR = next(
    phone for phone in (f"+21366{number:07}" for number in itertools.count(2_000_000)) if by_phone(phone) == by_phone(PHONE)
)
"""Another phone of the same bucket."""


async def test_phone_listing_latest_first(store: Store) -> None:
    """As many as are asked for, of this phone only."""
    now = await store.time()
    messages = [a_message(created_at=now, expires_at=now + 300, to=to) for to in (PHONE, NEIGHBOUR, PHONE, PHONE, NEIGHBOUR)]
    for message in messages:
        await create(store, message)
    own = [message.id for message in reversed(messages) if message.to == PHONE]

    assert own == await store.messages.ids_of_phone(store.batch, PHONE, 10)
    assert own[:2] == await store.messages.ids_of_phone(store.batch, PHONE, 2)
    assert [] == await store.messages.ids_of_phone(store.batch, "+213550000000", 10)


@pytest.mark.parametrize("others", [998, 999, 1000, 1001, 2500])
async def test_phone_listing_behind_a_busy_neighbour(store: Store, others: int) -> None:
    """Found page by page, however many messages of other phones came after it; each once."""
    batch = store.batch()
    for place, phone in enumerate([PHONE] * 3 + [NEIGHBOUR] * others + [PHONE] * 2):
        batch.add("XADD", by_phone(PHONE), "*", "p", phone, "i", f"wg_{place}")
    await batch.run()
    last = 3 + others

    assert [f"wg_{place}" for place in (last + 1, last, 2, 1, 0)] == await store.messages.ids_of_phone(store.batch, PHONE, 10)
    assert [f"wg_{place}" for place in (last + 1, last, 2)] == await store.messages.ids_of_phone(store.batch, PHONE, 3)


async def test_phone_listing_is_forgotten(store: Store) -> None:
    """When older than any record can be, but for what Redis cannot cut off cheaply: less than a block of a stream (100 entries)."""
    now = await store.time()
    batch = store.batch()
    for second in range(500):
        batch.add("XADD", by_phone(PHONE), int((now - 700_000 + second) * 1000), "p", PHONE, "i", f"wg_old_{second}")
    for second in range(100):
        batch.add("XADD", by_phone(PHONE), int((now - 500 + second) * 1000), "p", PHONE, "i", f"wg_kept_{second}")
    await batch.run()
    message = a_message(created_at=now, expires_at=now + 300)
    await create(store, message)
    listed = await store.messages.ids_of_phone(store.batch, PHONE, 1000)

    assert [message.id, *(f"wg_kept_{second}" for second in reversed(range(100)))] == listed[:101]
    assert len(listed) < 201
