"""What phones at RabbitMQ agree on: names, bodies, expirations, and what a dead letter says."""

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.amqp_phones import (
    MARKER_BODY,
    Letter,
    Look,
    QueueOfSeed,
    body,
    check_queue,
    expiration,
    fate_of,
    headers,
    int32_id,
    read_letter,
)
from router.domain.errors import Invalid
from workers.simulator.amqp_phone import Undecodable, decode


def a_place(**fields: Any) -> QueueOfSeed:
    about = {"seed": "603010000000001", "project": "proj", "calling_code": "213", "carrier": "60301", "subscription_id": "1"}
    return QueueOfSeed(**about | fields)


def a_letter(**fields: Any) -> Letter:
    about: dict[str, Any] = {
        "kind": "message", "seed": "603010000000001", "queue": "proj_213_60301", "message_id": "wg_1", "attempt": 2, "parts": 1,
        "reason": "expired",
    }  # fmt: skip
    return Letter(**about | fields)


def test_names() -> None:
    """Exchange, binding and queue as the app derives them."""
    place = a_place()

    assert ("proj", "proj.213.60301", "proj_213_60301") == (place.exchange, place.binding, place.queue)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", ""), ("project", "a.b"), ("project", "a_b"), ("project", "*"), ("project", "x" * 65),
        ("calling_code", "+213"), ("calling_code", "0"), ("calling_code", ""), ("calling_code", "21300"),
        ("subscription_id", ""), ("subscription_id", "x"), ("subscription_id", "-1"), ("subscription_id", "01"),
        ("subscription_id", "2147483648"), ("subscription_id", "١"),
    ],
)  # fmt: skip
def test_what_the_app_would_not_understand(field: str, value: str) -> None:
    """A name that means another queue, or a `sid` that the app would loop over, is refused at the enrolment."""
    with pytest.raises(Invalid) as caught:
        check_queue(a_place(**{field: value}))

    assert field == caught.value.field


def test_a_good_place() -> None:
    """The bounds themselves are fine."""
    found = [check_queue(a_place(**fields)) for fields in ({}, {"subscription_id": "0"}, {"subscription_id": "2147483647"})]  # type: ignore[func-returns-value]

    assert [None] * 3 == found


@given(text=st.text(), number=st.integers(1, 10_000), message_id=st.text(min_size=1, max_size=40))
def test_the_app_reads_any_text(text: str, number: int, message_id: str) -> None:
    """Whatever the text, the strict phone reads these four keys, and the text as it was."""
    found = decode(body(text, "+213661000001", "5", int32_id(message_id, number)))

    assert (text, "+213661000001", "5") == (found.text, found.to, found.sid)
    assert 0 < found.id < 2**31


def test_nothing_but_the_four_keys() -> None:
    """A further key, or a null, would make the app drop it."""
    found = msgspec.json.decode(body("hello", "+213661000001", "5", 7))

    assert {"text": "hello", "to": "+213661000001", "sid": "5", "id": 7} == found


def test_a_marker_is_unreadable() -> None:
    """So the app rejects it for good."""
    with pytest.raises(Undecodable):
        decode(MARKER_BODY)

    assert b"{}" == MARKER_BODY


def test_ids_of_attempts_differ() -> None:
    """Another attempt is another number, and the same one the same."""
    found = [int32_id(f"wg_{message}", attempt) for message in range(100) for attempt in (1, 2, 3)]

    assert 300 == len(set(found))
    assert found[0] == int32_id("wg_0", 1)


@pytest.mark.parametrize(("left", "expected"), [(8.0, "8000"), (0.0015, "1"), (0.0009, None), (0.0, None), (-3.0, None)])
def test_expiration(left: float, expected: str | None) -> None:
    """Whole milliseconds, never more than what is left of the lease; 0 would be an expiration as well, and is not published."""
    assert expected == expiration(1000.0 + left, 1000.0)


def dead(letter: Letter) -> dict[str, Any]:
    """The headers that RabbitMQ gives a dead letter."""
    death = {
        "count": 1, "reason": letter.reason, "queue": letter.queue, "time": dt.datetime(2026, 1, 1), "exchange": "",
        "routing-keys": [letter.queue],
    }  # fmt: skip
    return headers(letter) | {"x-death": [death], "x-first-death-reason": letter.reason}


@pytest.mark.parametrize("kind", ["message", "marker", "check"])
def test_a_letter_is_known_again(kind: str) -> None:
    """By its headers, with the broker's reason."""
    letter = a_letter(kind=kind, reason="delivery_limit")

    assert letter == read_letter(dead(letter))


@pytest.mark.parametrize(
    "found",
    [
        None, {}, [], {"x-death": []}, {"x-death": [1]}, {"x-death": [{}]}, headers(a_letter()),
        dead(a_letter()) | {"seedrouter-kind": "x"},
        dead(a_letter()) | {"seedrouter-attempt": "2"}, {"x-death": [{"queue": "q", "reason": "expired"}]},
    ],
)  # fmt: skip
def test_strange_letters(found: Any) -> None:
    """What others dead-letter to our queue is none of ours."""
    assert read_letter(found) is None


@pytest.mark.parametrize(
    ("reason", "proven", "fate"),
    [
        ("expired", True, "unsent"), ("expired", False, "lost"), ("rejected", True, "dropped"), ("rejected", False, "dropped"),
        ("delivery_limit", True, "back"), ("maxlen", True, "lost"),
    ],
)  # fmt: skip
def test_fates(reason: str, proven: bool, fate: str) -> None:
    """Expired means never taken only where nothing is given out twice."""
    assert fate == fate_of(a_letter(reason=reason), proven=proven)


@pytest.mark.parametrize(("consumers", "has_phone"), [(0, False), (1, True), (2, False)])
def test_a_queue_is_for_one_phone(consumers: int, has_phone: bool) -> None:
    """With two nothing could be said of who has a message."""
    assert has_phone == Look(0, consumers).has_phone
