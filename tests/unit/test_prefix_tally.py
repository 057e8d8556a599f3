"""What a process counts per prefix, and what it keeps of numbers."""

from typing import Any

import pytest
from msgspec.structs import replace

from router.domain.fraud import FraudRules, Sums
from router.domain.message import Message
from router.services.prefix_tally import MAX_PREFIXES, PrefixTally, read_sums
from router.tally import Tally

NOW = 1_999_998_000.0
PREFIX = "+21366123"


def a_code(number: str = "+213661234567", at: float = NOW, **fields: Any) -> Message:
    about: dict[str, Any] = {
        "id": "wg_1", "account": "ac_1", "dialect": "gatewire", "kind": "otp", "lane": "otp", "to": number, "country": "DZ",
        "carrier": "60301", "parts": 1, "price": 5, "created_at": at, "expires_at": at + 300,
    }  # fmt: skip
    return Message(**about | fields)


class Counting:
    def __init__(self, rules: FraudRules | None = None) -> None:
        self.tally = Tally()
        self.prefixes = PrefixTally(self.tally)
        self.prefixes.follow(rules or FraudRules())

    def accept(self, *numbers: str, **fields: Any) -> None:
        for number in numbers:
            self.prefixes.accepted(a_code(number, **fields))

    def sums(self) -> dict[str, dict[str, Sums]]:
        fields: dict[str, int] = {}
        for (family, minute, field), n in self.tally.take().sums.items():
            assert ("prefix", int(NOW) // 60) == (family, minute)
            fields[field] = n
        return read_sums(fields)

    def kept(self) -> dict[str, list[int]]:
        return {prefix: list(latest.suffixes) for prefix, latest in self.prefixes._latest.items()}


def test_counts_per_prefix_and_carrier() -> None:
    """Numbers in a row are near; a number that comes again is not a new one."""
    counting = Counting()
    counting.accept("+213661234567", "+213661234568", "+213661234568", "+213661239999", "+213771234567")
    counting.prefixes.sent(a_code(), NOW)
    counting.prefixes.verified(a_code(), NOW)
    counting.prefixes.refused("+213661234567", "60301", NOW)

    assert {
        PREFIX: {"60301": Sums(accepted=4, distinct=3, near=1, sent=1, verified=1, refused=1)},
        "+21377123": {"60301": Sums(accepted=1, distinct=1)},
    } == counting.sums()


@pytest.mark.parametrize(
    ("rules", "counted"), [(FraudRules(), False), (FraudRules(plain=True), True), (FraudRules(plain=True, mode="off"), False)]
)
def test_plain_sms_are_counted_where_they_are_judged(rules: FraudRules, counted: bool) -> None:
    """By default they are not: a bulk to a company's numbers is no pumping. And nothing of them comes back."""
    counting = Counting(rules)
    counting.accept("+213661234567", kind="sms")
    counting.prefixes.sent(a_code(kind="sms"), NOW)

    assert ({PREFIX: {"60301": Sums(accepted=1, distinct=1)}} if counted else {}) == counting.sums()


def test_off_counts_nothing() -> None:
    """Nor is any number kept."""
    counting = Counting(FraudRules(mode="off"))
    counting.accept("+213661234567")
    counting.prefixes.sent(a_code(), NOW)
    counting.prefixes.refused("+213661234567", "60301", NOW)

    assert {} == counting.sums()
    assert {} == counting.kept()


def test_what_is_no_number_is_passed_over() -> None:
    """A ciphertext, or what a phone is to dial as it stands."""
    counting = Counting(FraudRules(plain=True))
    counting.accept("c2VjcmV0", "0661234567", "+213 661 23 45 67", "")

    assert {} == counting.sums()


def test_what_is_kept_of_numbers() -> None:
    """Their last digits, the latest 32 of a prefix, until nobody asks for that prefix for a window."""
    counting = Counting()
    counting.accept(*(f"{PREFIX}{place:04}" for place in range(100)))
    assert {PREFIX: list(range(68, 100))} == counting.kept()
    counting.accept("+213771234567", at=NOW + 601)

    assert {"+21377123": [4567]} == counting.kept()


def test_prefixes_that_are_kept_are_bounded() -> None:
    """Those that were asked for longest ago go."""
    counting = Counting()
    counting.accept(*(f"+213{place:05}1234" for place in range(MAX_PREFIXES + 10)))
    kept = counting.kept()

    assert MAX_PREFIXES == len(kept)
    assert "+21300009" not in kept
    assert f"+213{MAX_PREFIXES + 9:05}" in kept


def test_other_rules_begin_anew() -> None:
    """Last digits behind prefixes of another length are no use."""
    counting = Counting()
    counting.accept("+213661234567")
    counting.prefixes.follow(replace(FraudRules(), prefix_digits=3))

    assert {} == counting.kept()


def test_what_another_version_counts_is_passed_over() -> None:
    """A timekeeper of this version does not end at it."""
    assert {PREFIX: {"60301": Sums(accepted=2)}} == read_sums({f"{PREFIX}|60301|a": 2, f"{PREFIX}|60301|zz": 1, "what": 1, "+1|": 3})
