from typing import Any

import pytest

from router.cli.config import environment_of, load_settings, without_password
from router.cli.demo_report import Journey, Outcome, print_outcome
from router.cli.messages import print_journey
from router.cli.output import ago, print_table, shown


def step(since: float, what: str, attempt: int | None = None, seed: str = "", says: str = "") -> dict[str, Any]:
    return {"at": 100.0 + since, "since": since, "after": 0.0, "what": what, "kind": "seed", "attempt": attempt, "seed": seed, "says": says}


TRACE: dict[str, Any] = {
    "message": {
        "id": "wg_1", "account": "ac_1", "dialect": "gatewire", "kind": "otp", "to": "+2136*****01", "carrier": "60301",
        "carrier_name": "Mobilis", "state": "verified", "reason": None, "attempts": 2, "seed": "603010000000002",
        "created_at": 100.0, "ended_at": 112.0, "seconds_to_sent": 10.6,
    },
    "lane": "otp", "parts": 1, "expires_at": 400.0, "parked_at": None, "verified_at": 112.0, "price": 5, "attempts": [],
    "journey": [
        step(0.0, "accepted"), step(0.1, "assigned", 1, "603010000000001", "score 0.52"), step(10.2, "went silent", 1, "603010000000001"),
        step(10.3, "assigned", 2, "603010000000002", "passed over: 1 tried"), step(10.6, "sent", 2, "603010000000002"),
    ],
}  # fmt: skip


def test_a_journey_has_a_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    """In their order, with the time since acceptance, and why."""
    print_journey(TRACE)

    printed = capsys.readouterr().out
    lines = [line.split("│")[1:-1] for line in printed.splitlines() if "│ +" in line]
    assert [
        ["+0.000", "–", "accepted", "–", "–"],
        ["+0.100", "1", "assigned", "603010000000001", "score 0.52"],
        ["+10.200", "1", "went silent", "603010000000001", "–"],
        ["+10.300", "2", "assigned", "603010000000002", "passed over: 1 tried"],
        ["+10.600", "2", "sent", "603010000000002", "–"],
    ] == [[cell.strip() for cell in line] for line in lines]
    assert "Mobilis 60301" in printed


def test_markup_in_a_value_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A template may hold what rich would take for markup."""
    print_table(("key", "text"), [("a", "[bold]{code}[/nonsense] :smile:")])

    assert "[bold]{code}[/nonsense] :smile:" in capsys.readouterr().out


def test_empty_table_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id",), [], empty="none yet: make one")

    assert capsys.readouterr().out.strip() == "none yet: make one"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), ("", "–"), (True, "yes"), (False, "no"), (0, "0"), (1.5, "1.5"), (2.0, "2")]
)
def test_shown(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(("at", "text"), [(None, None), (99.0, "1 s ago"), (-100.0, "3 min ago"), (101.0, "0 s ago")])
def test_ago(at: float | None, text: str | None) -> None:
    assert ago(at, 100.0) == text


@pytest.mark.parametrize(
    ("url", "shown_url"),
    [
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("amqp://me:secret@host//", "amqp://me:***@host//"),
        ("unix:///tmp/a.sock?db=0", "unix:///tmp/a.sock?db=0"),
        ("", ""),
    ],
)
def test_passwords_of_urls(url: str, shown_url: str) -> None:
    assert without_password(url) == shown_url


def test_a_child_sees_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting goes to the children by the environment, but no secret does: children read those where their parent did."""
    monkeypatch.setenv("SEEDROUTER_JWT_SECRET", "x" * 40)
    settings = load_settings(port=8123, open_seeds=True, lease_seconds=2.5)
    environment = environment_of(settings)

    assert not any("x" * 40 in value for value in environment.values())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


class TestOutcome:
    def outcome(self, **changes: Any) -> Outcome:
        journeys = [
            Journey(
                id="1",
                carrier="Mobilis",
                state="verified",
                attempts=[("s1", "silent"), ("s2", "sent")],
                seconds=4.0,
                times_on_air=1,
            ),
            Journey(id="2", carrier="Djezzy", state="verified", attempts=[("s3", "sent")], seconds=1.0, times_on_air=1),
        ]
        fields = {
            "journeys": journeys,
            "killed": ["s1"],
            "balance_before": 100,
            "balance_after": 90,
            "price": 5,
            "took_seconds": 6.0,
        }
        return Outcome(**(fields | changes))

    def test_good(self, capsys: pytest.CaptureFixture[str]) -> None:
        outcome = self.outcome()
        print_outcome(outcome)

        assert outcome.ok
        assert outcome.failovers == {"silent": 1}
        assert outcome.percentiles() == {"p50": 1.0, "p95": 4.0, "p99": 4.0}
        assert "On the air twice: 0" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"balance_after": 95}, "the wallet holds 95"),
            (
                {
                    "journeys": [
                        Journey(id="1", carrier="", state="verified", attempts=[("s", "sent")], seconds=1.0, times_on_air=1)
                    ]
                },
                "no failover",
            ),
            (
                {"journeys": [Journey(id="1", carrier="", state="sent", attempts=[], seconds=None, times_on_air=2)]},
                "1 codes did not end verified; 1 messages were on the air twice",
            ),
        ],
    )
    def test_bad(self, changes: dict[str, Any], problem: str) -> None:
        outcome = self.outcome(**changes)

        assert not outcome.ok
        assert problem in "; ".join(outcome.problems)
