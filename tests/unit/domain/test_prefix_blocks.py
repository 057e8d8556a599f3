"""How blocks begin, grow, end and hold."""

from msgspec.structs import replace

from router.domain.fraud import FraudRules
from router.domain.prefix_blocks import (
    FORGET_SECONDS,
    Block,
    BlockedPrefixes,
    blocked_by_operator,
    lifted_by_operator,
    next_block,
)
from router.domain.verdicts import Verdict

RULES = FraudRules(mode="block")
WATCHING = FraudRules(mode="watch")
PREFIX, NUMBER = "+21366123", "+213661234567"
BAD, FAST = Verdict("sequential", "its numbers are in a row"), Verdict("fast", "60 messages")
NOW = 2_000_000_000.0


def look(block: Block | None, verdict: Verdict, now: float, *, is_calm: bool = False, rules: FraudRules = RULES) -> Block | None:
    return next_block(block, PREFIX, "60301", verdict, is_calm=is_calm, now=now, rules=rules)


def blocked(now: float = NOW, before: Block | None = None) -> Block:
    block = look(before, BAD, now)
    assert block is not None
    return block


def finds(*blocks: Block, now: float = NOW, rules: FraudRules = RULES, is_code: bool = True, number: str = NUMBER) -> bool:
    return BlockedPrefixes(blocks, now).find(number, now, rules, is_code=is_code) is not None


def test_a_verdict_with_a_reason_blocks() -> None:
    """One without leaves things as they are."""
    block = blocked()

    assert ("sequential", BAD.why, "router", NOW + 900) == (block.reason, block.why, block.by, block.until)
    assert look(None, FAST, NOW) is None
    assert look(None, Verdict(), NOW) is None


def test_a_block_ends_by_itself() -> None:
    """Whoever asks sees it by the clock; no process has to do anything."""
    block = blocked()

    assert finds(block, now=NOW + 899)
    assert not finds(block, now=NOW + 900)
    assert not BlockedPrefixes([block], NOW).find(NUMBER, NOW + 900, RULES, is_code=True)


def test_blocks_in_a_row_are_twice_as_long_each() -> None:
    """Up to the longest; the next day it begins anew."""
    block, now, lengths = None, NOW, []
    for _ in range(9):
        block = blocked(now, block)
        assert block.until is not None
        lengths.append(block.until - now)
        now = block.until

    assert [900, 1800, 3600, 7200, 14_400, 28_800, 57_600, 86_400, 86_400] == lengths
    assert 1 == blocked(now + FORGET_SECONDS, block).strikes


def test_a_limit_blocks_for_its_window_and_never_longer() -> None:
    """It is no reproach: the next block for fraud is a first one."""
    over = Verdict("velocity", "the limit is 100")
    first = look(None, over, NOW)
    assert first is not None
    assert first.until is not None
    second = look(first, over, first.until)

    assert NOW + 600 == first.until
    assert second is not None
    assert first.until + 600 == second.until
    assert 900 == (blocked(NOW + 601, first).until or 0) - NOW - 601


def test_calm_traffic_frees_early() -> None:
    """After a window at the earliest, so that there are figures of the time since; and it still counts as a strike."""
    block = blocked()
    assert block == look(block, Verdict(), NOW + 599, is_calm=True)
    assert block == look(block, Verdict(), NOW + 600, is_calm=False)
    free = look(block, Verdict(), NOW + 600, is_calm=True)

    assert free is not None
    assert free.lifted
    assert "router" == free.lifted_by
    assert not finds(free, now=NOW + 600)
    assert 2 == blocked(NOW + 700, free).strikes


def test_in_watch_mode_honest_traffic_frees_early() -> None:
    """Its codes go out and come back: that it is fast does not matter. Where it is refused, nobody could tell."""
    block = blocked()
    free = look(block, FAST, NOW + 600, rules=WATCHING)

    assert free is not None
    assert free.lifted
    assert block == look(block, FAST, NOW + 600, rules=RULES)
    assert block == look(block, BAD, NOW + 600, rules=WATCHING)


def test_an_operators_lift_holds() -> None:
    """Whatever the router finds, for an hour; after it the prefix has no strikes."""
    free = lifted_by_operator(blocked(NOW, blocked(NOW - 900)), NOW + 60, RULES)

    assert not finds(free, now=NOW + 60)
    assert free == look(free, BAD, NOW + 60 + 3599)
    again = look(free, BAD, NOW + 60 + 3600)
    assert again is not None
    assert 1 == again.strikes


def test_the_router_does_not_touch_an_operators_block() -> None:
    """Calm or not; it ends at its time or never, and for the router it never was."""
    for_good = blocked_by_operator(PREFIX, "60301", "", None, NOW, RULES)
    for_a_while = blocked_by_operator(PREFIX, "60301", "", 60, NOW, RULES)

    assert for_good == look(for_good, Verdict(), NOW + 10**8, is_calm=True)
    assert finds(for_good, now=NOW + 10**8)
    assert not finds(for_a_while, now=NOW + 60)
    assert 1 == blocked(NOW + 60, for_a_while).strikes


def test_what_is_long_over_is_forgotten() -> None:
    """Neither strikes nor a lift are remembered for ever."""
    block = blocked()
    assert block.until is not None

    assert block == look(block, Verdict(), block.until + FORGET_SECONDS - 1)
    assert look(block, Verdict(), block.until + FORGET_SECONDS) is None


def test_what_led_to_a_block_is_not_usual() -> None:
    """Nor what came while it was in force; unless an operator says that it was nothing."""
    block = blocked()
    assert block.until is not None

    assert [False, True, True, True, False] == [
        block.taints(minute)
        for minute in (NOW - RULES.learn_seconds - 1, NOW - RULES.learn_seconds, NOW, block.until - 1, block.until)
    ]
    assert not lifted_by_operator(block, NOW + 60, RULES).taints(NOW)
    second = blocked(block.until + 60, block)
    assert second.taints(NOW), "not all of it was learned when the next one began"
    assert not blocked(block.until + RULES.learn_seconds, block).taints(NOW)


def test_whom_a_block_is_for() -> None:
    """The router's for the codes that it judged, in the mode that carries it out; an operator's for everything, always."""
    mine, theirs = blocked(), blocked_by_operator(PREFIX, "60301", "", None, NOW, RULES)

    assert finds(mine)
    assert not finds(mine, is_code=False)
    assert finds(mine, is_code=False, rules=replace(RULES, plain=True))
    assert not finds(mine, rules=WATCHING)
    assert not finds(mine, rules=FraudRules(mode="off"))
    assert finds(theirs, is_code=False, rules=WATCHING)
    assert finds(theirs, rules=FraudRules(mode="off"))


def test_prefixes_of_any_length() -> None:
    """An operator may block a country, or one number; others go on."""
    country = blocked_by_operator("+216", "", "", None, NOW, RULES)
    one = blocked_by_operator(NUMBER, "60301", "", None, NOW, RULES)

    assert finds(country, one, number="+21620123456")
    assert finds(country, one)
    assert not finds(country, one, number="+213661234568")
    assert not finds(country, one, number="+2136612345")
    assert not finds(country, one, number="")
