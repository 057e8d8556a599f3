"""What stands in an entry, and how a URL is read; no server is needed."""

import datetime as dt
from typing import Any
from unittest.mock import Mock

import kombu
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.queue.streams import Transport, register
from router.queue.streams.codec import decode, encode, encode_parts
from router.queue.streams.keys import Keys
from router.queue.streams.message import Entry, Stream, make_message
from router.queue.streams.options import Options
from router.queue.streams.place import split_virtual_host
from router.queue.streams.publish import chunks, delayed_member
from router.queue.streams.queues import Queues

register()

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.datetimes() | st.uuids()
HEADERS = st.dictionaries(st.text(), st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))


def message(**parts: Any) -> dict[str, Any]:
    return {
        "body": b"{}", "content-type": "application/json", "content-encoding": "utf-8", "headers": {},
        "properties": {"delivery_mode": 2, "priority": 0, "delivery_info": {}},
    } | parts  # fmt: skip


def test_a_plain_message_has_no_meta() -> None:
    """JSON, persistent, without priority, by the queue's name: the body alone."""
    assert b"" == encode(message(), "", "q", "q")
    assert b"" == encode_parts("application/json", "utf-8", None)


@given(
    headers=HEADERS, exchange=st.text(), routing_key=st.text(), content_type=st.none() | st.text(), priority=st.integers(0, 9),
    mode=st.sampled_from([1, 2]), correlation=st.none() | st.text(),
)  # fmt: skip
def test_meta_there_and_back(
    headers: dict[str, Any], exchange: str, routing_key: str, content_type: str | None, priority: int, mode: int, correlation: str | None
) -> None:
    """Whatever a message has comes back, types included, and twice the same."""
    properties = {"delivery_mode": mode, "priority": priority} | ({} if correlation is None else {"correlation_id": correlation})
    meta = encode(message(headers=headers, properties=dict(properties), **{"content-type": content_type}), exchange, routing_key, "q")
    for _ in range(2):
        entry = Entry(Stream("q", 0, b"key"), b"1-1", [b"m", meta, b"b", b"{}"] if meta else [b"b", b"{}"], 1)
        if "compression" in headers:
            return
        made = make_message(Mock(), entry)

        assert headers == made.headers
        info = made.delivery_info
        assert (content_type, exchange, routing_key) == (made.content_type, info["exchange"], info["routing_key"])
        assert properties == {name: made.properties[name] for name in properties}


def test_what_a_consumer_changes_stays_with_its_message() -> None:
    """Decoded metas are remembered; two messages never share a header or a property."""
    meta = encode(message(properties={"delivery_mode": 1, "priority": 3}), "", "q", "q")
    first = decode(meta)
    first.headers["mine"] = 1
    first.properties["mine"] = 1
    second = decode(meta)

    assert ({}, {"delivery_mode": 1, "priority": 3}) == (second.headers, second.properties)


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"1", b"\xff"])
def test_a_meta_that_is_none(broken: bytes) -> None:
    with pytest.raises(ValueError):
        decode(broken)


def test_rich_headers_are_small() -> None:
    """A header costs what it says, not an envelope."""
    assert len(encode(message(headers={"a": 1}), "", "q", "q")) <= 20
    assert {"at": dt.datetime(2026, 1, 1)} == decode(encode(message(headers={"at": dt.datetime(2026, 1, 1)}), "", "q", "q")).headers


def test_tags_of_two_streams_differ() -> None:
    """Two streams can give out the same id; a delivery tag names one entry all the same."""
    tags = {Entry(Stream(queue, step, b""), b"1-0", [], 1).tag for queue in ("a", "b") for step in (0, 5)}

    assert 4 == len(tags)


def test_delayed_members_are_unique() -> None:
    """The same message twice is two members of the sorted set."""
    assert delayed_member(0, b"", b"x") != delayed_member(0, b"", b"x")


def test_chunks() -> None:
    """Bounded by number and by size."""
    assert [1000, 1000, 500] == [len(piece) for piece in chunks([b"x"] * 2500)]
    assert [2, 2, 1] == [len(piece) for piece in chunks([b"x" * 600_000] * 5)]


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        (None, (None, 0)),
        ("/", (None, 0)),
        ("3", (None, 3)),
        ("/3", (None, 3)),
        ("run/Redis.sock", ("/run/Redis.sock", 0)),
        ("/run/redis.sock/2", ("/run/redis.sock", 2)),
        ("run/redis-1/15", ("/run/redis-1", 15)),
    ],
)
def test_virtual_host(given_text: str | None, expected: tuple[str | None, int]) -> None:
    """A number is a database; a path is a socket, with a database behind it."""
    assert expected == split_virtual_host(given_text)


def test_a_virtual_host_that_is_neither() -> None:
    with pytest.raises(ValueError, match="neither"):
        split_virtual_host("production")


@pytest.mark.parametrize(
    "url", ["redisstreams://user:secret@localhost:6379/2", "redisstreams://:secret@localhost", "redisstreams://:secret@/tmp/x.sock/1"]
)
def test_a_password_is_not_shown(url: str) -> None:
    """Neither by as_uri nor in a repr."""
    connection = kombu.Connection(url)

    assert "secret" not in connection.as_uri()
    assert "secret" not in repr(connection)
    assert "secret" in connection.as_uri(include_password=True)


def test_what_the_driver_is() -> None:
    transport = kombu.Connection("redisstreams://").transport

    assert ("redis", "redis") == (transport.driver_type, transport.driver_name)
    assert transport.driver_version()[0].isdigit()
    assert isinstance(transport, Transport)


@pytest.mark.parametrize(
    "wrong",
    [{"socket_timeout": 0.5}, {"visibility_timeout": 0}, {"priority_steps": [10]}, {"priority_steps": []}, {"priority_steps": [-1]}],
)
def test_options_that_cannot_work(wrong: dict[str, Any]) -> None:
    """Refused when the connection is made, not met later; kombu's own options are left alone."""
    with pytest.raises(ValueError):
        Options.of(wrong)
    assert 5 == Options.of({"max_retries": 3, "visibility_timeout": 5}).visibility_timeout


def test_keys_share_a_slot() -> None:
    """One hash tag in every key."""
    keys = Keys("kombu:", "tag")

    assert {b"kombu:{tag}:s:3:q", b"kombu:{tag}:d:q", b"kombu:{tag}:b:x", b"kombu:{tag}:queues"} == {
        keys.stream("q", 3), keys.delayed("q"), keys.bindings("x"), keys.queues,
    }  # fmt: skip


@given(steps=st.sets(st.integers(0, 9), min_size=1), priority=st.integers(-5, 15))
def test_the_step_of_a_priority(steps: set[int], priority: int) -> None:
    """The highest that is not above it; the lowest where all are."""
    queues = Queues(Mock(), Keys("", "t"), Options.of({"priority_steps": sorted(steps)}))
    below = [step for step in steps if step <= min(max(priority, 0), 9)]

    assert (max(below) if below else min(steps)) == queues.stream_for("q", priority).step
