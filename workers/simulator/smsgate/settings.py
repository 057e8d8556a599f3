"""What an operator can set in the app from afar: `GET /settings`. Values are read as the app reads them."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from workers.simulator.client import Unanswered

Order = Literal["LIFO", "FIFO"]
SimSelection = Literal["OSDefault", "RoundRobin", "Random"]

PERIOD_MINUTES: Final[Mapping[str, float]] = {"Disabled": 0, "PerMinute": 1, "Per30Minutes": 30, "PerHour": 60, "PerDay": 1440}


class PhoneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that change what a simulated phone does; the defaults are the app's own."""

    interval_seconds: tuple[int, int] | None = None
    """From and to: the rest after a message, in whole seconds."""
    limit_minutes: float = 0.0
    limit_value: int = 0
    """So many messages in so many minutes; 0 of either = no limit."""
    order: Order = "LIFO"
    sim_selection: SimSelection = "OSDefault"
    ping_seconds: int = 0
    """A pull each so many seconds; 0 = none but the worker's own."""


class _Messages(msgspec.Struct, frozen=True):
    send_interval_min: float | None = None
    send_interval_max: float | None = None
    limit_period: Literal["Disabled", "PerMinute", "Per30Minutes", "PerHour", "PerDay"] | None = None
    limit_value: float | None = None
    sim_selection_mode: SimSelection | None = None
    processing_order: Order | None = None


class _Ping(msgspec.Struct, frozen=True):
    interval_seconds: float | None = None


class _Settings(msgspec.Struct, frozen=True):
    messages: _Messages | None = None
    ping: _Ping | None = None


_settings: Final = msgspec.json.Decoder(_Settings)


def read_settings(body: bytes) -> PhoneSettings:
    """What the app makes of an answer; keys that it does not know, and parts that are missing, leave the defaults.

    Raises Unanswered for a value that the app would throw on.
    """
    try:
        told = _settings.decode(body)
    except msgspec.DecodeError:
        raise Unanswered("settings that the app does not understand") from None
    messages, ping = told.messages or _Messages(), told.ping or _Ping()
    if (messages.limit_value or 0) < 0:
        raise Unanswered("a limit below zero")
    low, high = int(messages.send_interval_min or 0), messages.send_interval_max
    return PhoneSettings(
        interval_seconds=None if high is None or low > int(high) else (low, int(high)),
        limit_minutes=PERIOD_MINUTES[messages.limit_period or "Disabled"],
        limit_value=int(messages.limit_value or 0),
        order=messages.processing_order or "LIFO",
        sim_selection=messages.sim_selection_mode or "OSDefault",
        ping_seconds=int(ping.interval_seconds or 0),
    )
