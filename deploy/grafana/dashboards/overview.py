"""Overview: is it flowing, how fast, and does everything add up?"""

from typing import Any

from deploy.grafana.board import Row, board
from deploy.grafana.panels import Query, figure, series

UID = "seedrouter-overview"
_BY_CARRIER = '{carrier=~"$carrier"}'


def dashboard() -> dict[str, Any]:
    """seedrouter-overview."""
    return board(
        UID, "Seedrouter / Overview", "Is it flowing, how fast, and does everything add up?",
        [
            Row("Right now", _now()),
            Row("Codes", _codes()),
            Row("Messages", _messages()),
            Row("Is everything at work?", _alive()),
            Row("Fraud", _fraud()),
        ],
    )  # fmt: skip


def _rate(verb: str) -> str:
    return f"sum(rate(seedrouter_messages_{verb}_total{_BY_CARRIER}[$__rate_interval]))"


def _quantile(share: float) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate(seedrouter_code_sent_seconds_bucket{_BY_CARRIER}[$__rate_interval])))"


def _now() -> list[Any]:
    return [
        figure(
            1, "Accepted", "Messages accepted per second, all APIs.",
            "nothing accepted in the daytime: look at *Refused* below, then at the proxy and at `/health/ready` of the api.",
            "cps", Query(_rate("accepted")), decimals=2,
        ),
        figure(
            2, "Open", "Messages that are not over: on the queue, parked, at a seed, or sent and not verified yet.",
            "it grows and *Sent* does not: see where they are under *Messages*.",
            "short", Query("seedrouter:messages_open:max"), decimals=0,
        ),
        figure(
            3, "Time to sent, p95", "Codes of the last 5 minutes: 95 of 100 were sent within so many seconds of being accepted.",
            "see by carrier in *Time to sent* below; then the seeds of that carrier.",
            "s", Query("histogram_quantile(0.95, sum by (le) (rate(seedrouter_code_sent_seconds_bucket[5m])))"),
            alerts=["OtpTimeToSentHigh"], decimals=1, nothing="none sent",
        ),
        figure(
            4, "Conversion", "Of the codes sent within the last hour, how many came back right.",
            "the messages arrive late or not at all, whatever phones report, or somebody asks for codes that nobody wants: see *Fraud*.",
            "percentunit",
            Query("sum(carrier:seedrouter_codes_verified:increase1h) / sum(carrier:seedrouter_codes_sent:increase1h)"),
            nothing="none sent",
        ),
        figure(
            5, "Error budget left",
            "Objective: 99 of 100 codes sent within 10 s, over 7 days. What is left of the one that may be late or lost.",
            "below zero the objective is missed: see *Sent within 10 s* for when it was spent, and change nothing that is not urgent.",
            "percentunit",
            Query(
                "1 - (1 - sum_over_time(seedrouter:codes_in_time:rate5m[7d]) / sum_over_time(seedrouter:codes_due:rate5m[7d]))"
                " / (1 - 0.99)"
            ),
            nothing="none due",
        ),
        figure(
            6, "Last heartbeat", "How long the last synthetic message took through the whole pipeline.",
            "the pipeline is slow for real messages too: see *Heartbeat* below.",
            "s", Query("max(seedrouter_heartbeat_seconds)"), alerts=["HeartbeatLate"], decimals=1,
        ),
    ]  # fmt: skip


def _codes() -> list[Any]:
    return [
        series(
            10, "Time to sent", "From acceptance until a seed had sent the code. Plain SMS and bulk are not in it.",
            "one carrier: its seeds are too few, slow or failing (*Seeds and capacity*). All: dispatcher, queue or Redis (*Queue and "
            "Redis*).",
            "s", Query(_quantile(0.5), "p50"), Query(_quantile(0.95), "p95"), Query(_quantile(0.99), "p99"),
            Query(
                f"histogram_quantile(0.95, sum by (le, carrier) (rate(seedrouter_code_sent_seconds_bucket{_BY_CARRIER}[10m])))",
                "p95 {{carrier}}",
            ),
            alerts=["OtpTimeToSentHigh"],
        ),
        series(
            11, "Sent within 10 s",
            "Share of the codes that were due and went out within 10 s. Those that failed or expired unsent count as late.",
            "each dip spends the error budget. Compare with *Time to sent* and *Codes that were never sent* to see which of the two it is.",
            "percentunit", Query("seedrouter:codes_in_time:rate5m / seedrouter:codes_due:rate5m", "within 10 s"),
            Query("vector(0.99)", "objective"), ceiling=1,
        ),
        series(
            12, "Conversion by carrier", "Codes verified ÷ codes sent, of the last hour.",
            "one carrier falls: send yourself a code there. All fall: an application has changed, or somebody pumps codes.",
            "percentunit", Query('carrier:seedrouter_conversion:ratio1h{carrier=~"$carrier"}', "{{carrier}}"), ceiling=1,
        ),
        series(
            13, "Conversion against last week", "Conversion of the last hour ÷ that of the same hour a week ago. Empty in the first week.",
            "below 0.8: codes are sent and do not come back. See the runbook.",
            "percentunit",
            Query(
                'carrier:seedrouter_conversion:ratio1h{carrier=~"$carrier"} / (carrier:seedrouter_conversion:ratio1h offset 1w)',
                "{{carrier}}",
            ),
            alerts=["ConversionDrop"],
        ),
        series(
            14, "Codes that were never sent", "Share of the codes that were due and expired, or failed, before any seed had sent them.",
            "expired: no seed with room (*Parked*). Failed: every attempt was used up (*Failovers by reason*).",
            "percentunit",
            Query(
                f'sum by (carrier) (rate(seedrouter_codes_unsent_total{{state="expired", carrier=~"$carrier"}}[15m])) / '
                f"(sum by (carrier) (rate(seedrouter_codes_unsent_total{_BY_CARRIER}[15m]))"
                f" + sum by (carrier) (rate(seedrouter_codes_sent_total{_BY_CARRIER}[15m])))", "{{carrier}}",
            ),
            Query(
                f'sum(rate(seedrouter_codes_unsent_total{{state="failed", carrier=~"$carrier"}}[15m])) / '
                f"(sum(rate(seedrouter_codes_unsent_total{_BY_CARRIER}[15m])) + sum(rate(seedrouter_codes_sent_total{_BY_CARRIER}[15m])))",
                "failed, all",
            ),
            alerts=["OtpExpiryRateHigh"], width=24,
        ),
    ]  # fmt: skip


def _messages() -> list[Any]:
    verbs = ("accepted", "dispatched", "sent", "verified", "failed", "expired", "cancelled")
    return [
        series(
            20, "Flow", "Messages per second, by how far they came. Sent follows accepted; of codes, verified follows sent.",
            "sent falls behind accepted: see *Where they are*. Expired without sent: nobody had room.",
            "cps", *(Query(_rate(verb), verb) for verb in verbs),
        ),
        series(
            21, "Where they are", "Open messages by where they wait. At seeds: parts, so a long text counts more than once.",
            "on the queue: dispatchers are slow or gone. Parked: seeds of the carrier have no room. At seeds: phones are slow.",
            "short", Query("sum(max by (lane) (seedrouter_queue_depth))", "on the queue"),
            Query('sum(max by (carrier) (seedrouter_parked{carrier=~"$carrier"}))', "parked"),
            Query('sum(max by (carrier) (seedrouter_in_flight_parts{carrier=~"$carrier"}))', "at seeds (parts)"),
            Query("seedrouter:messages_open:max", "open, all"),
        ),
        series(
            22, "Conservation: what became of what was accepted",
            "Per second: accepted (line) is what ended, by how, and what the open ones grew by (areas). The areas fill the line.",
            "they come apart for long: see the next panel.",
            "cps",
            Query("sum by (state) (rate(seedrouter_messages_ended_total[5m]))", "{{state}}"),
            Query("deriv(seedrouter:messages_open:max[5m])", "still open"),
            Query("sum(rate(seedrouter_messages_accepted_total[5m]))", "accepted"),
            stacked=True, floor=None, lines=["accepted"],
        ),
        series(
            23, "Conservation: what does not add up",
            "|accepted − ended − growth of the open ones| ÷ accepted, of the last hour. Processes that were killed take some seconds of "
            "counts along.",
            "above 5 % messages are lost, or counted twice: see the runbook.",
            "percentunit",
            Query("abs(seedrouter:conservation:difference1h) / seedrouter:messages_accepted:increase1h", "does not add up"),
            alerts=["ConservationBroken"],
        ),
        series(
            24, "Oldest on the queue", "Age of the oldest entry, by lane. What no seed can take is parked and not counted here.",
            "codes above 10 s: a dispatcher hangs, or there are too few. `seedrouter queue` shows the same.",
            "s", Query("max by (lane) (seedrouter_queue_oldest_seconds)", "{{lane}}"), alerts=["ConsumerLag"],
        ),
        series(
            25, "Refused", "Submissions per second that were refused, by reason.",
            "no_seed and unavailable are ours: seeds, or Redis. balance and limit are accounts'; unauthorized is somebody with a wrong "
            "key.",
            "cps", Query("sum by (reason) (rate(seedrouter_requests_refused_total[$__rate_interval]))", "{{reason}}"), stacked=True,
        ),
    ]  # fmt: skip


def _alive() -> list[Any]:
    return [
        series(
            30, "Heartbeat",
            "A synthetic message goes through the pipeline each minute: how long the last one took, how long ago it came out.",
            "it takes long: queue or dispatcher. None comes: timekeeper, queue or dispatcher is down.",
            "s", Query("max(seedrouter_heartbeat_seconds)", "the last one took"),
            Query("time() - max(seedrouter_heartbeat_arrived_timestamp_seconds > 0)", "since the last one"),
            alerts=["HeartbeatLate", "HeartbeatMissing"],
        ),
        series(
            31, "Roles: since they last went round",
            "By role, the one that moved last. It should be near zero, and the scrape interval at most.",
            "above a minute that role is gone or hangs: its log, then start it again. Nothing is lost by that.",
            "s", Query("time() - max by (role) (max_over_time(seedrouter_last_run_timestamp_seconds[6h]) > 0)", "{{role}}"),
            alerts=["RoleDown"],
        ),
        series(
            32, "Processes that answer", "Targets of each scrape job that Prometheus can reach.",
            "fewer than you started: `docker-compose ps`, or the service manager's status; their logs say why they ended.",
            "short", Query("sum by (job) (up)", "{{job}}"), alerts=["ApiDown"], decimals=0,
        ),
        series(
            33, "Heartbeats by result", "Heartbeats per minute: arrived in time, late, failed.",
            "failed: it could not be put on the queue, or never came out. The timekeeper's log says which.",
            "short", Query("60 * sum by (result) (rate(seedrouter_heartbeats_total[5m]))", "{{result}}"),
        ),
    ]  # fmt: skip


def _fraud() -> list[Any]:
    return [
        series(
            40, "Codes against the usual",
            "Codes sent in the last hour ÷ the mean hour of the day before (10 at least). Empty in the first two hours.",
            "several times the usual with falling conversion: somebody pumps codes to numbers of their own. `seedrouter fraud` shows "
            "where.",
            "none",
            Query(
                'carrier:seedrouter_codes_sent:increase1h{carrier=~"$carrier"} / '
                'clamp_min(avg_over_time(carrier:seedrouter_codes_sent:increase1h{carrier=~"$carrier"}[1d] offset 1h), 10)', "{{carrier}}",
            ),
            alerts=["SmsPumpingSuspected"],
        ),
        series(
            41, "Prefixes blocked", "Blocks that began within half an hour, by reason, and prefixes that are blocked now, by carrier.",
            "each is a range of numbers that gets no codes. Look at it on the console's page *Fraud*, and lift it if it hits real "
            "customers.",
            "short", Query("sum by (reason) (increase(seedrouter_prefix_blocks_total[30m]))", "new: {{reason}}"),
            Query('max by (carrier) (seedrouter_prefixes_blocked{carrier=~"$carrier"})', "{{carrier}}"),
            Query('sum(max by (carrier) (seedrouter_prefixes_suspected{carrier=~"$carrier"}))', "suspected, not blocked"),
            alerts=["PrefixBlocked"],
        ),
    ]  # fmt: skip
