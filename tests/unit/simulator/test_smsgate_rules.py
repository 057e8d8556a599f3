"""What a simulated phone with SMSGate's app decides without the network: times, settings, events, its store, its fates and its SIMs."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.errors import Invalid
from workers.simulator.client import Unanswered
from workers.simulator.smsgate.behaviour import AppBehaviour, draw_app_fate
from workers.simulator.smsgate.counts import AppCounts
from workers.simulator.smsgate.events import EventReader, ServerEvent
from workers.simulator.smsgate.radio import split_id
from workers.simulator.smsgate.settings import PhoneSettings, read_settings
from workers.simulator.smsgate.sims import iccid_of, make_phones, mask
from workers.simulator.smsgate.store import Store
from workers.simulator.smsgate.times import read_time, write_time
from workers.simulator.smsgate.wire import MobileMessage, TextContent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T12:00:00.123Z", 0.123),
        ("2026-01-01T12:00:00Z", 0.0),
        ("2026-01-01T13:00:00.123+01:00", 0.123),
        ("2026-01-01T12:00:00.5Z", 0.005),
        ("2026-01-01T12:00:00.12Z", 0.012),
        ("2026-01-01T12:00:00.123456Z", 123.456),
        ("2026-01-01T12:00:00.123456789Z", 123456.789),
    ],
)
def test_reads_times_with_the_bug_of_the_app(text: str, expected: float) -> None:
    """The fraction is a number of milliseconds, however many digits it has."""
    assert pytest.approx(NOON + expected, abs=1e-6) == read_time(text)


@pytest.mark.parametrize("text", ["", "2026-01-01", "2026-01-01 12:00:00Z", "2026-01-01T12:00:00", "2026-13-01T12:00:00.000Z"])
def test_other_texts_are_no_times(text: str) -> None:
    """The app throws."""
    with pytest.raises(ValueError):
        read_time(text)


@given(st.integers(0, 4_000_000_000_000), st.sampled_from([-210, 0, 60, 330]))
def test_what_it_writes_it_can_read(milliseconds: int, zone: int) -> None:
    """Three digits, whatever the time zone."""
    text = write_time(milliseconds / 1000.0, zone)

    assert pytest.approx(milliseconds / 1000.0, abs=0.0011) == read_time(text)
    assert text.endswith("Z") == (zone == 0)
    assert 3 == len(text.partition(".")[2].partition("Z" if zone == 0 else text[-6])[0])


def test_reads_events_from_pieces_of_any_size() -> None:
    """A letter of two bytes may be cut as well."""
    stream = ":keepalive\n\nevent: A\ndata: é\n\ndata:1\ndata: 2\r\n\r\nevent: B\n\nevent: C\ndata:\n\nid: 1\nretry\n".encode()
    for size in (1, 2, 7, len(stream)):
        reader = EventReader()
        events = [event for at in range(0, len(stream), size) for event in reader.feed(stream[at : at + size])]

        assert [ServerEvent("A", "é"), ServerEvent("message", "1\n2"), ServerEvent("C", "")] == events
        assert 1 == reader.comments


def test_reads_settings_as_the_app_does() -> None:
    """Numbers may be floats, which are cut; what is missing has the app's default."""
    told = b'{"messages":{"send_interval_min":1.9,"send_interval_max":5,"limit_period":"Per30Minutes","limit_value":30.0,'
    told += b'"processing_order":"FIFO","sim_selection_mode":"RoundRobin"},"ping":{"interval_seconds":30},"other":{"a":null}}'

    assert PhoneSettings(
        interval_seconds=(1, 5), limit_minutes=30, limit_value=30, order="FIFO", sim_selection="RoundRobin", ping_seconds=30
    ) == read_settings(told)
    assert PhoneSettings() == read_settings(b'{"messages":null,"ping":{"interval_seconds":null}}')
    assert PhoneSettings() == read_settings(b'{"messages":{"send_interval_min":9,"send_interval_max":1}}')


@pytest.mark.parametrize("told", [b"[]", b'{"messages":{"limit_value":-1}}', b'{"messages":{"processing_order":"BEST"}}', b"{"])
def test_settings_that_the_app_throws_on(told: bytes) -> None:
    """Are an error of the call."""
    with pytest.raises(Unanswered):
        read_settings(told)


def listed(id: str, **fields: object) -> MobileMessage:
    return MobileMessage(**{"id": id, "phone_numbers": ["+213661234567"], "text_message": TextContent("text")} | fields)  # type: ignore[arg-type]


def test_the_store_keeps_to_the_table_of_states() -> None:
    """Failed is the end; what was cancelled may turn out to have been sent; nothing goes back."""
    store = Store()
    stored = store.add(listed("a"), 1.0)

    assert store.move(stored, "Cancelled", 2.0)
    assert not store.move(stored, "Processed", 3.0)
    assert store.move(stored, "Sent", 4.0)
    assert not store.move(stored, "Cancelled", 5.0)
    assert store.move(stored, "Failed", 6.0, "why")
    assert not store.move(stored, "Delivered", 7.0)
    assert ({"Pending": 1.0, "Cancelled": 2.0, "Sent": 4.0, "Failed": 6.0}, "why") == (stored.states, stored.error)
    assert (0, 1, None) == (store.pending, len(store), store.choose("LIFO", 10.0))


def test_the_store_forgets_the_oldest() -> None:
    """A phone's memory is bounded."""
    store = Store()
    for number in range(10_001):
        store.add(listed(str(number)), 1.0)

    assert (10_000, 10_000) == (len(store), store.pending)
    assert store.get("0") is None
    assert store.get("1") is not None


def test_the_store_refuses_what_has_no_text_or_nobody() -> None:
    """Or a time that is none."""
    for broken in (listed("a", text_message=None), listed("b", phone_numbers=[]), listed("c", created_at="now")):
        with pytest.raises(ValueError):
            Store().add(broken, 1.0)


def test_a_good_app_does_nothing_odd() -> None:
    """All rates are 0 by default, and 1 is always."""
    names = [name for name in AppBehaviour.__struct_fields__ if name.endswith("_rate")]
    good = draw_app_fate(random.Random(1), AppBehaviour())
    bad = draw_app_fate(random.Random(1), AppBehaviour(dead_seconds=5.0, **dict.fromkeys(names, 1.0)))

    assert (None, False, False, None, None, None) == (
        good.error, good.loses_result, good.dies, good.dead_seconds, good.doze_seconds, good.offline_seconds,
    )  # fmt: skip
    assert (0.0, None, False, None) == (
        good.late_seconds, good.repeats_after_seconds, good.is_reordered, good.delivered_after_seconds,
    )  # fmt: skip
    assert all((bad.error, bad.loses_result, bad.dies, bad.dead_seconds, bad.doze_seconds, bad.offline_seconds))
    assert all((bad.late_seconds, bad.repeats_after_seconds, bad.is_reordered, bad.delivered_after_seconds))


def test_fates_repeat_with_their_seed() -> None:
    """The n-th fate does not depend on what the other rates made of the fates before."""
    one, other = random.Random(7), random.Random(7)
    troubled = AppBehaviour(fail_rate=0.5, doze_rate=0.5, die_rate=0.5)

    assert [draw_app_fate(one, troubled).dies for _ in range(50)] == [
        draw_app_fate(other, AppBehaviour(die_rate=0.5)).dies for _ in range(50)
    ]


@pytest.mark.parametrize(
    ("id", "expected"),
    [("sg_01ABC_2", ("sg_01ABC", 2)), ("plain", ("plain", 1)), ("a_b", ("a_b", 1)), ("_3", ("", 3)), ("a_", ("a_", 1))],
)
def test_a_phones_id_is_the_routers_and_the_attempt(id: str, expected: tuple[str, int]) -> None:
    """The ledger has the router's."""
    assert expected == split_id(id)


def test_phones_have_sims_of_their_own() -> None:
    """Of the carriers that follow each other; no number is there twice, in other fleets neither."""
    phones = make_phones({"60301": 2, "60302": 1, "60303": 1}, sims=2)
    more = make_phones({"60301": 2, "60302": 1, "60303": 1}, sims=3, first_number=4)

    assert [("60301", "60302")] * 2 + [("60302", "60303"), ("60303", "60301")] == [
        tuple(sim.carrier for sim in phone.sims) for phone in phones
    ]
    sims = [sim for phone in (*phones, *more) for sim in phone.sims]
    assert 8 + 12 == len({sim.msisdn for sim in sims}) == len({iccid_of(sim) for sim in sims})
    assert {19} == {len(iccid_of(sim)) for sim in sims}
    assert 8 == len({phone.name for phone in (*phones, *more)})
    with pytest.raises(Invalid):
        make_phones({"99999": 1})


def test_masks_all_but_four() -> None:
    """As the app does: four stars for what is shorter."""
    assert ["***ilis", "****", "****", "*bcde"] == [mask(text) for text in ("Mobilis", "inwi", "ab", "abcde")]


def test_counts_add_up() -> None:
    """Of a fleet."""
    total = AppCounts(pulls=1)
    total.add(AppCounts(pulls=2, reports=3))

    assert AppCounts(pulls=3, reports=3) == total
