from typing import Any

import pytest

from router.domain.lots import carrier_of_lot, is_special, lot_of, parse_lot, place_in_lot, pools_of
from router.domain.message import LANES, Message
from router.domain.seed import Seed


def message(**fields: Any) -> Message:
    about: dict[str, Any] = {
        "id": "sg_1", "account": "ac_1", "dialect": "smsgate", "kind": "sms", "lane": "notification", "to": "+213661000001",
        "country": "DZ", "carrier": "60301", "parts": 1, "price": 0, "created_at": 1.0, "expires_at": 2.0,
    }  # fmt: skip
    return Message(**about | fields)


@pytest.mark.parametrize(
    ("fields", "lot", "own"),
    [
        ({}, "60301", "60301@ac_1"),
        ({"carrier": ""}, "DZ", "DZ@ac_1"),
        ({"sim": 2}, "60301#2", "60301@ac_1#2"),
        ({"data_port": 7}, "60301#d", "60301@ac_1#d"),
        ({"data_port": 7, "sim": 1}, "60301#1", "60301@ac_1#1"),
        ({"only": "device_1"}, "@device_1", "@device_1"),
        ({"only": "device_1", "sim": 2}, "@device_1#2", "@device_1#2"),
        ({"only": "ac_1", "encrypted": True, "carrier": "", "country": ""}, "@ac_1#d", "@ac_1#d"),
    ],
)
def test_where_a_message_waits(fields: dict[str, Any], lot: str, own: str) -> None:
    """What any seed of the carrier can take waits there; what asks for more waits by itself, with those that ask for the same."""
    assert lot == lot_of(message(**fields))
    assert own == lot_of(message(**fields), own=True)
    assert is_special(lot) == (lot not in ("60301", "DZ"))
    assert is_special(own)


@pytest.mark.parametrize(
    ("name", "carrier", "country", "owner", "demands"),
    [
        ("60301", "60301", "DZ", "", ""),
        ("60301@ac_1#2", "60301", "DZ", "ac_1", "#2"),
        ("60301#d", "60301", "DZ", "", "#d"),
        ("DZ", "", "DZ", "", ""),
        ("DZ@ac_1", "", "DZ", "ac_1", ""),
        ("@device_1#2", "", "", "device_1", "#2"),
    ],
)
def test_names_are_read(name: str, carrier: str, country: str, owner: str, demands: str) -> None:
    """Each part of a name comes back; a group's messages are counted under no carrier."""
    lot = parse_lot(name)

    assert (carrier, country, owner, demands) == (lot.carrier, lot.country, lot.owner, lot.demands)
    assert carrier == carrier_of_lot(name)
    assert lot.is_group == (not carrier and not country)


@pytest.mark.parametrize(
    ("fields", "pools"),
    [
        ({"carrier": "60301"}, ["60301"]),
        ({"carrier": "60301", "account": "ac_1", "shared": False}, ["60301@ac_1", "@ac_1"]),
        (
            {"carrier": "60301", "device": "dev", "sim": 2},
            ["60301", "60301#d", "60301#2", "@dev", "@dev#d", "@dev#2"],
        ),
        ({"device": "dev", "account": "ac_1", "shared": False}, ["@dev", "@dev#d", "@ac_1", "@ac_1#d"]),
    ],
)
def test_where_a_seed_serves(fields: dict[str, Any], pools: list[str]) -> None:
    """In its carrier's pool or in its account's own one, in those of its groups, and in those of what it can do."""
    assert pools == list(pools_of(Seed(id="s", **fields)))


def test_places() -> None:
    """A code goes before what has waited less than half a minute longer, a bulk message after all; by age within a lane."""
    waiting = [
        message(id=f"{lane} {created_at:.0f}", lane=lane, created_at=created_at)
        for lane in LANES
        for created_at in (0.0, 29.0, 31.0, 299.0, 301.0)
    ]

    assert [
        "otp 0", "otp 29", "notification 0", "otp 31", "notification 29", "notification 31", "otp 299", "bulk 0", "otp 301",
        "notification 299", "bulk 29", "notification 301", "bulk 31", "bulk 299", "bulk 301",
    ] == [each.id for each in sorted(waiting, key=place_in_lot)]  # fmt: skip
