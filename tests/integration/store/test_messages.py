import pytest

from router.store.messages import Stored
from router.store.store import Store
from tests.integration.store.kit import NOW, PHONE, a_message, ask

pytestmark = pytest.mark.anyio


async def create(store: Store, message) -> int:
    return await ask(store, lambda batch: store.messages.create(batch, message, "the text"))


async def load(store: Store, message_id: str) -> Stored | None:
    (stored,) = await store.messages.load(store.batch(), [message_id], with_text=True)
    return stored


async def test_create_once(store: Store) -> None:
    """The first record stands, as version 1; a second one for the same id changes nothing."""
    message = a_message()

    assert 1 == await create(store, message)
    assert 0 == await create(store, a_message(id=message.id, price=99))
    stored = await load(store, message.id)
    assert stored is not None
    assert (1, message) == (stored.version, stored.message)
    assert "the text" == store.messages.open_text(stored)
    assert [message.id] == await store.messages.ids_of_phone(store.batch(), PHONE, 10)


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
    assert 0 == await create(store, message)
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


async def test_phone_listing_latest_first(store: Store) -> None:
    messages = [a_message(created_at=NOW + i, expires_at=NOW + 300 + i) for i in range(3)]
    for message in messages:
        await create(store, message)

    assert [m.id for m in reversed(messages)][:2] == await store.messages.ids_of_phone(store.batch(), PHONE, 2)
