from typing import Any

import pytest

from router.cli.config import environment_of, load_settings, without_password
from router.cli.demo_report import Journey, Outcome, print_outcome
from router.cli.messages import events_of, print_journey
from router.cli.output import ago, print_table, shown

ATTEMPT = {
    "number": 1, "seed": "603010000000001", "carrier": "60301", "state": "silent", "why": "score 0.52", "assigned_at": 100.1,
    "handed_at": 100.2, "lease_until": 108.2, "radio_at": None, "sent_at": None, "delivered_at": None, "ended_at": 110.2,
    "error": None,
}  # fmt: skip
SECOND = ATTEMPT | {
    "number": 2, "seed": "603010000000002", "state": "sent", "why": "passed over: 1 tried", "assigned_at": 110.3,
    "handed_at": 110.4, "lease_until": 118.4, "radio_at": 110.5, "sent_at": 110.6, "ended_at": 110.6,
}  # fmt: skip
TRACE: dict[str, Any] = {
    "message": {
        "id": "wg_1", "account": "ac_1", "dialect": "gatewire", "kind": "otp", "to": "+2136*****01", "carrier": "60301",
        "carrier_name": "Mobilis", "state": "verified", "reason": None, "attempts": 2, "seed": "603010000000002",
        "created_at": 100.0, "ended_at": 112.0, "seconds_to_sent": 10.6,
    },
    "lane": "otp", "parts": 1, "expires_at": 400.0, "parked_at": None, "verified_at": 112.0, "price": 5,
    "attempts": [ATTEMPT, SECOND],
}  # fmt: skip


class TestJourney:
    def test_in_order_since_acceptance(self) -> None:
        events = [(round(at, 3), number, what) for at, number, what, _, _ in events_of(TRACE)]

        assert events == [
            (0.0, None, "accepted"),
            (0.1, 1, "assigned"),
            (0.2, 1, "handed over"),
            (10.2, 1, "silent"),
            (10.3, 2, "assigned"),
            (10.4, 2, "handed over"),
            (10.5, 2, "given to the radio"),
            (10.6, 2, "sent"),
            (12.0, None, "verified"),
        ]

    def test_says_why(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_journey(TRACE)

        printed = capsys.readouterr().out
        assert "score 0.52" in printed
        assert "passed over: 1 tried" in printed
        assert "may send until +8.200" in printed

    def test_end_without_a_seed(self) -> None:
        """A message that expired in the parking lot."""
        message = TRACE["message"] | {"state": "expired", "reason": "no seed in time", "ended_at": 400.0}
        events = events_of(TRACE | {"message": message, "attempts": [], "parked_at": 100.5, "verified_at": None})

        assert [what for _, _, what, _, _ in events] == ["accepted", "parked", "expired"]
        assert events[-1][-1] == "no seed in time"


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
