"""The simulated phone is as strict as the app: what it takes, and what it drops."""

import json
from pathlib import Path

import pytest

from workers.simulator.air import Air, read_ledger
from workers.simulator.amqp_phone import AmqpBehaviour, AmqpPhone, Request, SimQueue, Undecodable, decode

GOOD = {"text": "hello", "to": "+213661000001", "sid": "1", "id": 5}
SIM = SimQueue(project="proj", binding="proj.213.60301", subscription_id=1, seed="603010000000001", carrier="60301")
OTHER = SimQueue(project="proj", binding="proj.213.60302", subscription_id=2, seed="603020000000001", carrier="60302")


def test_what_it_takes() -> None:
    """The four keys, in any order."""
    turned = dict(reversed(GOOD.items()))

    assert Request("hello", "+213661000001", "1", 5) == decode(json.dumps(GOOD).encode()) == decode(json.dumps(turned).encode())


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_missing_key(missing: str) -> None:
    """Each of the four is needed."""
    found = {key: value for key, value in GOOD.items() if key != missing}

    with pytest.raises(Undecodable):
        decode(json.dumps(found).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"text": None}, {"to": None}, {"sid": None}, {"id": None}, {"sid": 1}, {"to": 213}, {"id": "5"}, {"id": 5.5}, {"id": True},
        {"id": 2**31}, {"id": -(2**31) - 1}, {"more": 1}, {"more": None},
    ],
)  # fmt: skip
def test_no_null_no_further_key_no_other_type(change: dict[str, object]) -> None:
    """Anything else is dropped."""
    with pytest.raises(Undecodable):
        decode(json.dumps(GOOD | change).encode())


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'"text"', b"{", b"\xff\xfe", json.dumps([GOOD]).encode()])
def test_no_object(body: bytes) -> None:
    """So are bodies that are none."""
    with pytest.raises(Undecodable):
        decode(body)


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31), 0])
def test_the_bounds_of_an_id(number: int) -> None:
    """All of int32."""
    assert number == decode(json.dumps(GOOD | {"id": number}).encode()).id


def test_the_radio(tmp_path: Path) -> None:
    """It sends by the SIM of that subscription id; one that it has not fails, as does a number that the behaviour names."""
    with Air(tmp_path / "air.jsonl") as air:
        phone = AmqpPhone("amqp://127.0.0.1:1//", [SIM, OTHER], air, AmqpBehaviour(fails=_fails))
        told = [phone.transmit(Request("a", to, sid, 1), SIM) for to, sid in (("+1", "1"), ("+2", "1"), ("+1", "9"))]

    assert [True, False, False] == told
    assert [("a", "+1")] == [(sms.text, sms.to) for sms in read_ledger(air.path)]


def _fails(request: Request) -> bool:
    return request.to == "+2"


def test_names_of_queues() -> None:
    """Dots become underscores."""
    assert "proj_213_60301" == SIM.queue
