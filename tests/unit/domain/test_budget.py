import pytest

from router.domain.rules import Rules
from router.domain.selection import FailoverBudget


def budget(share: float = 0.25, burst: float = 4.0) -> FailoverBudget:
    return FailoverBudget(Rules(failover_budget=share, failover_budget_burst=burst))


def spend_all(tokens: FailoverBudget, at: float = 0.0) -> int:
    spent = 0
    while not tokens.is_used_up(at):
        tokens.failover()
        spent += 1
    return spent


def test_starts_full() -> None:
    """A new dispatcher may move a burst of messages before it has sent any."""
    assert spend_all(budget()) == 4


def test_share_of_first_attempts() -> None:
    """After the burst, each failover is paid for by first attempts: at a share of 0.25, by four of them."""
    tokens = budget()
    spend_all(tokens)
    for _ in range(3):
        tokens.first_attempt()

        assert tokens.is_used_up(0.0)

    tokens.first_attempt()

    assert spend_all(tokens) == 1


def test_long_run() -> None:
    """In the long run failovers are the share of first attempts, and the burst."""
    tokens, failovers = budget(share=0.2, burst=50.0), 0
    for _ in range(10_000):
        tokens.first_attempt()
        if not tokens.is_used_up(0.0):
            tokens.failover()
            failovers += 1

    assert failovers == pytest.approx(2_000 + 50, abs=2)


def test_quiet_times_save_no_more_than_the_burst() -> None:
    """However many first attempts went well, a storm may use the burst and no more."""
    tokens = budget()
    for _ in range(1_000):
        tokens.first_attempt()

    assert spend_all(tokens) == 4


def test_debt_is_not_kept() -> None:
    """Failovers past the budget, on seeds known to be good, are not paid back later."""
    tokens = budget()
    for _ in range(100):
        tokens.failover()
    for _ in range(4):
        tokens.first_attempt()

    assert not tokens.is_used_up(0.0)


def test_some_come_with_time() -> None:
    """Without any traffic a storm's last messages still move, a few a second."""
    tokens = budget()
    spend_all(tokens)

    assert tokens.is_used_up(0.9)
    assert not tokens.is_used_up(1.1)
    tokens.failover()
    assert tokens.is_used_up(1.2)
    assert 4 == spend_all(tokens, at=1000.0)


def test_none() -> None:
    """A budget of nothing allows nothing."""
    assert budget(share=0.0, burst=0.0).is_used_up(0.0)


def test_repr() -> None:
    """It tells its state."""
    tokens = budget()
    tokens.failover()

    assert repr(tokens) == "<FailoverBudget 3.0 of 4>"
