"""Routing and failover: which seeds are chosen, why others are not, and what is taken from a seed again."""

from typing import Any

from deploy.grafana.board import Row, board
from deploy.grafana.panels import Query, series

UID = "seedrouter-routing"
_BY_CARRIER = '{carrier=~"$carrier"}'


def dashboard() -> dict[str, Any]:
    """seedrouter-routing."""
    return board(
        UID, "Seedrouter / Routing and failover", "Which seeds are chosen, why others are not, and what is taken from a seed again.",
        [Row("Choices", _choices()), Row("Failover", _failover()), Row("Waiting", _waiting()), Row("What phones say", _phones())],
    )  # fmt: skip


def _choices() -> list[Any]:
    return [
        series(
            1, "Choices by outcome",
            "Per second: a seed of the own carrier, of another one, none (parked), or one whose record then refused.",
            "parked: no seed has room (*Seeds and capacity*). Refused much: dispatchers' copies of the fleet are old, see *Loop lag*.",
            "cps", Query("sum by (outcome) (rate(seedrouter_choices_total[$__rate_interval]))", "{{outcome}}"), stacked=True,
        ),
        series(
            2, "Passed over, by reason", "Seeds per second that were looked at for a message and could not have it.",
            "quota used, no room: too few SIMs. tripped, not known good: phones fail. offline: phones come and go. "
            "`seedrouter messages trace ID` tells the same of one message.",
            "cps", Query("sum by (reason) (rate(seedrouter_passed_over_total[$__rate_interval]))", "{{reason}}"), stacked=True,
        ),
        series(
            3, "Attempts per message", "Attempts begun ÷ messages given to their first seed. 1 is best; what is above it are failovers.",
            "one carrier is high: its phones fail or do not fetch. All: phones cannot reach the api.",
            "none",
            Query(
                f"sum by (carrier) (rate(seedrouter_attempts_total{_BY_CARRIER}[5m])) / "
                f"sum by (carrier) (rate(seedrouter_messages_dispatched_total{_BY_CARRIER}[5m]))", "{{carrier}}",
            ),
            decimals=2,
        ),
        series(
            4, "Fairness",
            "Messages to the busiest seed ÷ the mean of the online seeds, of the last 5 minutes; 1 is even, 0 nothing given out.",
            "high with much traffic: the others have no room, fail, or are slow (`seedrouter seeds list`). With little it says nothing.",
            "none", Query(f"max by (carrier) (seedrouter_seed_load_max_ratio{_BY_CARRIER})", "{{carrier}}"), decimals=1,
        ),
    ]  # fmt: skip


def _failover() -> list[Any]:
    return [
        series(
            10, "Failovers by reason", "Messages per second that were taken from a seed for another.",
            "unfetched: the phone went offline. silent: it fetched and said nothing. failed: its radio or carrier. returned: it gave them "
            "back.",
            "cps", Query("sum by (reason) (rate(seedrouter_failovers_total[$__rate_interval]))", "{{reason}}"), stacked=True,
        ),
        series(
            11, "Failovers per first attempt",
            "The budget is 0.2 of the first attempts: above it messages go only to seeds known to be good.",
            "a storm: something that many seeds share (a network, the proxy, a carrier). See the runbook.",
            "percentunit",
            Query("sum(rate(seedrouter_failovers_total[5m])) / sum(rate(seedrouter_messages_dispatched_total[5m]))", "failovers"),
            alerts=["FailoverStorm"],
        ),
        series(
            12, "Ambiguous attempts", "Share of the attempts of which nobody knows whether they went out.",
            "phones die or lose the network between leave and report. Many from one seed: look at that phone.",
            "percentunit",
            Query(
                f"sum by (carrier) (rate(seedrouter_ambiguous_total{_BY_CARRIER}[15m])) / "
                f"sum by (carrier) (rate(seedrouter_attempts_total{_BY_CARRIER}[15m]))", "{{carrier}}",
            ),
            alerts=["AmbiguousHigh"],
        ),
        series(
            13, "Sent more than once", "Messages within an hour that two seeds report as sent.",
            "a phone sends after its lease, or the account's policy is to send again what is ambiguous. The log says `message.duplicate`.",
            "short", Query(f"sum by (carrier) (increase(seedrouter_duplicates_total{_BY_CARRIER}[1h]))", "{{carrier}}"),
            alerts=["MessagesDuplicated"], decimals=0,
        ),
    ]  # fmt: skip


def _waiting() -> list[Any]:
    return [
        series(
            20, "Parked", "Messages that wait for a seed, by carrier.",
            "it grows: seeds of that carrier are offline, full or out of quota. They go out as soon as there is room, or expire.",
            "short", Query(f"max by (carrier) (seedrouter_parked{_BY_CARRIER})", "{{carrier}}"), stacked=True, decimals=0,
        ),
        series(
            21, "Parkings", "Times per second that a message had to wait.",
            "now and then in a burst is how it should be; all the time means too few SIMs of that carrier.",
            "cps", Query(f"sum by (carrier) (rate(seedrouter_parkings_total{_BY_CARRIER}[$__rate_interval]))", "{{carrier}}"), stacked=True,
        ),
        series(
            22, "Breakers open", "Online seeds that failed twice in a row and are left alone for a while.",
            "many of one carrier at once: the carrier blocks or its network is down. A few: those phones; `seedrouter seeds list` names "
            "them.",
            "short", Query(f"max by (carrier) (seedrouter_seeds_tripped{_BY_CARRIER})", "{{carrier}}"), stacked=True, decimals=0,
        ),
        series(
            23, "Refused for want of a seed",
            "Submissions per second answered with 503: no seed of the country online, or Redis or queue away.",
            "no_seed: phones of the whole country are offline. unavailable: see *Queue and Redis*.",
            "cps",
            Query(
                'sum by (reason) (rate(seedrouter_requests_refused_total{reason=~"no_seed|unavailable"}[$__rate_interval]))', "{{reason}}"
            ),
        ),
    ]  # fmt: skip


def _phones() -> list[Any]:
    return [
        series(
            30, "Reports by state", "What phones say of their attempts, per second; only what changed something.",
            "failed rises: see *Failovers by reason*. sent is missing although radio is there: phones do not hear from their carrier.",
            "cps", Query('sum by (state) (rate(seedrouter_reports_total{result="accepted"}[$__rate_interval]))', "{{state}}"),
        ),
        series(
            31, "Stale reports", "Share of the reports that came too late, twice, or of what is not theirs.",
            "phones report after their lease: slow networks, or clocks that are off. Some are normal after a failover.",
            "percentunit",
            Query('sum(rate(seedrouter_reports_total{result="stale"}[5m])) / sum(rate(seedrouter_reports_total[5m]))', "stale"), ceiling=1,
        ),
        series(
            32, "Time to hand-over, p95", "From acceptance until a seed had the message, by carrier.",
            "high: messages wait for a seed or for its fetch. Low, with a high time to sent: phones are slow.",
            "s",
            Query(
                f"histogram_quantile(0.95, sum by (le, carrier) (rate(seedrouter_handover_seconds_bucket{_BY_CARRIER}[$__rate_interval])))",
                "{{carrier}}",
            ),
        ),
        series(
            33, "Time to sent, p95, by carrier", "From acceptance until a seed had sent the message, plain SMS included.",
            "one carrier alone: its phones or its network. Compare with the hand-over beside it.",
            "s",
            Query(
                f"histogram_quantile(0.95, sum by (le, carrier) (rate(seedrouter_sent_seconds_bucket{_BY_CARRIER}[$__rate_interval])))",
                "{{carrier}}",
            ),
        ),
    ]  # fmt: skip
