from typing import Any

import pytest

from router.domain.rules import Rules
from router.domain.seed import Seed
from router.services.seed_view import seed_view, state_of

NOW = 10_000.0
RULES = Rules()


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "online"),
        ({"consecutive_failures": 2, "failed_at": NOW}, "tripped"),
        ({"rest_seconds": 60.0, "last_given_at": NOW}, "resting"),
        ({"carrier": ""}, "no carrier"),
        ({"draining": True}, "draining"),
        ({"lps": NOW - 3600, "draining": True}, "offline"),
        ({"enabled": False, "lps": NOW - 3600}, "disabled"),
        ({"enrolled": False}, "not enrolled"),
    ],
)
def test_state_of_a_seed(change: dict[str, Any], state: str) -> None:
    """One word for why it is given messages, or not: the same in the command line, the operator API and the console."""
    seed = Seed(**{"id": "S", "carrier": "60301", "enrolled": True, "lps": NOW} | change)

    assert state == state_of(seed, NOW, RULES)
    assert state == seed_view(seed, NOW, RULES).state
