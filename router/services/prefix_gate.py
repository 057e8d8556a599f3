"""Whether messages to a number are taken at all: the countries that are served, and the prefixes that are blocked."""

from collections.abc import Iterable, Sequence

from router.clock import Clock
from router.domain.account import Account
from router.domain.errors import Blocked, CountryNotServed, Invalid
from router.domain.fraud import FraudRules, are_served
from router.domain.numbering import Number, parse_number
from router.domain.prefix_blocks import Block
from router.domain.prefixes import is_e164
from router.services.prefix_tally import PREFIXES
from router.services.presence import Presence


class PrefixGate:
    """One per api process, over the copy of the blocks that its `Presence` keeps."""

    def __init__(self, presence: Presence, clock: Clock, default_region: str, rules: FraudRules) -> None:
        self._presence = presence
        self._clock = clock
        self._default_region = default_region
        self._rules = rules

    def check_countries(self, numbers: Sequence[Number], *, were_read: bool) -> None:
        """`were_read`: else they are what a client wrote, and what nobody can read as a number passes. Raises `CountryNotServed`."""
        if self._rules.countries:
            read = numbers if were_read else [found for number in numbers if (found := self._read(number.e164))]
            if not are_served((number.country for number in read), self._rules.countries):
                raise CountryNotServed

    def serves(self, account: Account, recipients: Iterable[str]) -> bool:
        """By the account's own list. What nobody can read as a number passes."""
        return are_served((found.country for text in recipients if (found := self._read(text))), account.countries)

    def blocked(self, recipients: Iterable[str], *, is_code: bool) -> tuple[str, Block] | None:
        """The first recipient, in E.164, whose prefix is blocked, and its block. What nobody can read as a number is not."""
        blocked = self._presence.blocked
        if not blocked:
            return None
        now = self._clock.now()
        for text in recipients:
            number = None if is_e164(text) else self._read(text)
            e164 = number.e164 if number else text
            block = blocked.find(e164, now, self._rules, is_code=is_code)
            if block is not None:
                return e164, block
        return None

    def refuse(self, recipients: Iterable[str], *, is_code: bool) -> None:
        """Counts and raises `Blocked` where a prefix is blocked; else nothing."""
        found = self.blocked(recipients, is_code=is_code)
        if found is not None:
            e164, block = found
            PREFIXES.refused(e164, block.carrier, self._clock.now())
            raise Blocked(block.prefix, block.reason, block.why)

    def _read(self, text: str) -> Number | None:
        """What a phone would dial for it; None where it is no number that we know."""
        try:
            return parse_number(text, self._default_region)
        except Invalid:
            return None
