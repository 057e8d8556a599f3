"""One run: a fleet, a scenario, a load, a policy, and what came of the messages."""

import random
import statistics
from collections.abc import Callable
from typing import Any

import msgspec

from bench.routing.clock import Agenda
from bench.routing.fleet import Behaviour, Fleet
from bench.routing.phones import Phone
from bench.routing.policies import POLICIES
from bench.routing.router import Router
from bench.routing.scenarios import SCENARIOS, WARM_UP_SECONDS
from router.domain.message import Message
from router.domain.rules import Rules

_DELAY_SECONDS = 0.01
"""From acceptance to the choice: queue, reading, reserving."""
GOOD_SECONDS = 10.0
_NORMAL = 0.995
_FLOW_SECONDS = 30


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has shown. Shares are of the messages accepted after the warm-up; times are from acceptance to the air."""

    fleet: str
    scenario: str
    policy: str
    load: float
    seed: int
    messages: int
    within: float
    """On the air within 10 s."""
    never: float
    p50: float
    p95: float
    p99: float
    twice: int
    explained_twice: int
    failovers: dict[str, int]
    ended: dict[str, int]
    parked: int
    busiest: float
    """Sent by the busiest of the good phones ÷ their mean, over phones of one carrier, each for the time that it was there; the worst
    carrier's.
    """
    back_seconds: float
    """After the end of a trouble: until the messages of every ten seconds are on the air within 10 s again as they were before (all but
    half a percent of them); 0 where there was none.
    """
    by_second: list[tuple[int, int, int]] = []
    """For each second of acceptance: messages, those on the air within 10 s, those that went on the air in it."""
    sent_by_seed: list[int] = []
    room: list[tuple[float, int]] = []
    """Time, and the parts that all SIMs that are online could still take."""
    troubles: list[tuple[str, float, float]] = []


class Run:
    """What a scenario may change."""

    def __init__(self, fleet: Fleet, scenario: str, policy: str, load: float, seed: int, changes: dict[str, Any]) -> None:
        self.fleet = fleet
        self.agenda = Agenda()
        self.rng = random.Random(seed)
        self.troubles: list[tuple[str, float, float]] = []
        self._story = SCENARIOS[scenario]
        self._policy = POLICIES[policy]
        self._load = load
        self.rules = msgspec.structs.replace(
            Rules(),
            pace_seconds=fleet.pace_seconds, parts_per_half_hour=fleet.parts_per_half_hour, code_seconds=fleet.code_seconds,
            accept_when="always", **{**changes, **self._policy.changes},
        )  # fmt: skip
        chosen = self._policy
        self.router = Router(
            self.rules, self.agenda, self.rng, chosen.view, dispatchers=2, delay=_DELAY_SECONDS, newest_first=chosen.newest_first
        )
        self._made = 0
        self.phones: list[Phone] = []
        for carrier in fleet.carriers:
            self.phones += [self._phone(carrier.code, behaviour) for behaviour in self._behaviours(carrier.seeds)]
        self.router.enrol(self.phones, fleet.ping_seconds)
        self._story.arrange(self)

    def _behaviours(self, count: int) -> list[Behaviour]:
        """Just so many of each kind, so that runs differ in chance and not in the fleet."""
        shares = self.fleet.shares
        kinds: list[tuple[Behaviour, float]] = [
            ("dozing", shares.dozing), ("failing", shares.failing), ("silent", shares.silent), ("slow", shares.slow),
        ]  # fmt: skip
        found: list[Behaviour] = [kind for kind, share in kinds for _ in range(round(share * count))]
        found += ["good"] * (count - len(found))
        self.rng.shuffle(found)
        return found[:count]

    def _phone(self, carrier: str, behaviour: Behaviour) -> Phone:
        self._made += 1
        return Phone(f"{carrier}{self._made:010}", carrier, behaviour, self.fleet, self.agenda, self.rng)

    def note(self, what: str, since: float, until: float) -> None:
        """A trouble, for the plots."""
        self.troubles.append((what, since, until))

    def some(self, share: float, carrier: str = "") -> list[Phone]:
        """A share of the phones, any of them."""
        among = [phone for phone in self.phones if not carrier or phone.carrier == carrier]
        return self.rng.sample(among, round(share * len(among)))

    def renew(self, share: float) -> None:
        """So many SIMs of each carrier make place for new ones."""
        old = [phone for carrier in self.fleet.carriers for phone in self.some(share, carrier.code)]
        self.router.retire(old)
        for phone in old:
            # What it holds goes out first
            self.agenda.after(60.0, phone.leave)
        new: list[Phone] = []
        for carrier in self.fleet.carriers:
            count = sum(phone.carrier == carrier.code for phone in old)
            new += [self._phone(carrier.code, behaviour) for behaviour in self._behaviours(count)]
        self.router.enrol(new, self.fleet.ping_seconds)
        gone = set(old)
        self.phones = [phone for phone in self.phones if phone not in gone] + new

    def go(self, messages: int, progress: Callable[[float], None] | None = None) -> None:
        """Traffic for as long as the scenario lasts, or for about so many messages, and until the last is over. `progress` hears the share
        of the time that has been played, a hundred times.
        """
        rate = self._load * self.fleet.per_second
        seconds = messages / rate if messages else self._story.seconds
        carriers = [carrier.code for carrier in self.fleet.carriers]
        weights = [carrier.traffic for carrier in self.fleet.carriers]
        end = WARM_UP_SECONDS + seconds
        at = 0.0
        number = 0
        while at < end:
            at += self.rng.expovariate(rate * self._story.factor(at))
            number += 1
            parts = 2 if self.rng.random() < self.fleet.two_parts else 1
            self.agenda.at(at, self._accept, number, self.rng.choices(carriers, weights)[0], parts)
        last = end + self.fleet.code_seconds + self.rules.radio_seconds
        if progress is not None:
            for percent in range(1, 101):
                self.agenda.at(last * percent / 100, progress, percent / 100)
        self.agenda.run(last)

    def _accept(self, number: int, carrier: str, parts: int) -> None:
        now = self.agenda.now
        self.router.accept(
            Message(
                id=f"m{number}", account="a", dialect="gatewire", kind="sms", lane="otp", to=f"+2136{number:08}", country="DZ",
                carrier=carrier, parts=parts, price=0, created_at=now, expires_at=now + self.fleet.code_seconds, queued_at=now,
            )
        )  # fmt: skip


def run(
    fleet: Fleet, name: str, scenario: str, policy: str, load: float, seed: int, messages: int, changes: dict[str, Any],
    progress: Callable[[float], None] | None = None,
) -> Outcome:  # fmt: skip
    """Plays it through. `progress`: see `Run.go`."""
    one = Run(fleet, scenario, policy, load, seed, changes)
    one.go(messages, progress)
    router = one.router
    truths = [truth for truth in router.truths.values() if truth.accepted_at >= WARM_UP_SECONDS]
    took = sorted(truth.on_air_at - truth.accepted_at for truth in truths if truth.on_air)
    last = int(max(truth.accepted_at for truth in truths))
    rows = [[0, 0, 0] for _ in range(last + 1)]
    for truth in router.truths.values():
        row = rows[min(last, int(truth.accepted_at))]
        row[0] += 1
        row[1] += bool(truth.on_air) and truth.on_air_at - truth.accepted_at <= GOOD_SECONDS
        if truth.on_air and truth.on_air_at <= last:
            rows[int(truth.on_air_at)][2] += 1
    good = [phone for phone in one.phones if phone.behaviour == "good"]
    return Outcome(
        fleet=name, scenario=scenario, policy=policy, load=load, seed=seed, messages=len(truths),
        within=sum(seconds <= GOOD_SECONDS for seconds in took) / len(truths), never=1 - len(took) / len(truths),
        p50=_quantile(took, 0.5), p95=_quantile(took, 0.95), p99=_quantile(took, 0.99),
        twice=router.twice, explained_twice=router.explained_twice, failovers=router.failovers, ended=router.ended, parked=router.parked,
        busiest=max(
            _busiest([p.sent / (one.agenda.now - p.since) for p in good if p.carrier == carrier.code]) for carrier in one.fleet.carriers
        ),
        back_seconds=_back(rows, one.troubles), by_second=[(row[0], row[1], row[2]) for row in rows],
        sent_by_seed=sorted(phone.sent for phone in good), troubles=one.troubles, room=[pair for pair in router.room if pair[0] <= last],
    )  # fmt: skip


def least_flow(mine: Outcome, best: Outcome) -> float:
    """What went on the air in the worst half minute of a run, as a share of what the other policy sent in it, of the same traffic."""
    shares = [1.0]
    for start in range(int(WARM_UP_SECONDS), min(len(mine.by_second), len(best.by_second)) - _FLOW_SECONDS, _FLOW_SECONDS):
        sent, wanted = (sum(row[2] for row in one.by_second[start : start + _FLOW_SECONDS]) for one in (mine, best))
        if wanted:
            shares.append(sent / wanted)
    return min(shares)


def _back(rows: list[list[int]], troubles: list[tuple[str, float, float]]) -> float:
    if not troubles:
        return 0.0
    end = int(max(until for *_, until in troubles))
    for start in range(end, len(rows) - 10):
        block = rows[start : start + 10]
        if sum(row[1] for row in block) >= _NORMAL * sum(row[0] for row in block):
            return float(start - end)
    return float(len(rows) - end)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _busiest(paces: list[float]) -> float:
    mean = statistics.fmean(paces) if paces else 0.0
    return max(paces) / mean if mean else 0.0
