"""What the objective is measured by: codes alone, sent in so many seconds or never sent."""

from typing import Any

from msgspec.structs import replace
from prometheus_client import REGISTRY

from router.domain.message import Message
from router.services import observe

NOW = 1_800_000_000.0
WAITING = Message(
    id="m", account="a", dialect="gatewire", kind="otp", lane="otp", to="+213771234567", country="DZ", carrier="60302", parts=1, price=0,
    created_at=NOW, expires_at=NOW + 300,
)  # fmt: skip


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"seedrouter_{name}", {"carrier": "60302"} | labels) or 0.0


def figures() -> dict[str, float]:
    return {
        "sent": figure("code_sent_seconds_count"),
        "in time": figure("code_sent_seconds_bucket", le="10.0"),
        "all sent": figure("sent_seconds_count"),
        "expired": figure("codes_unsent_total", state="expired"),
        "failed": figure("codes_unsent_total", state="failed"),
    }


def counted(before: Message, seconds: float, **changes: Any) -> dict[str, float]:
    """What a change after so many seconds adds to the figures, without what stays."""
    start = figures()
    observe.transition(before, replace(before, **changes), NOW + seconds)
    return {name: value - start[name] for name, value in figures().items() if value != start[name]}


def test_a_code_that_is_sent_counts_by_its_seconds() -> None:
    """Within the objective, or beyond it."""
    sent = {"state": "sent", "dispatched_at": NOW + 1}

    assert {"sent": 1, "in time": 1, "all sent": 1} == counted(WAITING, 9.9, **sent, sent_at=NOW + 9.9)
    assert {"sent": 1, "all sent": 1} == counted(WAITING, 10.1, **sent, sent_at=NOW + 10.1)


def test_a_plain_sms_is_none() -> None:
    """Bulk may take long, and expire, without spending the codes' error budget."""
    plain = replace(WAITING, kind="sms", lane="bulk")

    assert {"all sent": 1} == counted(plain, 500, state="sent", dispatched_at=NOW, sent_at=NOW + 500, ended_at=NOW + 500)
    assert {} == counted(plain, 3600, state="expired", ended_at=NOW + 3600)


def test_a_code_that_was_never_sent_counts_as_such() -> None:
    """Expired, or failed; who withdraws it has no claim to it."""
    assert {"expired": 1} == counted(WAITING, 300, state="expired", ended_at=NOW + 300)
    assert {"failed": 1} == counted(WAITING, 20, state="failed", ended_at=NOW + 20)
    assert {} == counted(WAITING, 20, state="cancelled", ended_at=NOW + 20)


def test_a_code_that_was_sent_and_not_verified_did_its_part() -> None:
    """It expires, and is none of those that were never sent."""
    sent = replace(WAITING, state="sent", dispatched_at=NOW + 1, sent_at=NOW + 3)

    assert {} == counted(sent, 300, state="expired", ended_at=NOW + 300)
