"""What an account can set for its phones: sections of fields, as SMSGate's clients send them and its app takes them.

Rejected: `gateway.cloud_url` and `gateway.private_token`. With them whoever may write settings could move the phones to another server;
they are set on the phone. Like every field that we do not know, they are passed over.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from router.domain.errors import Invalid
from router.domain.rules import Rules

Document = dict[str, dict[str, Any]]
"""Section → field → value; no empty sections, no nulls: the app does not take them."""
_LONGEST_KEY: Final = 1024
_DAY_SECONDS: Final = 86400


def _integer(most: int) -> Callable[[Any], str]:
    def fault(value: Any) -> str:
        is_fine = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
        return "" if is_fine else f"a whole number from 1 to {most}"

    return fault


def _one_of(*choices: str) -> Callable[[Any], str]:
    def fault(value: Any) -> str:
        return "" if value in choices else f"one of {', '.join(choices)}"

    return fault


def _truth(value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _key(value: Any) -> str:
    return "" if isinstance(value, str) and len(value) <= _LONGEST_KEY else f"a text of at most {_LONGEST_KEY} characters"


_FAULTS: Final[Mapping[str, Mapping[str, Callable[[Any], str]]]] = {
    "encryption": {"passphrase": _key},
    "messages": {
        "send_interval_min": _integer(_DAY_SECONDS),
        "send_interval_max": _integer(_DAY_SECONDS),
        "limit_period": _one_of("Disabled", "PerMinute", "PerHour", "PerDay"),
        "limit_value": _integer(1_000_000),
        "sim_selection_mode": _one_of("OSDefault", "RoundRobin", "Random"),
        "log_lifetime_days": _integer(3650),
        "processing_order": _one_of("LIFO", "FIFO"),
    },
    "ping": {"interval_seconds": _integer(_DAY_SECONDS)},
    "logs": {"lifetime_days": _integer(3650)},
    "webhooks": {"internet_required": _truth, "retry_count": _integer(1000), "signing_key": _key},
    "gateway": {"notification_channel": _one_of("AUTO", "SSE_ONLY")},
}
_SECRETS: Final = (("encryption", "passphrase"), ("webhooks", "signing_key"))


def defaults(rules: Rules) -> Document:
    """What phones are told where the account says nothing: to keep a line open, and to ask often enough to count as online."""
    interval = max(1, int(rules.online_window_seconds / 2))
    return {"gateway": {"notification_channel": "SSE_ONLY"}, "ping": {"interval_seconds": interval}}


def merged(document: Document, change: Mapping[str, Any]) -> Document:
    """The document with a change: null takes a section or a field away, and so does an empty key. Raises `Invalid`."""
    after = {section: dict(fields) for section, fields in document.items()}
    for section, rules in _FAULTS.items():
        if section not in change:
            continue
        fields = change[section]
        if fields is None:
            after.pop(section, None)
            continue
        if not isinstance(fields, dict):
            raise Invalid(section, "an object is expected")
        kept = after.setdefault(section, {})
        for name, fault in rules.items():
            if name in fields:
                _set(kept, section, name, fields[name], fault)
    _check_interval(after.get("messages", {}))
    return {section: fields for section, fields in after.items() if fields}


def replaced(document: Document, given: Mapping[str, Any]) -> Document:
    """Only what is given, and the keys: a client is never shown the passphrase, so it cannot send it back. Raises `Invalid`."""
    kept: Document = {}
    for section, name in _SECRETS:
        if name in document.get(section, {}):
            kept.setdefault(section, {})[name] = document[section][name]
    return merged(kept, given)


def over(base: Document, document: Document) -> Document:
    """`document` laid over `base`, field by field."""
    return {section: base.get(section, {}) | document.get(section, {}) for section in base.keys() | document.keys()}


def shown(document: Document) -> Document:
    """What its account may read of it: not the passphrase, which only phones need."""
    seen = {section: {name: value for name, value in fields.items() if name != "passphrase"} for section, fields in document.items()}
    return {section: fields for section, fields in seen.items() if fields}


def _set(kept: dict[str, Any], section: str, name: str, value: Any, fault: Callable[[Any], str]) -> None:
    if value is None or ((section, name) in _SECRETS and value == ""):
        kept.pop(name, None)
        return
    if reason := fault(value):
        raise Invalid(f"{section}.{name}", reason)
    kept[name] = value


def _check_interval(messages: Mapping[str, Any]) -> None:
    least, most = messages.get("send_interval_min"), messages.get("send_interval_max")
    if least is not None and most is not None and least > most:
        raise Invalid("messages.send_interval_max", "not less than send_interval_min")
