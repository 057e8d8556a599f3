"""SIM cards of simulated phones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.carriers import carrier_of_imsi
from router.domain.errors import Invalid
from router.domain.numbering import parse_number
from workers.simulator.numbers import make_sims, split_by_carrier


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (10, (4, 4, 2)), (100, (42, 34, 24))],
)
def test_the_split_is_algerias(count: int, expected: tuple[int, int, int]) -> None:
    """The three shares by largest remainder, and no carrier without a phone from three phones on."""
    assert expected == tuple(split_by_carrier(count).values())


@given(st.integers(min_value=3, max_value=5000))
def test_the_split_adds_up(count: int) -> None:
    """Every phone has a carrier, every carrier a phone, and no share is off by more than one."""
    split = split_by_carrier(count)

    assert count == sum(split.values())
    assert all(phones >= 1 for phones in split.values())
    assert all(
        abs(split[carrier] - count * share) <= 1 for carrier, share in {"60301": 0.42, "60302": 0.34, "60303": 0.24}.items()
    )


@pytest.mark.parametrize("first_number", [0, 1, 4_567, 9_999_990])
def test_numbers_belong_to_their_carrier(first_number: int) -> None:
    """The router would read the same carrier from the MSISDN and from the IMSI."""
    for sim in make_sims({"60301": 10, "60302": 10, "60303": 10}, first_number):
        number = parse_number(sim.msisdn)

        assert (sim.msisdn, sim.carrier) == (number.e164, number.carrier)
        assert sim.carrier == carrier_of_imsi(sim.imsi)
        assert len(sim.imsi) == 15


def test_two_fleets_side_by_side_share_no_number() -> None:
    """The second starts where the first ends."""
    sims = make_sims({"60301": 5, "60302": 5}, 0) + make_sims({"60301": 5, "60302": 5}, 5)

    assert len(sims) == len({sim.imsi for sim in sims}) == len({sim.msisdn for sim in sims})
    assert sims[0].imsi == "603010000000000"


@pytest.mark.parametrize(("phones", "first_number"), [({"60401": 1}, 0), ({"60301": 2}, 9_999_999), ({"60301": 1}, -1)])
def test_no_number_is_made_up(phones: dict[str, int], first_number: int) -> None:
    """Other countries, and more phones than there are numbers, are refused."""
    with pytest.raises(Invalid):
        make_sims(phones, first_number)
