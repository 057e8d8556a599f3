from itertools import combinations_with_replacement
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.domain.errors import Invalid
from router.domain.message import Attempt, Message
from router.domain.rules import Rules
from router.domain.submission import PROCESS_STATES, UNRECORDED_SECONDS, ProcessState, Recipient, Submission, state_of, sum_of, view
from router.domain.submission_request import NewSubmission, NotUnique, count_data_parts, lifetime

NOW = 1_000_000.0
RULES = Rules(sms_seconds=3600, max_validity_seconds=86400)
DEVICE = "abcdefghijklmnopqrstu"
SEED = f"{DEVICE}.1"
MOBILIS = "+213661000001"


def message(**fields: Any) -> Message:
    about: dict[str, Any] = {
        "id": "sg_1", "account": "ac_1", "dialect": "smsgate", "kind": "sms", "lane": "otp", "to": MOBILIS, "country": "DZ",
        "carrier": "60301", "parts": 1, "price": 5, "created_at": NOW, "expires_at": NOW + 300,
    }  # fmt: skip
    return Message(**about | fields)


def attempt(state: Any, number: int = 1, **fields: Any) -> Attempt:
    return Attempt(**{"number": number, "seed": SEED, "carrier": "60301", "state": state, "assigned_at": NOW} | fields)


def submission(count: int = 1, **fields: Any) -> Submission:
    about: dict[str, Any] = {
        "id": "s", "account": "ac_1", "created_at": NOW, "messages": tuple(f"sg_{place}" for place in range(count)),
        "recipients": tuple(f"+21366100000{place}" for place in range(count)),
    }  # fmt: skip
    return Submission(**about | fields)


HANDED = attempt("handed", handed_at=NOW + 1)
ON_RADIO = attempt("radio", handed_at=NOW + 1, radio_at=NOW + 2)
SENT = attempt("sent", handed_at=NOW + 1, radio_at=NOW + 2, sent_at=NOW + 3)
GIVEN_BACK = attempt("returned", handed_at=NOW + 1, ended_at=NOW + 9)
AMBIGUOUS = attempt("ambiguous", handed_at=NOW + 1, radio_at=NOW + 2, ended_at=NOW + 9)

STATES: list[tuple[ProcessState, Message]] = [
    ("Pending", message()),
    ("Pending", message(state="dispatched", attempts=(attempt("assigned"),))),
    ("Pending", message(state="dispatched", attempts=(HANDED,))),
    ("Processed", message(state="dispatched", attempts=(ON_RADIO,))),
    ("Processed", message(state="dispatched", attempts=(AMBIGUOUS,))),
    # A failover takes it back
    ("Pending", message(state="pending", attempts=(replace(ON_RADIO, state="failed", ended_at=NOW + 4),))),
    (
        "Pending",
        message(state="dispatched", attempts=(replace(ON_RADIO, state="failed", ended_at=NOW + 4), attempt("assigned", number=2))),
    ),
    ("Sent", message(state="sent", attempts=(SENT,), sent_at=NOW + 3, ended_at=NOW + 3)),
    ("Delivered", message(state="sent", attempts=(SENT,), sent_at=NOW + 3, delivered_at=NOW + 4, ended_at=NOW + 3)),
    ("Delivered", message(state="verified", attempts=(HANDED,), verified_at=NOW + 4, ended_at=NOW + 4)),
    ("Failed", message(state="failed", attempts=(attempt("failed", handed_at=NOW + 1, ended_at=NOW + 2),), ended_at=NOW + 2)),
    ("Failed", message(state="expired", ended_at=NOW + 300)),
    ("Cancelled", message(state="cancelled", ended_at=NOW + 2)),
    ("Cancelled", message(state="cancelled", attempts=(attempt("withdrawn", ended_at=NOW + 2),), ended_at=NOW + 2)),
    ("Cancelling", message(state="cancelled", attempts=(HANDED,), ended_at=NOW + 2)),
    ("Cancelling", message(state="cancelled", attempts=(ON_RADIO,), ended_at=NOW + 2)),
    ("Cancelled", message(state="cancelled", attempts=(GIVEN_BACK,), ended_at=NOW + 2)),
    # What went out is told, however the message ended
    ("Sent", message(state="cancelled", attempts=(SENT,), sent_at=NOW + 3, ended_at=NOW + 2)),
    ("Sent", message(state="failed", attempts=(SENT,), sent_at=NOW + 3, ended_at=NOW + 2)),
    ("Sent", message(state="expired", attempts=(SENT,), sent_at=NOW + 3, ended_at=NOW + 2)),
    ("Delivered", message(state="cancelled", attempts=(SENT,), sent_at=NOW + 3, delivered_at=NOW + 4, ended_at=NOW + 2)),
]


@pytest.mark.parametrize(("expected", "given"), STATES)
def test_state_of_a_recipient(expected: ProcessState, given: Message) -> None:
    """From the message's own state, its attempts, and what was reported late."""
    assert expected == state_of(given)


@pytest.mark.parametrize(
    ("expected", "states"),
    [
        ("Pending", ["Pending", "Sent", "Failed", "Cancelling"]),
        ("Pending", ["Delivered", "Pending", "Processed"]),
        ("Cancelling", ["Cancelling", "Processed", "Sent"]),
        ("Cancelling", ["Cancelled", "Cancelling"]),
        ("Processed", ["Processed", "Failed", "Delivered", "Cancelled"]),
        ("Failed", ["Failed", "Failed"]),
        ("Delivered", ["Delivered", "Delivered"]),
        ("Cancelled", ["Cancelled", "Cancelled"]),
        ("Sent", ["Sent", "Sent"]),
        ("Sent", ["Sent", "Failed"]),
        ("Sent", ["Sent", "Delivered", "Cancelled"]),
        ("Sent", ["Delivered", "Failed"]),
        ("Sent", ["Failed", "Cancelled"]),
    ],
)
def test_sum(expected: ProcessState, states: list[ProcessState]) -> None:
    assert expected == sum_of(states)
    assert expected == sum_of(reversed(states))


def test_one_recipient_is_its_own_sum() -> None:
    assert list(PROCESS_STATES) == [sum_of([state]) for state in PROCESS_STATES]


def test_a_sum_of_many_is_that_of_its_kinds() -> None:
    """How many are in a state does not matter, only which states there are."""
    for states in combinations_with_replacement(PROCESS_STATES, 3):
        assert sum_of(set(states)) == sum_of(states)


# What the client is told


def test_view_of_one() -> None:
    """The times are those at which the recipient came into each state."""
    told = view(submission(), [message(state="sent", attempts=(SENT,), sent_at=NOW + 3, delivered_at=NOW + 5)], NOW + 6)

    assert ("Delivered", DEVICE) == (told.state, told.device)
    assert (Recipient("+213661000000", "Delivered"),) == told.recipients
    assert {"Pending": NOW, "Processed": NOW + 2, "Sent": NOW + 3, "Delivered": NOW + 5} == told.states


def test_times_are_those_of_the_sum() -> None:
    """It is processed when the last one is with a radio, and delivered when all are."""
    early = message(state="sent", attempts=(SENT,), sent_at=NOW + 3, delivered_at=NOW + 4)
    late = message(
        state="sent", attempts=(replace(SENT, radio_at=NOW + 10, sent_at=NOW + 11),), sent_at=NOW + 11, delivered_at=NOW + 12
    )
    told = view(submission(2), [early, late], NOW + 20)

    assert "Delivered" == told.state
    assert {"Pending": NOW, "Processed": NOW + 10, "Sent": NOW + 11, "Delivered": NOW + 12} == told.states


def test_a_reason_for_each_failure() -> None:
    failed = message(state="failed", reason="no service", ended_at=NOW + 2)
    pending_again = message(state="pending", reason="no service")
    cancelled = message(state="cancelled", reason="cancelled by its sender", ended_at=NOW + 2)
    told = view(submission(3), [failed, pending_again, cancelled], NOW + 3)

    assert ["no service", None, None] == [recipient.error for recipient in told.recipients]


def test_what_was_never_recorded() -> None:
    """It may be on its way for a while; after that it was never accepted, and that is told, not hidden."""
    sent = message(state="sent", attempts=(SENT,), sent_at=NOW + 3)
    young = view(submission(2), [sent, None], NOW + UNRECORDED_SECONDS - 0.1)
    old = view(submission(2), [sent, None], NOW + UNRECORDED_SECONDS)

    assert ["Sent", "Pending"] == [recipient.state for recipient in young.recipients]
    assert "Pending" == young.state
    assert ["Sent", "Failed"] == [recipient.state for recipient in old.recipients]
    assert "Sent" == old.state
    assert "never accepted" in (old.recipients[1].error or "")


@pytest.mark.parametrize(
    ("expected", "asked_for", "given"),
    [
        ("", "", message()),
        ("z" * 21, "z" * 21, message()),
        (DEVICE, "z" * 21, message(state="dispatched", attempts=(HANDED,))),
        ("", "", message(state="dispatched", attempts=(replace(HANDED, seed="603010000000001"),))),
    ],
)
def test_device(expected: str, asked_for: str, given: Message) -> None:
    """The one that has it, else the one that was asked for; a seed that is no SIM of SMSGate's app is none."""
    assert expected == view(submission(device=asked_for), [given], NOW).device


@given(st.lists(st.sampled_from([given for _, given in STATES]), min_size=1, max_size=5))
def test_the_last_time_is_that_of_the_present_state(messages: list[Message]) -> None:
    """Whatever happened before, the state that it is in now has a time, and none is before the beginning."""
    told = view(submission(len(messages)), messages, NOW + 400)

    assert told.state in told.states
    assert all(NOW <= at for at in told.states.values())
    assert NOW == told.states["Pending"]


# What may be asked for


def asked(**fields: Any) -> NewSubmission:
    return NewSubmission(**{"recipients": (MOBILIS,), "body": "text"} | fields)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"body": ""}, "textMessage.text"),
        ({"body": "x" * 65536}, "textMessage.text"),
        ({"body": "half \ud83d"}, "textMessage.text"),
        ({"body": "", "data_port": 1}, "dataMessage.data"),
        ({"data_port": 0}, "dataMessage.port"),
        ({"data_port": 65536}, "dataMessage.port"),
        ({"id": "i" * 37}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"device": "d" * 22}, "deviceId"),
        ({"sim": 0}, "simNumber"),
        ({"sim": 4}, "simNumber"),
        ({"priority": -129}, "priority"),
        ({"priority": 128}, "priority"),
        ({"device_active_within_hours": -1}, "deviceActiveWithin"),
    ],
)
def test_out_of_bounds(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        asked(**fields).check()

    assert field == refused.value.field


def test_the_bounds_themselves() -> None:
    for fields in (
        {"body": "x" * 65535}, {"data_port": 65535}, {"id": "i" * 36}, {"device": "d" * 21}, {"sim": 3}, {"priority": -128},
        {"priority": 127}, {"body": " "},
    ):  # fmt: skip
        asked(**fields).check()

    assert 1 == asked().count_parts()


@pytest.mark.parametrize(
    ("fields", "expires_in", "starts_in"),
    [
        ({}, 3600, None),
        ({"ttl_seconds": 5}, 5, None),
        ({"ttl_seconds": 86400}, 86400, None),
        ({"valid_until": NOW + 0.1}, 0.1, None),
        ({"schedule_at": NOW + 100}, 3700, 100),
        ({"schedule_at": NOW + 100, "ttl_seconds": 200}, 200, 100),
        ({"schedule_at": NOW + 100, "valid_until": NOW + 100}, 100, 100),
    ],
)
def test_lifetime(fields: dict[str, Any], expires_in: float, starts_in: float | None) -> None:
    times = lifetime(asked(**fields), NOW, RULES)

    assert NOW + expires_in == pytest.approx(times.expires_at)
    assert (0.0 if starts_in is None else NOW + starts_in) == times.not_before


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ttl_seconds": 60, "valid_until": NOW + 60}, "ttl"),
        ({"ttl_seconds": 4}, "ttl"),
        ({"ttl_seconds": -1}, "ttl"),
        ({"ttl_seconds": 86401}, "ttl"),
        ({"ttl_seconds": 10**400}, "ttl"),
        ({"valid_until": NOW}, "validUntil"),
        ({"valid_until": NOW + 86401}, "validUntil"),
        ({"schedule_at": NOW}, "scheduleAt"),
        ({"schedule_at": NOW + 86400}, "scheduleAt"),
        ({"schedule_at": NOW + 61, "ttl_seconds": 60}, "scheduleAt"),
        ({"schedule_at": NOW + 61, "valid_until": NOW + 60}, "scheduleAt"),
    ],
)
def test_no_lifetime(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        lifetime(asked(**fields), NOW, RULES)

    assert field == refused.value.field


def test_the_default_lifetime_is_never_too_long() -> None:
    """An operator may let plain messages wait longer than clients may ask for."""
    rules = Rules(sms_seconds=200_000, max_validity_seconds=86400)

    assert NOW + 200_000 == lifetime(asked(), NOW, rules).expires_at


@pytest.mark.parametrize(
    ("expected", "priority", "recipients"),
    [
        ("otp", 0, 1), ("otp", 99, 1), ("otp", 127, 1), ("otp", 100, 2), ("notification", 0, 2), ("notification", 99, 100),
        ("bulk", -1, 1), ("bulk", -128, 2),
    ],
)  # fmt: skip
def test_lane(expected: str, priority: int, recipients: int) -> None:
    """A code goes to one phone, with the clients' default priority."""
    assert expected == asked(priority=priority, recipients=(MOBILIS,) * recipients).lane()


@pytest.mark.parametrize(("parts", "octets"), [(1, 0), (1, 133), (2, 134), (2, 256), (3, 257)])
def test_parts_of_data(parts: int, octets: int) -> None:
    """A header of 7 octets where there is one part, of 12 in each where there are more."""
    assert parts == count_data_parts(octets)


def test_parts() -> None:
    assert 1 == asked(body="AAAA", data_port=1).count_parts()
    assert 2 == asked(body="x" * 161).count_parts()
    assert 1 == asked(body="$aes$no-base64", data_port=1, encrypted=True).count_parts()
    for wrong in ("A", "AAA!", "ÄÖÜß"):
        with pytest.raises(Invalid, match="base64"):
            asked(body=wrong, data_port=1).count_parts()


def test_numbers() -> None:
    found = asked(recipients=("0661 00 00 01", "+213770000001", "00213550000001")).numbers("DZ")

    assert [MOBILIS, "+213770000001", "+213550000001"] == [number.e164 for number in found]
    assert ["60301", "60302", "60303"] == [number.carrier for number in found]


@pytest.mark.parametrize("recipients", [("0661000001", MOBILIS), (MOBILIS, MOBILIS)])
def test_the_same_number_twice(recipients: tuple[str, ...]) -> None:
    """However it is written; in the words of the contract."""
    with pytest.raises(NotUnique, match=r"^phone numbers must be unique$"):
        asked(recipients=recipients).numbers("DZ")


@pytest.mark.parametrize(
    ("recipients", "field"),
    [
        ((), "phoneNumbers"),
        (tuple(f"+2136610{place:05}" for place in range(101)), "phoneNumbers"),
        ((MOBILIS, "12"), "phoneNumbers[1]"),
        (("+213210000000",), "phoneNumbers[0]"),
        (("",), "phoneNumbers[0]"),
    ],
)
def test_wrong_numbers(recipients: tuple[str, ...], field: str) -> None:
    """The place of the wrong one is told, and never the number."""
    with pytest.raises(Invalid) as refused:
        asked(recipients=recipients).numbers("DZ")

    assert field == refused.value.field
    assert not any(text and text in str(refused.value) for text in recipients)


@pytest.mark.parametrize("fields", [{"skip_phone_validation": True}, {"encrypted": True}])
def test_taken_as_they_are(fields: dict[str, Any]) -> None:
    """1 to 128 printable characters of an unknown carrier, in the default country."""
    found = asked(recipients=("123", "a|b", "0661000001", MOBILIS), **fields).numbers("DZ")

    assert ["123", "a|b", "0661000001", MOBILIS] == [number.e164 for number in found]
    assert {("DZ", None)} == {(number.country, number.carrier) for number in found}
    for wrong in ("", "x" * 129, "a\nb"):
        with pytest.raises(Invalid):
            asked(recipients=(wrong,), **fields).numbers("DZ")
    with pytest.raises(NotUnique):
        asked(recipients=("123", "123"), **fields).numbers("DZ")
