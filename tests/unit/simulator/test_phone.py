"""One simulated phone and a strict router, over real sockets."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.simulator.stub_router import StubRouter, eventually, rounds
from workers.simulator.air import Air, read_ledger
from workers.simulator.behaviour import Behaviour
from workers.simulator.numbers import Sim
from workers.simulator.phone import Phone

SIM = Sim("603010000000001", "+213660000001", "60301")
QUICK = Behaviour(pace_seconds=0.0)
ONE_BY_ONE = Behaviour(pace_seconds=0.06)
"""Too slow to ask for several messages at once."""

Story = Callable[[StubRouter, Phone, Path], Awaitable[None]]


@asynccontextmanager
async def on(router: StubRouter, ledger: Path, behaviour: Behaviour = QUICK, wait_seconds: float = 0.2) -> AsyncIterator[Phone]:
    """A phone that is on, and off at the end with all its reports delivered."""
    with Air(ledger) as air:
        phone = Phone(SIM, air, behaviour, random.Random(1), wait_seconds=wait_seconds)
        phone.start(router.enrolled(SIM.imsi))
        yield phone
        phone.switch_off()

        assert await phone.wait_silent(20) == 0


def play(story: Story, tmp_path: Path, behaviour: Behaviour = QUICK, clock_offset_seconds: float = 0.0) -> list[str]:
    """Run a story; returns the ids on the air, in order."""
    ledger = tmp_path / "air.jsonl"

    async def run() -> None:
        async with StubRouter() as router:
            router.clock_offset_seconds = clock_offset_seconds
            async with on(router, ledger, behaviour) as phone:
                await story(router, phone, ledger)

    asyncio.run(run())
    return [sms.id for sms in read_ledger(ledger)]


def test_asks_sends_and_reports(tmp_path: Path) -> None:
    """One ping at the start, then each message: radio, the air, sent."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: len(router.of_state("sent")) == 3)

        assert all(router.states(id) == ["radio", "sent"] for id in "abc")
        assert [SIM.imsi] == router.pings
        assert (phone.sent_count, phone.holding, phone.alive) == (3, 0, True)
        assert repr(phone) == "<Phone 603010000000001 alive holding=0 sent=3>"

    assert play(story, tmp_path) == ["a", "b", "c"]
    sms = read_ledger(tmp_path / "air.jsonl")[0]
    assert (SIM.imsi, "60301", 1, "+213661234567", "Your code is 123456") == (
        sms.seed,
        sms.carrier,
        sms.attempt,
        sms.to,
        sms.text,
    )


def test_lifo_sends_the_latest_first(tmp_path: Path) -> None:
    """What came together goes out in reverse."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: phone.sent_count == 3)

    assert play(story, tmp_path, Behaviour(pace_seconds=0.0, order="lifo")) == ["c", "b", "a"]


def test_rests_for_every_part(tmp_path: Path) -> None:
    """A text of three parts takes three times as long."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "long", text="x" * 400)
        await router.give(SIM.imsi, "short")
        await eventually(lambda: phone.sent_count == 2)

    assert play(story, tmp_path, Behaviour(pace_seconds=0.1)) == ["long", "short"]
    first, second = read_ledger(tmp_path / "air.jsonl")
    assert second.at - first.at >= 0.29


def test_the_same_attempt_is_sent_once(tmp_path: Path) -> None:
    """Even if the router hands it over again, and after a power-off too; another attempt is another matter."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "a")
        await eventually(lambda: phone.sent_count == 1)
        phone.kill()
        await router.sees_off(phone.imsi)
        phone.revive()
        await router.give(SIM.imsi, "a")
        await router.give(SIM.imsi, "a", attempt=2)
        await eventually(lambda: phone.sent_count == 2)
        await rounds(router, SIM.imsi)

    assert play(story, tmp_path) == ["a", "a"]
    assert [sms.attempt for sms in read_ledger(tmp_path / "air.jsonl")] == [1, 2]


@pytest.mark.parametrize("phone_ahead", [-3600.0, 0.0, 3600.0])
@pytest.mark.parametrize("router_ahead", [-500.0, 500.0])
def test_a_lease_is_obeyed_whatever_the_clocks_show(tmp_path: Path, phone_ahead: float, router_ahead: float) -> None:
    """The end of a lease is the router's time, and the phone knows that from its ping."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "over", lease_seconds=-0.001)
        await router.give(SIM.imsi, "open", lease_seconds=30)
        await eventually(lambda: router.states("open")[-1:] == ["sent"])

        assert router.states("over") == ["cancelled"]
        assert [told.error for told in router.of_state("cancelled")] == ["lease over"]

    assert play(story, tmp_path, Behaviour(pace_seconds=0.0, clock_offset_seconds=phone_ahead), router_ahead) == ["open"]


def test_a_lease_that_ends_while_others_are_sent_is_over(tmp_path: Path) -> None:
    """Waiting behind another message is no excuse."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", lease_seconds=60)
        await router.give(SIM.imsi, "b", lease_seconds=0.5)
        await eventually(lambda: router.states("b"))

        assert router.states("b") == ["cancelled"]

    assert play(story, tmp_path, Behaviour(pace_seconds=1.0)) == ["a"]


def test_a_lease_that_ends_before_the_permission_comes_is_over(tmp_path: Path) -> None:
    """The yes came too late: it is given back."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await eventually(lambda: router.open_pulls[SIM.imsi])
        router.can_answer.clear()
        await router.give(SIM.imsi, "a", lease_seconds=2)
        await eventually(lambda: router.states("a") == ["radio"])
        await eventually(lambda: phone.counts.cancelled)
        router.can_answer.set()
        await eventually(lambda: router.states("a") == ["radio", "cancelled"])

    assert play(story, tmp_path) == []


def test_nothing_is_sent_before_the_routers_time_is_known(tmp_path: Path) -> None:
    """Pings are tried until one is answered, and only then does it pull."""

    async def run() -> None:
        async with StubRouter() as router:
            router.is_down = True
            async with on(router, tmp_path / "air.jsonl"):
                await router.give(SIM.imsi, "a")
                await eventually(lambda: router.calls >= 3)

                assert (router.handed, router.pings) == ({}, [])
                router.is_down = False
                await eventually(lambda: router.states("a") == ["radio", "sent"])

    asyncio.run(run())


@pytest.mark.parametrize("names_stale", [True, False])
def test_what_the_router_refuses_is_never_sent(tmp_path: Path, names_stale: bool) -> None:
    """Nor reported any further; the next message is not held up."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        router.names_stale = names_stale
        router.refused.add("a")
        await router.give(SIM.imsi, "a")
        await eventually(lambda: phone.counts.refused)
        await router.give(SIM.imsi, "b")
        await eventually(lambda: router.states("b") == ["radio", "sent"])

        assert router.states("a") == ["radio"]
        assert phone.counts.stale == 1

    assert play(story, tmp_path) == ["b"]


def test_a_lost_answer_is_no_permission(tmp_path: Path) -> None:
    """The router granted it, the phone never heard: it is not sent, and given back so that another seed can have it."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        router.is_losing_answers = lambda reports: any(report["state"] == "radio" and report["id"] != "c" for report in reports)
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: router.states("c") == ["radio", "sent"])

        # The call that gave "a" back asked for "b" too, so its answer was lost, and it was made again.
        assert all(list(dict.fromkeys(router.states(id))) == ["radio", "cancelled"] for id in "ab")
        assert {"no answer to radio"} == {told.error for told in router.of_state("cancelled")}
        assert {("a", 1), ("b", 1), ("c", 1)} == router.granted

    assert play(story, tmp_path, ONE_BY_ONE) == ["c"]


def test_reports_outlast_an_outage(tmp_path: Path) -> None:
    """The router is gone right after the permission, and back on the same port later."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        router.is_losing_answers = lambda reports: any(report["state"] == "sent" for report in reports)
        await router.give(SIM.imsi, "a")
        await eventually(lambda: phone.sent_count and len(router.of_state("sent")) >= 1)
        await router.close()
        router.told.clear()
        await asyncio.sleep(0.3)

        assert phone.unanswered_count == 1
        router.is_losing_answers = lambda reports: False
        await router.open()
        await eventually(lambda: router.states("a") == ["sent"])
        await router.give(SIM.imsi, "b")
        await eventually(lambda: router.states("b") == ["radio", "sent"])

    assert play(story, tmp_path) == ["a", "b"]


def test_an_outage_is_met_with_patience(tmp_path: Path) -> None:
    """The rate of tries is bounded: they double their distance."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await eventually(lambda: router.open_pulls[SIM.imsi])
        router.is_down = True
        before, began = router.calls, time.monotonic()
        await asyncio.sleep(1.5)
        await eventually(lambda: router.calls - before >= 2)

        assert router.calls - before <= 6 + (time.monotonic() - began)
        router.is_down = False

    assert play(story, tmp_path) == []


def test_reports_of_one_moment_go_in_one_call(tmp_path: Path) -> None:
    """What gathers during an outage is delivered at once, in order."""
    behaviour = Behaviour(pace_seconds=0.0, late_report_rate=1, late_report_seconds=60)

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: phone.sent_count == 3)

        assert router.of_state("sent") == []
        phone.kill()
        await phone.wait_silent(20)

        assert [told.id for told in router.of_state("sent")] == ["a", "b", "c"]
        assert len({told.call for told in router.of_state("sent")}) == 1

    assert play(story, tmp_path, behaviour) == ["a", "b", "c"]


def test_late_repeated_and_delivered_reports(tmp_path: Path) -> None:
    """Sent late, sent twice, and a delivery report; the phone goes on sending meanwhile."""
    behaviour = Behaviour(pace_seconds=0.0, late_report_rate=1, late_report_seconds=0.2, repeat_report_rate=1, delivered_rate=1)

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b")
        await eventually(lambda: phone.counts.stale == 2 and len(router.of_state("delivered")) == 2)

        for id in "ab":
            assert sorted(router.states(id)) == ["delivered", "radio", "sent", "sent"]
            assert router.states(id)[:2] == ["radio", "sent"]
        assert [told.stale for told in router.of_state("sent") if told.id == "a"] == [False, True]

    assert play(story, tmp_path, behaviour) == ["a", "b"]


def test_a_failing_phone_says_so(tmp_path: Path) -> None:
    """It has asked, and then it does not send."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a")
        await eventually(lambda: router.states("a") == ["radio", "failed"])

        assert (phone.counts.failed, phone.sent_count) == (1, 0)

    assert play(story, tmp_path, Behaviour(pace_seconds=0.0, fail_rate=1)) == []


def test_a_silent_phone_takes_and_says_nothing(tmp_path: Path) -> None:
    """Except for its pulls."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b")
        await eventually(lambda: phone.counts.lost == 2)
        await rounds(router, SIM.imsi)

        assert router.told == []

    assert play(story, tmp_path, Behaviour(pace_seconds=0.0, silent_rate=1)) == []


def test_a_phone_that_dies_after_the_send_is_silent(tmp_path: Path) -> None:
    """One on the air, no report, no sign of life; the rest of what it held is lost."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b")
        await eventually(lambda: not phone.alive)
        await phone.wait_silent(20)
        calls = router.calls
        await asyncio.sleep(0.4)

        assert router.states("a") == ["radio"]
        assert router.states("b") == []
        assert calls == router.calls
        assert phone.counts.lost == 1

    assert play(story, tmp_path, Behaviour(pace_seconds=0.0, die_after_send_rate=1)) == ["a"]


@pytest.mark.parametrize("behaviour_seed", [1, 2])
def test_a_dozing_phone_says_nothing_and_obeys_the_lease(tmp_path: Path, behaviour_seed: int) -> None:
    """After the permission (seed 1) or before it (seed 2): what it wakes up with is too old, and given back."""
    ledger = tmp_path / "air.jsonl"

    async def run() -> None:
        async with StubRouter() as router:
            with Air(ledger) as air:
                # A mean so long that no draw of these seeds is shorter than the lease.
                behaviour = Behaviour(pace_seconds=0.0, doze_rate=1, doze_seconds=3600)
                phone = Phone(SIM, air, behaviour, random.Random(behaviour_seed), wait_seconds=0.2)
                phone.start(router.enrolled(SIM.imsi))
                await router.give(SIM.imsi, "a", lease_seconds=1.0)
                await eventually(lambda: phone._life is not None and not phone._life._awake.is_set())
                calls = router.calls
                await asyncio.sleep(1.1)

                # A pull may have been on its way.
                assert router.calls <= calls + 1
                assert phone.holding == 1
                phone.switch_off()
                await phone.wait_silent(20)

                assert router.states("a")[-1] == "cancelled"

    asyncio.run(run())

    assert read_ledger(ledger) == []


def test_a_killed_phone_is_dead(tmp_path: Path) -> None:
    """What it holds is lost, and it calls no more; revived it works again."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: router.states("a") == ["radio", "sent"])

        assert phone.holding == 2
        phone.kill()

        assert (phone.alive, phone.holding) == (False, 0)
        await phone.wait_silent(20)
        await router.sees_off(phone.imsi)
        calls = router.calls
        await router.give(SIM.imsi, "d")
        await asyncio.sleep(0.4)

        assert calls == router.calls
        phone.revive()

        assert phone.alive
        await eventually(lambda: router.states("d") == ["radio", "sent"])

        assert (router.states("b"), router.states("c")) == ([], [])
        assert phone.counts.lost == 2

    assert play(story, tmp_path, Behaviour(pace_seconds=5.0)) == ["a", "d"]


def test_a_kill_leaves_no_doubt(tmp_path: Path) -> None:
    """Killed while it waits for a permission that the router has noted: it is given back, not sent."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        router.can_answer.clear()
        await router.give(SIM.imsi, "a", "b")
        await eventually(lambda: router.states("a") == ["radio"])
        phone.kill()
        router.can_answer.set()
        await phone.wait_silent(20)

        assert router.states("a") == ["radio", "cancelled"]
        assert router.states("b") == []

    assert play(story, tmp_path, ONE_BY_ONE) == []


def test_a_fast_phone_asks_for_several_at_once(tmp_path: Path) -> None:
    """What it will send within a moment is asked for in one call, and sent in its order."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        router.can_answer.clear()
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: router.states("a") == ["radio"])

        assert [["radio"], ["radio"]] == [router.states("b"), router.states("c")]
        router.can_answer.set()
        await eventually(lambda: router.states("c") == ["radio", "sent"])

    assert ["a", "b", "c"] == play(story, tmp_path)


def test_a_kill_leaves_no_doubt_of_what_was_asked_ahead(tmp_path: Path) -> None:
    """Each message whose permission the router may have noted is given back."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        router.can_answer.clear()
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: router.states("a") == ["radio"])
        phone.kill()
        router.can_answer.set()
        await phone.wait_silent(20)

        assert [["radio", "cancelled"]] * 3 == [router.states(id) for id in "abc"]
        assert 0 == phone.counts.lost

    assert [] == play(story, tmp_path)


def test_a_killed_phone_still_reports_what_it_sent(tmp_path: Path) -> None:
    """It was on the air, and the answer to the report got lost before the kill."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        router.is_losing_answers = lambda reports: any(report["state"] == "sent" for report in reports)
        await router.give(SIM.imsi, "a")
        await eventually(lambda: router.of_state("sent"))
        router.is_down = True
        phone.kill()
        router.told.clear()
        router.is_losing_answers = lambda reports: False
        router.is_down = False
        await phone.wait_silent(20)

        assert router.states("a") == ["sent"]

    assert play(story, tmp_path) == ["a"]


def test_kill_and_revive_in_any_order(tmp_path: Path) -> None:
    """Again and again, also at once: there is one phone in the end, and it works."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        rng = random.Random(5)
        for number in range(40):
            await router.give(SIM.imsi, f"m{number}")
            phone.kill()
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.01]))
            phone.revive()
            phone.revive()
            await asyncio.sleep(rng.choice([0, 0.001, 0.01]))
        # By then no pull of an earlier life can be on its way, which would take the message down with it.
        await rounds(router, SIM.imsi, 4)
        await router.give(SIM.imsi, "last")
        await eventually(lambda: router.states("last") == ["radio", "sent"])
        # Two pulls for a moment are no breach here: the router sees the end of the old one later.
        router.violations = [breach for breach in router.violations if not breach.startswith("two pulls")]
        for told in router.of_state("radio"):
            assert router.states(told.id)[-1] in ("sent", "cancelled")

    on_air = play(story, tmp_path)
    assert len(set(on_air)) == len(on_air)


def test_a_refused_token_stops_the_phone(tmp_path: Path) -> None:
    """Somebody enrolled the seed again: 401, and it does not try any further."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await eventually(lambda: router.open_pulls[SIM.imsi])
        router.tokens[SIM.imsi] = "another"
        await eventually(lambda: not phone.alive)
        calls = router.calls
        await asyncio.sleep(0.4)

        assert calls == router.calls

    assert play(story, tmp_path) == []


def test_switched_off_in_order_it_gives_back_what_it_holds(tmp_path: Path) -> None:
    """So that another seed can have it at once."""

    async def story(router: StubRouter, phone: Phone, ledger: Path) -> None:
        await router.give(SIM.imsi, "a", "b", "c")
        await eventually(lambda: phone.sent_count == 1)
        phone.switch_off()

        assert await phone.wait_silent(20) == 0
        assert router.states("a") == ["radio", "sent"]
        assert all(router.states(id) == ["cancelled"] for id in "bc")

    assert play(story, tmp_path, Behaviour(pace_seconds=5.0)) == ["a"]
