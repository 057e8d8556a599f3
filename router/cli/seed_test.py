"""Begins a seed's reliability test and follows it, with what is known of it on stderr meanwhile."""

import time
from typing import Any

from router.cli.client import OperatorClient, path_of

_LOOK_EVERY_SECONDS = 0.5
_GRACE_SECONDS = 5.0
_LOST_STATES = frozenset({"failed", "cancelled", "expired"})
"""Of the SMS: it will not be sent any more, short of a late word of the phone."""


def follow(router: OperatorClient, imsi: str, wait_seconds: float | None) -> dict[str, Any]:
    """The test as it stands when it is over, its SMS has failed, or the time is up. Raises `CliError`."""
    from rich.console import Console

    test: dict[str, Any] = router.post(path_of("seeds", imsi, "tests"), {})
    began = time.monotonic()
    longest = test["deadline"] - test["started_at"] + _GRACE_SECONDS if wait_seconds is None else wait_seconds
    with Console(stderr=True).status(_words(test, 0.0)) as status:
        while not _is_over(test) and (passed := time.monotonic() - began) < longest:
            time.sleep(_LOOK_EVERY_SECONDS)
            test = router.get(path_of("seeds", imsi, "tests", str(test["id"])))
            status.update(_words(test, passed))
    return test


def _is_over(test: dict[str, Any]) -> bool:
    return test["status"] != "pending" or test["message_state"] in _LOST_STATES


def _words(test: dict[str, Any], seconds: float) -> str:
    """What the test waits for."""
    waits = {None: "being recorded", "pending": "waiting for the seed", "dispatched": "at the seed", "sent": "sent, not arrived yet"}
    return f"test {test['id']}: {waits.get(test['message_state'], test['message_state'])} ({seconds:.0f} s)"
