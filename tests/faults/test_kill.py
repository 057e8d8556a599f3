"""Processes die by kill -9 in the middle of the work: every message still reaches its end, and none goes on the air twice."""

import threading
import time
from pathlib import Path

import pytest

from bench import load
from tests.stack import wait_for
from tests.up import NUMBERS, Phones, Up
from workers.simulator.air import on_air_twice, read_ledger
from workers.simulator.behaviour import Behaviour

MESSAGES = 2000
PHONES = 45
KILLS = 4
TROUBLED = Behaviour(
    pace_seconds=0.01, fail_rate=0.02, silent_rate=0.003, late_report_rate=0.02, late_report_seconds=1.0, repeat_report_rate=0.05
)


def numbers(count: int) -> list[str]:
    return [NUMBERS[i % 3].format(i) for i in range(count)]


@pytest.mark.timeout(300)
def test_dispatcher_and_timekeeper_killed_in_the_middle_of_two_thousand_messages(up: Up) -> None:
    """The supervisor restarts them, every message is sent in the end, and the ledger of the phones shows none twice."""
    account = up.account()
    killed: list[int] = []
    outcome: list[load.Outcome] = []
    with Phones(up, PHONES, TROUBLED) as phones:
        sender = threading.Thread(target=lambda: outcome.append(account.send(numbers(MESSAGES))))
        sender.start()
        for _ in range(KILLS):
            time.sleep(0.7)
            killed += [up.kill("dispatcher"), up.kill("timekeeper")]
        sender.join(120)
        ids = up.message_ids(account.id)
        account.wait_until_all_are_sent(ids)
        on_air = read_ledger(phones.ledger)

    assert outcome[0].statuses == {200: MESSAGES}
    assert len(set(killed)) == 2 * KILLS
    assert {} == on_air_twice(on_air)
    assert set(ids) == {sms.id for sms in on_air}
    assert len(ids) == MESSAGES
    assert account.balance == 10**9 - 5 * MESSAGES
    assert up.stop() == 0


@pytest.mark.timeout(240)
def test_redis_killed_under_load(up: Up) -> None:
    """The embedded Redis dies by kill -9 and comes back from its append-only file: what was accepted is sent, once."""
    account = up.account()
    count = 1000
    outcome: list[load.Outcome] = []
    with Phones(up, PHONES, Behaviour(pace_seconds=0.01)) as phones:
        sender = threading.Thread(target=lambda: outcome.append(account.send(numbers(count), connections=4)))
        sender.start()
        wait_for(lambda: len(up.message_ids(account.id)) >= 100, "the first hundred to be accepted")
        in_the_middle = sender.is_alive()
        before = up.kill_redis()
        sender.join(120)
        wait_for(lambda: up.redis_pid not in (0, before), "another Redis", 60)
        accepted = outcome[0].statuses.get(200, 0)
        # What was charged and never recorded is undone after half a minute
        wait_for(lambda: account.balance == 10**9 - 5 * account.states(up.message_ids(account.id))["sent"], "the money to add up", 90)
        ended = account.states(up.message_ids(account.id))
        on_air = read_ledger(phones.ledger)

    assert set(outcome[0].statuses) <= {200, 503}
    assert in_the_middle
    assert accepted > 0
    assert accepted <= ended["sent"]
    assert set(ended) <= {"sent", "cancelled"}
    assert len({sms.id for sms in on_air}) == ended["sent"]
    assert {} == on_air_twice(on_air)


@pytest.mark.timeout(240)
def test_one_ctrl_c_stops_all_in_order_and_the_next_start_goes_on(up: Up) -> None:
    """Ctrl-C in the middle: everybody ends, exit code 0; what was accepted before is sent after the next start, once."""
    account = up.account()
    count = 400
    account.send(numbers(1))
    with Phones(up, PHONES, Behaviour(pace_seconds=0.05)) as phones:
        assert account.send(numbers(count), connections=8).statuses == {200: count}
        ids = up.message_ids(account.id)
        children = [up.pid_of(role) for role in ("api", "dispatcher", "timekeeper")]
        code = up.stop()
        left = [pid for pid in children if Path(f"/proc/{pid}").exists()]
        up.start()
        account.wait_until_all_are_sent(ids)
        on_air = read_ledger(phones.ledger)

    assert code == 0
    assert left == []
    assert set(ids) == {sms.id for sms in on_air}
    assert {} == on_air_twice(on_air)
