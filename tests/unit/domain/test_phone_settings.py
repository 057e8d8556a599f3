from typing import Any

import pytest

from router.domain.errors import Invalid
from router.domain.phone_settings import Document, defaults, merged, over, replaced, shown
from router.domain.rules import Rules

FULL: Document = {
    "encryption": {"passphrase": "secret"},
    "messages": {"send_interval_min": 1, "send_interval_max": 5, "limit_period": "PerHour", "limit_value": 100},
    "webhooks": {"signing_key": "key", "retry_count": 3},
}


def test_merge() -> None:
    """Fields that are given change, null takes one or a section away, nothing else changes, and no empty section stays."""
    change = {"messages": {"limit_value": 200, "limit_period": None}, "webhooks": None, "encryption": {"passphrase": ""}}

    assert {"messages": {"send_interval_min": 1, "send_interval_max": 5, "limit_value": 200}} == merged(FULL, change)
    assert FULL == merged(FULL, {})
    assert 100 == FULL["messages"]["limit_value"]


def test_every_field_of_the_clients() -> None:
    given: Document = {
        "encryption": {"passphrase": "x"},
        "messages": {
            "limit_period": "PerDay", "limit_value": 1, "log_lifetime_days": 30, "processing_order": "FIFO", "send_interval_max": 30,
            "send_interval_min": 15, "sim_selection_mode": "RoundRobin",
        },
        "logs": {"lifetime_days": 7},
        "ping": {"interval_seconds": 60},
        "webhooks": {"retry_count": 1, "signing_key": "k", "internet_required": False},
        "gateway": {"notification_channel": "AUTO"},
    }  # fmt: skip

    assert given == merged({}, given)


def test_what_is_unknown_is_passed_over() -> None:
    """Newer fields, and those with which phones could be moved to another server."""
    change = {
        "messages": {"work_hours_enabled": True}, "later": {"a": 1}, "ping": {"interval_seconds": 5, "x": {}},
        "gateway": {"cloud_url": "https://elsewhere.example", "private_token": "t"},
    }  # fmt: skip

    assert {"ping": {"interval_seconds": 5}} == merged({}, change)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": []}, "messages"),
        ({"ping": "often"}, "ping"),
        ({"ping": {"interval_seconds": 0}}, "ping.interval_seconds"),
        ({"ping": {"interval_seconds": True}}, "ping.interval_seconds"),
        ({"ping": {"interval_seconds": "30"}}, "ping.interval_seconds"),
        ({"ping": {"interval_seconds": 1.5}}, "ping.interval_seconds"),
        ({"messages": {"limit_period": "PerYear"}}, "messages.limit_period"),
        ({"messages": {"limit_period": ["PerDay"]}}, "messages.limit_period"),
        ({"messages": {"limit_value": -1}}, "messages.limit_value"),
        ({"messages": {"send_interval_min": 6}}, "messages.send_interval_max"),
        ({"webhooks": {"internet_required": "yes"}}, "webhooks.internet_required"),
        ({"webhooks": {"signing_key": 5}}, "webhooks.signing_key"),
        ({"encryption": {"passphrase": "x" * 1025}}, "encryption.passphrase"),
        ({"gateway": {"notification_channel": "FCM"}}, "gateway.notification_channel"),
    ],
)
def test_refused(change: dict[str, Any], field: str) -> None:
    """The field is told; the value, which may be a key, is not."""
    with pytest.raises(Invalid) as refused:
        merged(FULL, change)

    assert field == refused.value.field
    assert "xxx" not in str(refused.value)


def test_replace_keeps_the_keys() -> None:
    """Who reads the settings and writes them back has not seen the passphrase; null or empty removes a key."""
    keys = {"encryption": {"passphrase": "secret"}, "webhooks": {"signing_key": "key"}}

    assert keys == replaced(FULL, {})
    assert keys | {"ping": {"interval_seconds": 9}} == replaced(FULL, {"ping": {"interval_seconds": 9}})
    assert {"webhooks": {"signing_key": "other"}} == replaced(FULL, {"encryption": None, "webhooks": {"signing_key": "other"}})


def test_shown() -> None:
    assert {"messages": FULL["messages"], "webhooks": FULL["webhooks"]} == shown(FULL)


def test_defaults() -> None:
    """Phones ask more often than they would have to, to count as online."""
    base = defaults(Rules(online_window_seconds=20))

    assert {"gateway": {"notification_channel": "SSE_ONLY"}, "ping": {"interval_seconds": 10}} == base
    assert 1 == defaults(Rules(online_window_seconds=1))["ping"]["interval_seconds"]
    assert {"gateway": {"notification_channel": "SSE_ONLY"}, "ping": {"interval_seconds": 3}, "logs": {"lifetime_days": 1}} == over(
        base, {"ping": {"interval_seconds": 3}, "logs": {"lifetime_days": 1}}
    )
