"""`devices list`: a line per SIM."""

from typing import Any

import pytest

from router.cli.devices import _rows

SIM = {"seed": "x.1", "number": 1, "carrier": "60302", "carrier_name": "Djezzy", "told": "DJEZZY", "enabled": True, "online": True}
PHONE = {
    "id": "x", "name": "Pixel", "account": "ac_1", "account_name": "shop", "shared": False, "last_seen": 100.0, "clock_offset": 1.25,
    "clock_margin": 2.0, "sims": [SIM, SIM | {"seed": "x.2"}],
}  # fmt: skip


def test_what_is_the_phones_stands_once() -> None:
    first, second = _rows(PHONE, now=103.0)

    assert ("x", "Pixel", "shop", "its owner", "3 s ago", "+1.2 ± 2.0 s", "x.1", "Djezzy 60302", "online") == first
    assert (" ",) * 6 == second[:6]
    assert "x.2" == second[6]


@pytest.mark.parametrize(
    ("sim", "carrier", "state"),
    [
        ({"enabled": False}, "Djezzy 60302", "disabled"),
        ({"online": False}, "Djezzy 60302", "offline"),
        ({"carrier": "", "told": "No service"}, "unknown (the phone shows 'No service')", "no carrier: say it with `seeds set`"),
        ({"carrier": "", "told": ""}, "unknown", "no carrier: say it with `seeds set`"),
    ],
)
def test_why_a_sim_is_given_nothing(sim: dict[str, Any], carrier: str, state: str) -> None:
    ((*_, shown, why),) = _rows(PHONE | {"sims": [SIM | sim]}, now=103.0)

    assert (carrier, state) == (shown, why)


def test_a_phone_that_has_said_nothing_yet() -> None:
    (row,) = _rows(PHONE | {"account_name": "", "shared": True, "last_seen": 0.0, "clock_offset": None, "sims": [SIM]}, now=103.0)

    assert ("ac_1", "everybody", None, None) == row[2:6]
