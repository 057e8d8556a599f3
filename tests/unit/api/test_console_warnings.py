"""What the console warns of, and of what it does not."""

from typing import Any

import pytest
from msgspec.structs import replace

from router.api.console.warnings import warnings
from router.domain.statistics import CarrierView, Counts
from router.queue.entries import LaneState
from router.services.queue_view import QueueFigures
from router.services.redis_health import NodeHealth

NOW = 1_700_000_000.0
QUEUE = QueueFigures(
    lanes={"otp": LaneState(0)}, dead_letters=0, parked={}, parked_since=None, open=0, inbound=0, webhooks_waiting=0, webhooks_dead=0
)
CARRIER = CarrierView(
    carrier="60301", carrier_name="Mobilis", online=2, ready=1, tripped=1, room=3, in_flight=1, parked=0, hour=Counts(), as_of=NOW - 1
)
NODE = NodeHealth(
    ping_seconds=0.001, used_memory=1, maxmemory=0, fragmentation=1.0, evicted_keys=0, commands=1, clients=1, is_aof=True,
    is_noeviction=True, is_written=True, replica_lag=0,
)  # fmt: skip


def warned(queue: QueueFigures = QUEUE, carrier: CarrierView = CARRIER, recent: Counts = Counts(), node: NodeHealth = NODE) -> list[str]:  # noqa: B008 - frozen
    found = warnings(queue=queue, carriers=[carrier], recent=recent, redis=[node], now=NOW)
    return [f"{each.kind}: {each.what} {each.text}" for each in found]


def test_all_is_well() -> None:
    """Nothing is said where nothing is wrong, a Redis that does not tell included."""
    busy = replace(QUEUE, lanes={"otp": LaneState(500, NOW - 2)})

    assert [] == warned()
    assert [] == warned(busy, recent=Counts(accepted=1000, dispatched=1000, failovers=100, expired=10))
    assert [] == warnings(queue=QUEUE, carriers=[CARRIER], recent=Counts(), redis=[], now=NOW)


@pytest.mark.parametrize(("changes", "words"), [
    ({"parked": 12, "online": 0, "ready": 0}, "error: Mobilis has no seed: 12 messages wait, and none of its seeds is online."),
    ({"parked": 1, "ready": 0}, "warn: Mobilis is full: 1 message waits, and none of its 2 seeds online can take one now."),
    ({"parked": 2, "ready": 0, "online": 1}, "warn: Mobilis is full: 2 messages wait, and its only seed cannot take one now."),
    (
        {"as_of": NOW - 40},
        "error: No dispatcher is heard of: none has told of its seeds for 40 seconds. Where none runs, nothing is given to phones.",
    ),
])  # fmt: skip
def test_carriers(changes: dict[str, Any], words: str) -> None:
    """Messages that wait, and why."""
    assert [words] == warned(carrier=replace(CARRIER, **changes))


def test_messages_of_no_one_carrier() -> None:
    """What waits for a certain phone, or for any carrier's, is told without a carrier's name."""
    (found,) = warned(carrier=replace(CARRIER, carrier="", carrier_name="", parked=3))

    assert "warn: Messages wait for a seed: 3 that one phone alone, or more than one carrier's, could send." == found


def test_no_dispatcher_ever() -> None:
    """A router whose dispatcher has never run is told so."""
    (found,) = warnings(queue=QUEUE, carriers=[], recent=Counts(), redis=[NODE], now=NOW)

    assert ("error", "No dispatcher is heard of:") == (found.kind, found.what)


def test_worst_first() -> None:
    """The queue, dead letters, expiries, failovers and Redis; errors stand before what can wait."""
    queue = replace(QUEUE, lanes={"otp": LaneState(7, NOW - 60)}, dead_letters=2, webhooks_dead=1)
    recent = Counts(accepted=100, dispatched=100, expired=20, failovers=50)
    found = warned(queue, recent=recent, node=replace(NODE, is_aof=False, is_noeviction=False, is_written=False))
    kinds = [each.partition(":")[0] for each in found]

    assert ["error"] * 4 + ["warn"] * 4 == kinds
    assert "error: The queue is not taken from: 7 on it, and the first of them for 60 seconds. Dispatchers are gone, or too slow." in found
    assert "warn: There are dead letters: 2: entries that could not be handled." in found
    assert "error: Messages expire: 20 in the last five minutes, of 100 accepted." in found
    assert "warn: Many failovers: 50 in the last five minutes, of 100 given to seeds." in found


def test_few_messages_say_nothing() -> None:
    """Shares of a handful of messages are no alarm."""
    assert [] == warned(recent=Counts(accepted=5, dispatched=5, expired=5, failovers=5))
