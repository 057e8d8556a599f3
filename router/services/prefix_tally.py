"""Counts per prefix what is accepted, sent, verified and refused, for the verdicts of `services/fraud.py`.

Whether a number stands next to others is found out here, in the memory of the process that accepts it: of each prefix the last digits of
its latest numbers are kept, `RECENT` of them, until nobody asks for that prefix for a window. What leaves this process are sums.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Final

import msgspec

from router.domain.fraud import PREFIX, FraudRules, Sums
from router.domain.message import Message
from router.domain.prefixes import RECENT, is_near, prefix_of
from router.tally import TALLY, Tally

MAX_PREFIXES: Final = 10_000
"""Prefixes whose latest numbers are kept; beyond it those that were asked for longest ago go."""
_KINDS: Final = {"accepted": "a", "distinct": "d", "near": "n", "sent": "s", "verified": "v", "refused": "r"}
_NAMES: Final = {letter: name for name, letter in _KINDS.items()}


class _Latest(msgspec.Struct):
    """Of one prefix."""

    suffixes: deque[int]
    at: float


class PrefixTally:
    """One per process. Only the event loop's thread counts."""

    def __init__(self, tally: Tally = TALLY) -> None:
        self._tally = tally
        self._latest: OrderedDict[str, _Latest] = OrderedDict()
        self._rules = FraudRules()

    def follow(self, rules: FraudRules) -> None:
        """From now on by these rules."""
        self._rules = rules
        self._latest.clear()

    def accepted(self, message: Message) -> None:
        """It is recorded and queued."""
        prefix = self._prefix(message)
        if not prefix:
            return
        at = message.created_at
        self._count(prefix, message.carrier, "accepted", at)
        suffix = message.to[len(prefix) :]
        latest = self._of(prefix, at)
        if int(suffix) in latest.suffixes:
            return
        self._count(prefix, message.carrier, "distinct", at)
        if is_near(suffix, latest.suffixes):
            self._count(prefix, message.carrier, "near", at)
        latest.suffixes.append(int(suffix))

    def sent(self, message: Message, now: float) -> None:
        """A code went out."""
        self._code(message, "sent", now)

    def verified(self, message: Message, now: float) -> None:
        """A code came back right."""
        self._code(message, "verified", now)

    def refused(self, e164: str, carrier: str, now: float) -> None:
        """Its prefix is blocked."""
        if prefix := self._prefix_of(e164):
            self._count(prefix, carrier, "refused", now)

    def _code(self, message: Message, what: str, now: float) -> None:
        prefix = self._prefix(message) if message.kind == "otp" else ""
        if prefix:
            self._count(prefix, message.carrier, what, now)

    def _prefix(self, message: Message) -> str:
        """Empty for what is not judged."""
        return self._prefix_of(message.to) if message.kind == "otp" or self._rules.plain else ""

    def _prefix_of(self, e164: str) -> str:
        return prefix_of(e164, self._rules.prefix_digits) if self._rules.mode != "off" else ""

    def _count(self, prefix: str, carrier: str, what: str, at: float) -> None:
        self._tally.add(PREFIX, f"{prefix}|{carrier}|{_KINDS[what]}", at=at)

    def _of(self, prefix: str, now: float) -> _Latest:
        """The latest numbers of a prefix; those that nobody asked for lately are forgotten by the way."""
        self.forget(now)
        latest = self._latest.get(prefix)
        if latest is None:
            latest = self._latest[prefix] = _Latest(deque(maxlen=RECENT), now)
        latest.at = now
        self._latest.move_to_end(prefix)
        return latest

    def forget(self, now: float) -> None:
        """Drops the numbers of prefixes that were not asked for within the window."""
        before = now - self._rules.window_seconds
        while self._latest and (len(self._latest) >= MAX_PREFIXES or next(iter(self._latest.values())).at < before):
            self._latest.popitem(last=False)


PREFIXES: Final = PrefixTally()


def read_sums(fields: Mapping[str, int]) -> dict[str, dict[str, Sums]]:
    """The sums of a bucket: prefix → carrier → sums. What another version has counted besides is passed over."""
    found: dict[str, dict[str, Sums]] = {}
    for field, count in fields.items():
        prefix, _, rest = field.partition("|")
        carrier, _, letter = rest.partition("|")
        if letter in _NAMES:
            setattr(found.setdefault(prefix, {}).setdefault(carrier, Sums()), _NAMES[letter], count)
    return found
