"""Which seed gets a message: the whole policy in one pure function, with the reasons why the others were passed over.

1. A seed that may not have it is passed over, with a reason (`why_not`).
2. Of the first `choices` that may (they come in random order), `balanced` takes the lowest score, and of those that are about as good the
   one that was idle longest; the other policies take the first, since their candidates come in the policy's own order (`directory`).
3. Nobody: the message waits. It is never pushed onto a seed without room.

What each number of this is worth, and what was tried instead, stands in docs/routing.md (`seedrouter bench routing`).
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import msgspec

from router.domain.message import ONE_SEED
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.standing import NOT_FREE, Standings

Reason = Literal[
    "not enrolled", "another account's", "another group's", "another SIM", "not able", "disabled", "draining", "offline", "tripped",
    "resting", "no room", "quota used", "recipients used", "tried", "not known good",
]  # fmt: skip
REASONS: tuple[Reason, ...] = get_args(Reason)


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a message asks of a seed."""

    carrier: str
    """MCC+MNC of the recipient; empty = any of the country."""
    country: str
    parts: int = 1
    account: str = ""
    """Whose message it is: its own seeds come first, and another account's own never serve it."""
    only: str = ""
    """The id of a device or an account: its seeds only, whatever their carrier. `=<seed id>`: that seed, whosever it is."""
    sim: int = 0
    """The SIM of that number only; 0 = any."""
    phone_only: bool = False
    """Data and ciphertexts: only SMSGate's app can send them."""
    tried: Mapping[str, float] = {}
    """Seeds that had it already, and until when they are to be passed over."""
    known_good_only: bool = False
    """The failover budget is used up."""
    is_special: bool = False
    """It asks for a group, a SIM or a phone (`__post_init__`)."""
    is_ordinary: bool = True
    """Any seed of its pool that is free may have it (`standing`)."""

    def __post_init__(self) -> None:
        if self.only or self.sim or self.phone_only:
            msgspec.structs.force_setattr(self, "is_special", True)
        if self.is_special or self.parts != 1 or self.tried or self.known_good_only:
            msgspec.structs.force_setattr(self, "is_ordinary", False)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A seed, or none, and why."""

    seed: Seed | None = None
    score: float = 0.0
    slot: int = -1
    """Where the seed stands in the directory."""
    even: tuple[tuple[float, int], ...] = ()
    """The other candidates that were as good, score and slot: this one was idle longest."""
    beaten: tuple[tuple[float, int], ...] = ()
    """Those that could have had it too and are worse, the best of them first."""
    next: str = ""
    """The id of that one."""
    passed_over: Mapping[Reason, int] = {}
    """How many were looked at and could not have it, by reason."""
    unready: Mapping[Reason, int] = {}
    """Where there is none: how many of those that serve everybody could take nothing when they were last counted, by reason."""
    on_net: bool = True

    @property
    def why(self) -> str:
        """The choice in words, as `messages trace` prints it."""
        counts = dict(self.passed_over)
        for reason, count in self.unready.items():
            # Those that were looked at are among those that were counted
            counts[reason] = max(count, counts.get(reason, 0))
        passed = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        words = [f"score {self.score:.2f}" if self.seed else "no seed"]
        if self.even:
            words.append(f"as good as {len(self.even)} other{'s' if len(self.even) > 1 else ''}, and idle longest")
        if self.beaten:
            more = f" and {len(self.beaten) - 1} more" if len(self.beaten) > 1 else ""
            words.append(f"better than {self.next} {self.beaten[0][0]:.2f}{more}")
        if passed:
            words.append(f"passed over: {passed}")
        if not self.on_net:
            words.append("another carrier's seed")
        return "; ".join(words)


def why_not(seed: Seed, need: Need, now: float, rules: Rules) -> Reason | None:  # noqa: C901, PLR0911 - a reason a line
    """Why this seed may not have the message; None when it may."""
    if not seed.enrolled or not (seed.carrier or need.only):
        return "not enrolled"
    if (need.is_special or not seed.shared) and (reason := _not_for_it(seed, need)):
        return reason
    if not seed.enabled:
        return "disabled"
    if seed.draining:
        return "draining"
    if not seed.is_online(now, rules):
        return "offline"
    if now < seed.tripped_until(rules):
        return "tripped"
    if seed.rest_seconds and now < seed.resting_until():
        return "resting"
    if need.tried.get(seed.id, 0.0) > now:
        return "tried"
    if need.known_good_only and not seed.is_known_good():
        return "not known good"
    if need.parts > seed.quota_left(rules):
        return "quota used"
    if seed.recipients_used and 0 < seed.recipients_limit(rules) <= seed.recipients_used:
        # It could still serve a recipient that it knows. A copy would have to know them all to say so, and the last recipients of a month
        # would each be looked for at every such seed: it is left alone until the month is over
        return "recipients used"
    if not seed.has_room(need.parts, rules):
        return "no room"
    return None


def easiest(seed: Seed) -> Need:
    """The message that any seed like this could take: who cannot even take that is of no use to any."""
    bound = "" if seed.carrier else seed.device or seed.account
    return Need(carrier=seed.carrier, country=seed.country, account=seed.account, only=bound)


def _not_for_it(seed: Seed, need: Need) -> Reason | None:
    """Whose seed it is, and what it can do."""
    if need.only.startswith(ONE_SEED):
        return None if need.only[1:] == seed.id else "another group's"
    if not seed.shared and seed.account != need.account:
        return "another account's"
    if need.only and need.only not in (seed.device, seed.account):
        return "another group's"
    if need.sim and need.sim != seed.sim:
        return "another SIM"
    if need.phone_only and not seed.device:
        return "not able"
    return None


def choose_seed(
    candidates: Iterable[int], standings: Standings, need: Need, now: float, rules: Rules, useless: list[int] | None = None
) -> Choice:
    """The best of the candidates (slots), taken from the iterable only as far as needed: as many looks for 100 seeds as for 100,000.

    Those that were passed over are added to `useless`.
    """
    wanted = rules.choices if rules.policy == "balanced" else 1
    scores, overdue_at, is_ordinary = standings.score, standings.overdue_at, need.is_ordinary
    eligible: list[tuple[float, int]] = []
    passed_over: dict[Reason, int] = {}
    for slot in candidates:
        if is_ordinary and overdue_at[slot] >= now and (score := scores[slot]) != NOT_FREE:
            eligible.append((score, slot))
        else:
            seed = standings.seeds[slot]
            reason = why_not(seed, need, now, rules)
            if reason is not None:
                passed_over[reason] = passed_over.get(reason, 0) + 1
                if useless is not None:
                    useless.append(slot)
                continue
            overdue = max(0.0, now - overdue_at[slot])
            eligible.append((seed.score(rules) + overdue * rules.silence_weight, slot))
        if len(eligible) == wanted:
            break
    if not eligible:
        return Choice(passed_over=passed_over)
    return _best(eligible, standings, rules, passed_over)


def _best(eligible: list[tuple[float, int]], standings: Standings, rules: Rules, passed_over: Mapping[Reason, int]) -> Choice:
    eligible.sort()
    # Small differences are chance: among those that are about as good, it is the turn of the one that was idle longest
    turns = standings.turn
    enough = eligible[0][0] + rules.even_score
    even = [pair for pair in eligible if pair[0] <= enough]
    chosen = min(even, key=lambda pair: turns[pair[1]])
    even.remove(chosen)
    beaten = tuple(eligible[len(even) + 1 :])
    score, slot = chosen
    return Choice(
        seed=standings.seeds[slot], slot=slot, score=score, even=tuple(even), beaten=beaten,
        next=standings.ids[beaten[0][1]] if beaten else "", passed_over=passed_over,
    )  # fmt: skip


class FailoverBudget:
    """Failovers allowed, as a share of first attempts: a storm must not feed on itself.

    A token bucket: each first attempt adds `failover_budget` tokens, up to the burst; each failover takes one. It starts full. A few come
    with time: else what a storm has left behind would wait for first attempts that never come, with idle seeds all around.
    """

    def __init__(self, rules: Rules) -> None:
        self._share = rules.failover_budget
        self._burst = rules.failover_budget_burst
        self._per_second = rules.failover_budget_per_second
        self._tokens = self._burst
        self._filled_at = math.inf

    def first_attempt(self) -> None:
        self._tokens = min(self._burst, self._tokens + self._share)

    def is_used_up(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled_at) * self._per_second)
        self._filled_at = now
        return self._tokens < 1.0

    def failover(self) -> None:
        self._tokens = max(0.0, self._tokens - 1.0)

    def __repr__(self) -> str:
        return f"<FailoverBudget {self._tokens:.1f} of {self._burst:.0f}>"
