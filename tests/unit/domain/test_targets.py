from router.domain.targets import Targets, Try
from router.domain.webhooks import WebhookRules

GOOD, BAD = "https://good.example:443", "https://bad.example:443"
RULES = WebhookRules(
    per_target=4, total=20, breaker_failures=3, breaker_pause_seconds=5.0, breaker_pause_max_seconds=15.0
)  # fmt: skip


class Story:
    """Targets, and a clock."""

    def __init__(self, rules: WebhookRules = RULES) -> None:
        self.targets = Targets(rules)
        self.now = 1000.0

    def begin(self, target: str, count: int = 1) -> list[Try]:
        return [self.targets.begin(target, self.now) for _ in range(count)]

    def end(self, *tries: Try, ok: bool | None) -> list[float | None]:
        return [self.targets.end(one, self.now, is_success=ok) for one in tries]

    def fail(self, target: str, times: int) -> float | None:
        """One after the other; answers until when the breaker is open."""
        until = None
        for _ in range(times):
            self.now += 1.0
            (until,) = self.end(*self.begin(target), ok=False)
        return until

    def succeed(self, target: str) -> None:
        self.end(*self.begin(target), ok=True)

    def room(self, target: str) -> int:
        return self.targets.room(target, self.now)


def test_bound_per_target() -> None:
    """So many at a time to one target, and a place is free again when one ends."""
    story = Story()
    tries = story.begin(GOOD, 4)

    assert 0 == story.room(GOOD)
    assert 4 == story.room(BAD)
    story.end(tries[0], ok=True)
    assert 1 == story.room(GOOD)


def test_bound_in_all() -> None:
    """So many at a time in all."""
    story = Story()
    for number in range(5):
        story.succeed(str(number))
        story.begin(str(number), 4)
    story.succeed(GOOD)

    assert 20 == story.targets.in_flight
    assert 0 == story.room(GOOD)


def test_those_not_known_to_be_good_share_half() -> None:
    """However many targets hang that never answered, half of the places are left for those that did."""
    story = Story()
    story.succeed(GOOD)
    begun = 0
    for number in range(100):
        begun += len(story.begin(f"hangs {number}", story.room(f"hangs {number}")))

    assert 10 == begun
    assert 4 == story.room(GOOD)


def test_one_at_a_time_after_a_failure() -> None:
    """A success gives the places back."""
    story = Story()
    story.fail(BAD, 1)

    assert 1 == story.room(BAD)
    story.succeed(BAD)
    assert 4 == story.room(BAD)


def test_breaker() -> None:
    """Opens after failures in a row; then one probe, and a pause that doubles up to its bound."""
    story = Story()

    assert story.fail(BAD, 2) is None
    pauses = []
    for _ in range(4):
        until = story.fail(BAD, 1)
        assert until is not None
        pauses.append(until - story.now)
        assert 0 == story.room(BAD)
        assert 1 == story.targets.open_breakers(story.now)
        story.now = until
        assert 1 == story.room(BAD)
    assert [5.0, 10.0, 15.0, 15.0] == pauses


def test_success_closes_the_breaker() -> None:
    """And failures count from one again."""
    story = Story()
    until = story.fail(BAD, 3)
    assert until is not None
    story.now = until
    story.succeed(BAD)

    assert 4 == story.room(BAD)
    assert 0 == story.targets.open_breakers(story.now)
    assert story.fail(BAD, 2) is None


def test_failures_of_one_cause_count_once() -> None:
    """What was on its way when the breaker opened does not lengthen the pause."""
    story = Story(WebhookRules(per_target=4, total=20, breaker_failures=2, breaker_pause_seconds=5.0))
    tries = story.begin(BAD, 4)
    story.now += 1.0

    assert [None, story.now + 5.0, None, None] == story.end(*tries, ok=False)
    story.now += 5.0
    assert [story.now + 10.0] == story.end(*story.begin(BAD), ok=False)


def test_nothing_learnt() -> None:
    """A try that never went out says nothing of its target."""
    story = Story()
    story.fail(BAD, 2)

    assert [None] == story.end(*story.begin(BAD), ok=None)
    assert 1 == story.room(BAD)
    assert story.fail(BAD, 1) is not None


def test_idle_targets_are_forgotten() -> None:
    """Memory is bounded, and what is under way or paused is kept."""
    story = Story()
    story.begin(GOOD)
    story.fail(BAD, 3)
    for number in range(10_001):
        story.succeed(f"once {number}")

    assert len(story.targets._states) < 100
    assert 3 == story.room(GOOD)
    assert 0 == story.room(BAD)
