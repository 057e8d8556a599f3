"""Blocks of prefixes: how they begin, grow, end by themselves, and who they hold for. Pure."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from router.domain.fraud import FraudRules, Reason
from router.domain.verdicts import Verdict

Author = Literal["router", "operator"]
FORGET_SECONDS: Final = 86_400
"""A block that follows another one within this time is twice as long."""
MAX_BLOCKS: Final = 10_000
"""Prefixes that are remembered; the router blocks no further ones."""


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A prefix that is blocked, or was lately. Times are Unix seconds."""

    prefix: str
    carrier: str
    """Empty where it is not known: an operator may block any beginning of a number."""
    reason: Reason
    why: str
    """For operators only."""
    since: float
    until: float | None
    """None = until an operator lifts it."""
    by: Author
    strikes: int = 1
    """Which block in a row it is."""
    lifted_at: float | None = None
    lifted_by: Author | None = None
    spared_until: float = 0.0
    """Until then the router does not block it again."""
    suspect_since: float = 0.0
    """Minutes from then on do not count as usual: they led to it, or to the one before it."""

    @property
    def lifted(self) -> bool:
        """It ended before its time."""
        return self.lifted_at is not None

    @property
    def ended_at(self) -> float | None:
        """When it ended or will end by itself; None where it will not."""
        return self.until if self.lifted_at is None else self.lifted_at

    def is_active(self, now: float) -> bool:
        return self.ended_at is None or now < self.ended_at

    def taints(self, minute: float) -> bool:
        """Does what happened in that minute not count as usual? An operator who lifts a block says that it was nothing."""
        if self.lifted_by == "operator":
            return False
        return self.suspect_since <= minute and (self.ended_at is None or minute < self.ended_at)

    def refuses(self, rules: FraudRules, *, is_code: bool = True) -> bool:
        """Are messages refused for it? An operator's block holds for all messages, whatever the mode; the router's own verdicts are carried
        out in the mode `block` only, and for what was judged.
        """
        return self.by == "operator" or (rules.mode == "block" and (is_code or rules.plain))


def next_block(
    block: Block | None, prefix: str, carrier: str, verdict: Verdict, *, is_calm: bool, now: float, rules: FraudRules
) -> Block | None:
    """What stands after a look at a prefix: the same block, an ended or a new one, or None where there is nothing (more) to remember."""
    if block is not None and block.is_active(now):
        return _looked_at(block, verdict, is_calm=is_calm, now=now, rules=rules)
    if verdict.reason is not None and (block is None or now >= block.spared_until):
        return _begun(block, prefix, carrier, verdict, now, rules)
    if block is not None and now >= max(block.spared_until, (block.ended_at or now) + FORGET_SECONDS):
        return None
    return block


def _looked_at(block: Block, verdict: Verdict, *, is_calm: bool, now: float, rules: FraudRules) -> Block:
    if block.by == "operator" or now - block.since < rules.window_seconds:
        return block
    # Where nothing is refused, its codes can still come back and speak for it
    is_over = is_calm or (not block.refuses(rules) and verdict.reason is None)
    return replace(block, lifted_at=now, lifted_by="router") if is_over else block


def _begun(block: Block | None, prefix: str, carrier: str, verdict: Verdict, now: float, rules: FraudRules) -> Block:
    if verdict.reason is None:
        raise ValueError("no ground for a block")
    if verdict.reason == "velocity":
        # A limit's window: it says nothing about fraud, and does not grow
        seconds, strikes = rules.window_seconds, 1
    else:
        strikes = _strikes(block, now) + 1
        # The exponent is bounded, not only what comes of it
        seconds = min(rules.block_seconds * 2 ** min(strikes - 1, 30), rules.block_max_seconds)
    return Block(
        prefix=prefix, carrier=carrier, reason=verdict.reason, why=verdict.why, since=now, until=now + seconds, by="router",
        strikes=strikes, suspect_since=_suspect_since(block, now, rules),
    )  # fmt: skip


def _suspect_since(block: Block | None, now: float, rules: FraudRules) -> float:
    """Whose minutes are not all learned yet, after a block that has hardly ended, is suspect all the time."""
    since = now - rules.learn_seconds
    return block.suspect_since if block is not None and block.taints(since) else since


def _strikes(block: Block | None, now: float) -> int:
    """Of the blocks that count against it: not an operator's, nor one that an operator lifted, nor a limit's."""
    if block is None or block.by == "operator" or block.lifted_by == "operator" or block.reason == "velocity":
        return 0
    return block.strikes if now < (block.ended_at or now) + FORGET_SECONDS else 0


def blocked_by_operator(prefix: str, carrier: str, why: str, seconds: float | None, now: float, rules: FraudRules) -> Block:
    """For so long, or until it is lifted."""
    until = None if seconds is None else now + seconds
    return Block(
        prefix=prefix, carrier=carrier, reason="operator", why=why, since=now, until=until, by="operator",
        suspect_since=now - rules.learn_seconds,
    )  # fmt: skip


def lifted_by_operator(block: Block, now: float, rules: FraudRules) -> Block:
    """It holds: the router spares the prefix for a while, whatever it finds."""
    return replace(block, lifted_at=now, lifted_by="operator", spared_until=now + rules.spare_seconds)


class BlockedPrefixes:
    """The blocks as an api process keeps them: a look-up per length of prefix that occurs, mostly one."""

    def __init__(self, blocks: Iterable[Block], now: float) -> None:
        self._blocks = {block.prefix: block for block in blocks if block.is_active(now)}
        self._lengths = sorted({len(prefix) for prefix in self._blocks})

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, e164: str, now: float, rules: FraudRules, *, is_code: bool) -> Block | None:
        """The block that a message to this number is refused for."""
        for length in self._lengths:
            block = self._blocks.get(e164[:length])
            if block is not None and block.is_active(now) and block.refuses(rules, is_code=is_code):
                return block
        return None
