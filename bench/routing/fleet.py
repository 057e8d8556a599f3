"""Reference fleets: TOML files in `fleets/`, to be copied and edited. Shares are of 1, times are seconds."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

FLEETS = Path(__file__).with_name("fleets")
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Behaviour = Literal["good", "dozing", "failing", "silent", "slow"]


class Carrier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network: how many of the fleet's SIMs are on it, and what share of the messages goes to it."""

    code: str
    seeds: int
    traffic: Share


class Shares(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What share of the phones behaves how; the rest is good."""

    dozing: Share = 0.05
    """Offline now and then, with what they hold."""
    failing: Share = 0.03
    """Fail whatever they are given, after half a second to three."""
    silent: Share = 0.02
    """Take and never send."""
    slow: Share = 0.02
    """Four to fifteen seconds a part."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room of phones, and the traffic that goes through it."""

    about: str
    carriers: list[Carrier]
    pace_seconds: Seconds = 3.0
    """What a SIM takes for a part, in the mean, and what the router is told."""
    pace_spread: Share = 0.17
    """Evenly so much more or less."""
    parts_per_half_hour: int = 0
    app_share: Share = 0.5
    """Phones of SMSGate's app: they go by their lease alone and tell afterwards what they did. The others ask before they send."""
    shares: Shares = Shares()
    doze_seconds: Seconds = 120.0
    doze_every_seconds: Seconds = 900.0
    fails: Share = 0.01
    """Sends that fail anywhere."""
    reports_lost: Share = 0.001
    reports_late: Share = 0.005
    """Reports that take `late_seconds`, so that they come out of order."""
    late_seconds: Seconds = 20.0
    clock_off: Share = 0.1
    """Phones whose clock is off by up to `clock_off_seconds`, either way."""
    clock_off_seconds: Seconds = 180.0
    blocked_after: int = 0
    """Distinct recipients after which the operator bars a SIM: all fails from then on. 0 = never."""
    two_parts: Share = 0.0
    """Messages of two parts: codes in UCS-2."""
    network_seconds: tuple[Seconds, Seconds] = (0.03, 0.25)
    """What a call of a phone takes, at least and at most."""
    slow_network: Share = 0.1
    """Phones whose calls take longer."""
    slow_network_seconds: tuple[Seconds, Seconds] = (0.4, 1.5)
    linger_seconds: Seconds = 20.0
    """A phone that is gone has a connection that is still open, and counts as a sign of life, for up to so long: evenly distributed."""
    ping_seconds: Seconds = 1.0
    code_seconds: Seconds = 300.0

    @property
    def size(self) -> int:
        return sum(carrier.seeds for carrier in self.carriers)

    @property
    def per_second(self) -> float:
        """Messages a second at full load: what all SIMs could send at their pace, the useless ones too. By traffic, so that the carrier
        that is busiest for its size is at full load.
        """
        parts = 1.0 + self.two_parts
        return min(carrier.seeds / carrier.traffic for carrier in self.carriers if carrier.traffic) / (self.pace_seconds * parts)


def names() -> list[str]:
    """The fleets that come along."""
    return sorted(path.stem for path in FLEETS.glob("*.toml"))


def load(name: str) -> Fleet:
    """A fleet by its name, or by the path of a file. Raises `ValueError` that says what is wrong with it."""
    path = Path(name) if name.endswith(".toml") else FLEETS / f"{name}.toml"
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Fleet)
    except FileNotFoundError:
        raise ValueError(f"there is no fleet {name}: there are {', '.join(names())}, or give the path of a .toml file") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from None
