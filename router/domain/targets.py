"""How many deliveries a courier has on their way to each target, and a breaker per target: one that is dead or hangs holds up nobody.

A target is a scheme, a host and a port. One whose last try failed gets one delivery at a time, and those that are not known to be good
share half of all places: however many hang at once, the others have room. After some failures in a row the breaker opens for a pause that
doubles; then one probe goes out.
"""

import msgspec

from router.domain.webhooks import WebhookRules

_KEPT = 10_000


class _State(msgspec.Struct):
    in_flight: int = 0
    failures: int = 0
    """In a row."""
    is_proven: bool = False
    """Its last try was a success."""
    opened_at: float = 0.0
    paused_until: float = 0.0


class Try(msgspec.Struct, frozen=True):
    """One delivery on its way."""

    target: str
    began_at: float
    was_proven: bool


class Targets:
    """One per courier. Times are Unix seconds."""

    def __init__(self, rules: WebhookRules) -> None:
        self._rules = rules
        self._states: dict[str, _State] = {}
        self._in_flight = 0
        self._unproven = 0

    def __repr__(self) -> str:
        return f"<Targets {len(self._states)}, {self._in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def room(self, target: str, now: float) -> int:
        """How many deliveries may begin now."""
        rules, state = self._rules, self._states.get(target, _State())
        left = rules.total - self._in_flight
        if state.failures >= rules.breaker_failures and now < state.paused_until:
            return 0
        if not state.is_proven:
            left = min(left, max(1, rules.total // 2) - self._unproven)
        own = 1 if state.failures else rules.per_target
        return max(0, min(left, own - state.in_flight))

    def begin(self, target: str, now: float) -> Try:
        """One more is on its way; `end` has to be told of it, once."""
        state = self._states.setdefault(target, _State())
        state.in_flight += 1
        self._in_flight += 1
        self._unproven += not state.is_proven
        return Try(target, now, was_proven=state.is_proven)

    def end(self, ended: Try, now: float, *, is_success: bool | None) -> float | None:
        """None: nothing was learnt of the target. Answers until when its breaker is open, where this opened it."""
        state = self._states[ended.target]
        state.in_flight -= 1
        self._in_flight -= 1
        self._unproven -= not ended.was_proven
        if is_success is None:
            return None
        until = self._succeeded(state) if is_success else self._failed(state, ended.began_at, now)
        if len(self._states) > _KEPT:
            self._forget(now)
        return until

    def open_breakers(self, now: float) -> int:
        """How many targets are paused."""
        return sum(now < state.paused_until for state in self._states.values())

    @staticmethod
    def _succeeded(state: _State) -> None:
        state.failures = 0
        state.is_proven = True
        state.paused_until = 0.0

    def _failed(self, state: _State, began_at: float, now: float) -> float | None:
        rules = self._rules
        state.is_proven = False
        if began_at < state.opened_at:
            # What was on its way when the breaker opened failed of the same cause
            return None
        state.failures += 1
        beyond = state.failures - rules.breaker_failures
        if beyond < 0:
            return None
        state.opened_at = now
        state.paused_until = now + min(rules.breaker_pause_seconds * 2.0 ** min(beyond, 40), rules.breaker_pause_max_seconds)
        return state.paused_until

    def _forget(self, now: float) -> None:
        """Idle targets without a pause: what was known of them is found out again."""
        self._states = {name: state for name, state in self._states.items() if state.in_flight or now < state.paused_until}
