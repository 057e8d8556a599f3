"""Seeds and capacity: who is there, what they can still take, and what will be left in an hour."""

from typing import Any

from deploy.grafana.board import Row, board
from deploy.grafana.panels import Query, buckets, figure, series

UID = "seedrouter-seeds"
_BY_CARRIER = '{carrier=~"$carrier"}'
_LIST = "`seedrouter seeds list`, or the console's page *Seeds*,"


def dashboard() -> dict[str, Any]:
    """seedrouter-seeds."""
    return board(
        UID, "Seedrouter / Seeds and capacity", "Who is there, what they can still take, and what will be left in an hour.",
        [Row("The fleet now", _now()), Row("Presence", _presence()), Row("Capacity", _capacity()), Row("Phones", _phones())],
    )  # fmt: skip


def _sum(metric: str) -> Query:
    return Query(f"sum(max by (carrier) (seedrouter_{metric}{_BY_CARRIER}))")


def _by_carrier(metric: str) -> Query:
    return Query(f"max by (carrier) (seedrouter_{metric}{_BY_CARRIER})", "{{carrier}}")


def _now() -> list[Any]:
    return [
        figure(
            1, "Enrolled", "Seeds that are enrolled and were ever heard of.", "fewer than you enrolled: the others have never pinged.",
            "short", _sum("seeds_enrolled"), decimals=0,
        ),
        figure(
            2, "Online",
            "Seeds that may send and were heard of within their online window.", f"far below *Enrolled*: {_LIST} shows who is away.",
            "short", _sum("seeds_online"), alerts=["CarrierNoSeeds"], decimals=0,
        ),
        figure(
            3, "Breakers open", "Online seeds that failed twice in a row and rest.", "more than a few: see *Routing and failover*.",
            "short", _sum("seeds_tripped"), decimals=0,
        ),
        figure(
            4, "Failing",
            "Online seeds more than half of whose latest attempts failed.", f"{_LIST} names them; drain them, look at the phones.",
            "short", _sum("seeds_failing"), decimals=0,
        ),
        figure(
            5, "Room", "Parts that online seeds could take at this moment.", "near zero in the daytime: messages are about to wait.",
            "short", _sum("seed_room_parts"), decimals=0,
        ),
        figure(
            6, "In flight", "Parts that seeds hold.", "high with little traffic: phones do not report.",
            "short", _sum("in_flight_parts"), decimals=0,
        ),
    ]  # fmt: skip


def _presence() -> list[Any]:
    return [
        series(
            10, "Online by carrier", "Seeds that may send and were heard of within their online window.",
            "zero: nothing goes out to that carrier. A step down of all at once is the proxy or the network, not the phones.",
            "short", _by_carrier("seeds_online"), alerts=["CarrierNoSeeds"], decimals=0,
        ),
        buckets(
            11, "Last heard of", "Enrolled seeds by how long ago they were heard of, in seconds.",
            "the dark band moves up: phones ping less often (battery saving, a slow network) and will drop out of the online window.",
            Query("max by (le) (seedrouter_seeds_by_ping_age)", "{{le}}"),
        ),
        series(
            12, "Failing share", "Online seeds more than half of whose latest attempts failed ÷ online seeds.",
            "many at once: the carrier blocks, or SIMs have no credit left. See the runbook.",
            "percentunit",
            Query(
                f"max by (carrier) (seedrouter_seeds_failing{_BY_CARRIER}) / (max by (carrier) (seedrouter_seeds_online{_BY_CARRIER}) > 0)",
                "{{carrier}}",
            ),
            alerts=["SeedFailRatioHigh"], ceiling=1,
        ),
        series(
            13, "Signs of life", "Per second: pings, pulls and reports.",
            "a step down with the same phones: they cannot reach the api. Each is a request, so this is also the phones' load.",
            "cps", Query("sum by (kind) (rate(seedrouter_pings_total[$__rate_interval]))", "{{kind}}"), stacked=True,
        ),
    ]  # fmt: skip


def _capacity() -> list[Any]:
    return [
        series(
            20, "Room by carrier", "Parts that online seeds of each carrier could take at this moment.",
            "near zero: more SIMs of that carrier, or a higher limit or pace where the phone can do it (`seedrouter seeds set`).",
            "short", _by_carrier("seed_room_parts"), decimals=0,
        ),
        series(
            21, "Capacity used",
            "In flight ÷ (in flight + room), and the used share of the quotas: whichever reaches 1 first stops the carrier.",
            "in flight: a burst, or slow phones. Quota: it comes back only with time (half an hour, an hour, a day).",
            "percentunit", Query(f"carrier:seedrouter_capacity_used:ratio{_BY_CARRIER}", "in flight {{carrier}}"),
            Query(f"carrier:seedrouter_quota_used:max{_BY_CARRIER}", "quota {{carrier}}"), alerts=["CarrierCapacityLow"], ceiling=1,
        ),
        series(
            22, "Room in an hour", "Room, if it goes on as in the last hour.",
            "it reaches zero: spread the load (bulk later), or bring SIMs before it does.",
            "short", Query(f"clamp_min(predict_linear(carrier:seedrouter_seed_room:max{_BY_CARRIER}[1h], 3600), 0)",
            "{{carrier}}"), decimals=0,
        ),
        series(
            23, "Quota headroom in an hour",
            "What is left of the tightest quota, mean of the online seeds: now, and in an hour if it goes on.",
            "the forecast reaches zero: that carrier will park messages by then.",
            "percentunit", Query(f"1 - carrier:seedrouter_quota_used:max{_BY_CARRIER}", "now {{carrier}}"),
            Query(
                f"clamp(1 - predict_linear(carrier:seedrouter_quota_used:max{_BY_CARRIER}[1h], 3600), 0, 1)", "in an hour {{carrier}}"
            ),
            ceiling=1,
        ),
        series(
            24, "In flight by carrier", "Parts that seeds hold.",
            "high with low *Time to sent*: just traffic. High and flat: phones hold messages and do not report.",
            "short", _by_carrier("in_flight_parts"), stacked=True, decimals=0,
        ),
        series(
            25, "Parts sent per minute", "Attempts begun per minute, by carrier: what the fleet really carries.",
            "flat at its top with messages parked: that is the carrier's ceiling with these SIMs.",
            "short", Query(f"60 * sum by (carrier) (rate(seedrouter_attempts_total{_BY_CARRIER}[5m]))", "{{carrier}}"), stacked=True,
        ),
    ]  # fmt: skip


def _phones() -> list[Any]:
    return [
        series(
            30, "Event streams of SMSGate's app", "Open event streams, all api processes: about one per phone of that kind.",
            "far below the number of phones: a proxy closes or buffers them, or an api was just started.",
            "short", Query("sum(seedrouter_event_streams_open)", "streams"), decimals=0,
        ),
        series(
            31, "Phones over AMQP", "Queues at RabbitMQ with exactly one consumer, as the relay at work sees them.",
            "zero with such phones enrolled: the relay or RabbitMQ is down (`seedrouter doctor`), or the phones are.",
            "short", Query("max(seedrouter_amqp_phones_present)", "phones"), decimals=0,
        ),
        series(
            32, "Messages over AMQP", "Per second, by what became of them.",
            "refused: a phone's queue is missing. expired: nobody took them in time. unclear: an acknowledgement that cannot be believed.",
            "cps", Query("sum by (result) (rate(seedrouter_amqp_phone_messages_total[$__rate_interval]))", "{{result}}"), stacked=True,
        ),
        series(
            33, "Synchronisation", "Open sockets, and steps per second.",
            "wrong_password or locked: somebody guesses, or a client has an old password.",
            "short", Query("sum(seedrouter_sync_sockets_open)", "open sockets"),
            Query("sum by (step) (rate(seedrouter_syncs_total[$__rate_interval]))", "{{step}} per second"),
        ),
    ]  # fmt: skip
