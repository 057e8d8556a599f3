"""One trial of `bench kill`: producers, consumers and a Redis at work, one kind of them killed again and again, and the ledgers judged."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.kill_check import AGAIN, ATTEMPT, CONFIRM, TAKE, Counts, confirmations_of, judge, lines_in, read, taken_from_the_living
from bench.kill_consumer import ConsumerPlan
from bench.kill_producer import ProducerPlan
from bench.queue_brokers import Side
from bench.queue_redis import RedisChild
from router.lifeline import PARENT_PID

Nemesis = Literal["consumer", "producer", "redis", "redis-everysec", "flush"]
NEMESES: Final[tuple[Nemesis, ...]] = ("consumer", "producer", "redis", "redis-everysec")
"""Those that may lose nothing. `flush` throws away what waits: it is there to show that a loss is seen."""

_POLL_SECONDS: Final = 0.005
_STALL_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_JITTER_SECONDS: Final = 0.03
_DOWN_SECONDS: Final = 0.3
_MIDST_SECONDS: Final = 0.006
"""So long after a producer noted what it is about to publish, at most, it is killed."""
_FIRST_KILL, _LAST_KILL = 0.02, 0.9


class TrialPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`rate`: entries per second of all producers together, 0 for as many as they can. `patience_seconds`: when nothing came for so long,
    nothing will.
    """

    broker: str
    nemesis: Nemesis
    messages: int
    kills: int
    seed: int
    producers: int = 2
    consumers: int = 3
    prefetch: int = 100
    work_ms: float = 0.5
    rate: float = 2000.0
    visibility_seconds: float = 2.0
    patience_seconds: float = 15.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`held`: left on the broker, unacknowledged, when all was over. `marked`: consumed with the transport's mark of an earlier delivery.
    `from_living`: consumed once more though the consumer before was not killed (its connection was, where Redis dies).
    `late_help`: entries that only a consumer added at the end took, because those that were there took no more.
    """

    counts: Counts
    kills: int
    held: int
    marked: int
    from_living: int
    late_help: int
    seconds: float
    lost_ids: list[str]


class _Child:
    """A producer or a consumer. Killed by its own pid and no other."""

    def __init__(self, module: str, plan: ConsumerPlan | ProducerPlan) -> None:
        self.plan = plan
        self.ledger = Path(plan.ledger)
        self.killed = False
        with self.ledger.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, msgspec.json.encode(plan).decode()],
                env=os.environ | {PARENT_PID: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        """kill -9."""
        self.killed = True
        self._process.kill()
        self._process.wait(_STOP_SECONDS)

    def ask_to_stop(self) -> None:
        if self.alive:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Until it has ended, by force when it takes too long."""
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


class Trial:
    """Raises RuntimeError where the trial itself comes to nothing: a process that ends by itself, or work that stands still."""

    def __init__(self, plan: TrialPlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._rng = random.Random(f"{plan.seed} {plan.nemesis}")
        self._redis = RedisChild(folder / "redis", "always" if plan.nemesis == "redis" else "everysec")
        self._side = Side(plan.broker, self._redis.port, plan.visibility_seconds)
        self._consumers: list[_Child] = []
        self._producers: list[_Child] = []
        self._numbers = itertools.count()
        self._journal: list[str] = []

    def run(self) -> Outcome:
        """Everything that it started has ended when this returns or raises."""
        started = time.monotonic()
        try:
            self._redis.start()
            for _ in range(self._plan.consumers):
                self._add_consumer()
            for share in _shares(self._plan.messages, self._plan.producers):
                self._add_producer(share)
            kills = self._kill_all()
            self._wait(lambda: not any(child.alive for child in self._producers), "the producers to end")
            late_help = self._drain()
            held = self._settle()
            self._end(self._consumers)
            return self._outcome(kills, held, late_help, time.monotonic() - started)
        finally:
            for child in (*self._producers, *self._consumers):
                if child.alive:
                    child.kill()
            self._redis.kill()
            (self._folder / "journal").write_text("\n".join(self._journal) + "\n")

    def _add_consumer(self) -> None:
        number = next(self._numbers)
        plan = ConsumerPlan(
            self._side, str(self._folder / f"consumer-{number:04d}"), self._plan.prefetch, self._plan.work_ms, self._rng.getrandbits(32)
        )
        self._consumers.append(_Child("bench.kill_consumer", plan))

    def _add_producer(self, count: int) -> None:
        number = next(self._numbers)
        rate = self._plan.rate / self._plan.producers
        ledger = str(self._folder / f"producer-{number:04d}")
        plan = ProducerPlan(self._side, ledger, f"P{number:04d}", count, rate, self._rng.getrandbits(32))
        self._producers.append(_Child("bench.kill_producer", plan))

    def _kill_all(self) -> int:
        """The kills, each when so many entries have gone by, so that none falls outside of the work. Gives their number."""
        messages = self._plan.messages
        first, last = int(messages * _FIRST_KILL), int(messages * _LAST_KILL)
        moments = sorted(self._rng.sample(range(first, last), self._plan.kills))
        progress = self._attempted if self._plan.nemesis == "producer" else self._consumed
        for moment in moments:
            self._wait(lambda moment=moment: progress() >= moment, f"entry {moment}")  # type: ignore[misc]
            if self._plan.nemesis != "producer":
                time.sleep(self._rng.uniform(0.0, _JITTER_SECONDS))
            self._strike()
        return len(moments)

    def _strike(self) -> None:
        match self._plan.nemesis:
            case "consumer":
                self._kill_consumer()
            case "producer":
                self._kill_producer()
            case "flush":
                self._note("flushes redis")
                self._redis.flush()
            case _:
                self._kill_redis()

    def _kill_consumer(self) -> None:
        self._kill(self._rng.choice(self._wait_for_busy(self._consumers)))
        self._add_consumer()

    def _kill_producer(self) -> None:
        victim = self._rng.choice(self._wait_for_busy(self._producers))
        # It is to be found publishing, not asleep
        before, deadline = lines_in(victim.ledger), time.monotonic() + _STALL_SECONDS
        while victim.alive and lines_in(victim.ledger) == before and time.monotonic() < deadline:
            time.sleep(_MIDST_SECONDS / 20)
        time.sleep(self._rng.uniform(0.0, _MIDST_SECONDS))
        self._kill(victim)
        assert isinstance(victim.plan, ProducerPlan)
        if rest := victim.plan.count - len(read([victim.ledger], ATTEMPT)):
            self._add_producer(rest)

    def _kill(self, victim: _Child) -> None:
        self._note(f"kills {victim.ledger.name} after {lines_in(victim.ledger)} lines")
        victim.kill()

    def _kill_redis(self) -> None:
        self._note("kills redis")
        self._redis.kill()
        time.sleep(self._rng.uniform(0.0, _DOWN_SECONDS))
        self._redis.start()
        self._note("redis is back")

    def _wait_for_busy(self, children: list[_Child]) -> list[_Child]:
        """Those that live and have begun; a process that still imports its modules would be no victim."""

        def busy() -> list[_Child]:
            proofs = ((child, confirmations_of(child.ledger) if children is self._producers else child.ledger) for child in children)
            return [child for child, proof in proofs if child.alive and lines_in(proof)]

        self._wait(lambda: bool(busy()), "a process at work")
        return busy()

    def _drain(self) -> int:
        """Until all that was acknowledged has been consumed, or nothing more comes. Gives what came after a consumer was added to help."""
        acknowledged = set(self._acknowledged())
        before_help: int | None = None
        seen, since = -1, time.monotonic()
        while not acknowledged <= set(read(self._ledgers(self._consumers), TAKE + AGAIN)):
            if (now := self._consumed()) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > self._plan.patience_seconds:
                if before_help is not None:
                    break
                self._note("nothing comes any more: one more consumer")
                self._add_consumer()
                before_help, since = now, time.monotonic()
            time.sleep(0.2)
        return 0 if before_help is None else self._consumed() - before_help

    def _settle(self) -> int:
        """What a dead consumer consumed and did not acknowledge comes again, and is counted. Gives what is left in the end."""
        deadline = time.monotonic() + self._plan.patience_seconds
        while (held := self._redis.held()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return held

    @staticmethod
    def _end(children: list[_Child]) -> None:
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.wait()

    def _outcome(self, kills: int, held: int, late_help: int, seconds: float) -> Outcome:
        made, taken = self._ledgers(self._producers), self._ledgers(self._consumers)
        consumed = read(taken, TAKE + AGAIN)
        acknowledged = self._acknowledged()
        return Outcome(
            counts=judge(read(made, ATTEMPT), acknowledged, consumed),
            kills=kills,
            held=held,
            marked=len(read(taken, AGAIN)),
            from_living=taken_from_the_living(
                (child.ledger for child in self._consumers if child.killed), (child.ledger for child in self._consumers if not child.killed)
            ),
            late_help=late_help,
            seconds=round(seconds, 1),
            lost_ids=sorted(set(acknowledged).difference(consumed)),
        )

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        """Raises RuntimeError when a process ended that nobody killed, and when nothing moves."""
        seen, since = (-1, -1), time.monotonic()
        while not done():
            for child in (*self._consumers, *self._producers):
                if not child.killed and child.exit_code:
                    raise RuntimeError(f"{child.ledger.name} ended with {child.exit_code}: {_tail(child.ledger.with_suffix('.log'))}")
            if (now := (self._attempted(), self._consumed())) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > _STALL_SECONDS:
                living = [child for child in (*self._consumers, *self._producers) if child.alive]
                told = "\n".join(_tail(child.ledger.with_suffix(".log"), 500) for child in living)
                raise RuntimeError(f"waited in vain for {what}: {now[0]} attempted, {now[1]} consumed, and nothing moves\n{told}")
            time.sleep(_POLL_SECONDS)

    def _attempted(self) -> int:
        return sum(lines_in(child.ledger) for child in self._producers)

    def _consumed(self) -> int:
        return sum(lines_in(child.ledger) for child in self._consumers)

    def _acknowledged(self) -> list[str]:
        return read((confirmations_of(child.ledger) for child in self._producers), CONFIRM)

    @staticmethod
    def _ledgers(children: list[_Child]) -> list[Path]:
        return [child.ledger for child in children]

    def _note(self, what: str) -> None:
        self._journal.append(f"{time.time():.6f} {what}")


def _shares(messages: int, among: int) -> list[int]:
    return [messages // among + (1 if i < messages % among else 0) for i in range(among)]


def _tail(path: Path, characters: int = 2000) -> str:
    return path.read_text(errors="replace")[-characters:]
