"""What the benches are made of, as far as it needs no server of its own."""

import asyncio
import itertools
import os
import time

import msgspec
import pytest

from bench import pacing
from bench.figures import Figure, medians, tell
from bench.gauges import Cpu, children, cpu_seconds
from bench.load import post
from bench.main import BENCHES, run
from bench.memory import Memory, kind_of
from bench.seeding import CARRIERS, phone
from bench.stage import check_air
from router.domain.numbering import parse_number
from workers.simulator.air import Sms


def test_figure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure is the median of its runs, and the ratio is that of the medians."""
    tell("demo", "speed", "messages/s", [3.0, 1.0, 2.0], [4.0, 5.0, 3.0], {"seeds": 3.0})
    (line,) = capsys.readouterr().out.splitlines()

    assert Figure(
        bench="demo", figure="speed", value=2.0, unit="messages/s", baseline=4.0, ratio=0.5, runs=3, details={"seeds": 3.0}
    ) == msgspec.json.decode(line, type=Figure)


def test_medians_of_what_every_run_has() -> None:
    """A detail that one run could not tell is left out."""
    found = medians([{"a": 1.0, "b": 1.0}, {"a": 3.0}, {"a": 2.0, "b": 1.0}])

    assert {"a": 2.0} == found
    assert {} == medians([])


def test_list_names_every_bench(capsys: pytest.CaptureFixture[str]) -> None:
    """`bench list` prints the names, one a line."""
    code = run("list")

    assert 0 == code
    assert list(BENCHES) == capsys.readouterr().out.split()


def test_unknown_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is no bench is an error that tells the names."""
    code = run("nonsense")
    captured = capsys.readouterr()

    assert 2 == code
    assert "" == captured.out
    assert "dispatch" in captured.err


def test_cpu_of_a_process_grows_with_its_work() -> None:
    """The time of this process grows while it works; a process that is gone has none."""
    cpu = Cpu({"own": os.getpid(), "missing": None, "gone": 2**22 + 1})
    before = cpu_seconds(os.getpid())
    if before is None:
        pytest.skip("to run this test, use a system with /proc")
    deadline = time.monotonic() + 30.0
    while cpu.seconds()["own"] < 0.05 and time.monotonic() < deadline:
        sum(range(100_000))

    assert {"own"} == cpu.seconds().keys()
    assert cpu.seconds()["own"] >= 0.05
    assert {"own_cpu_us_per_message"} == cpu.per(10, "message").keys()
    assert {} == cpu.per(0, "message")


def test_children_of_a_process_without_any() -> None:
    """Nobody is the child of a process that does not exist."""
    assert {} == children(2**22 + 1)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("msg:{wg_01K}", "msg:{}"),
        ("acct:{ac_1}:phone:+213661000001", "acct:{}:phone"),
        ("acct:{ac_1}:day:20413", "acct:{}:day"),
        ("timers:{3}", "timers:{}"),
        ("queue:seedrouter.otp", "queue:seedrouter.otp"),
        ("12345", "other"),
    ],
)
def test_kind_of_a_key(key: str, kind: str) -> None:
    """A kind is a key's name without ids, numbers and times."""
    assert kind == kind_of(key)


def test_memory_per_message() -> None:
    """What grew is divided by the messages; what no key accounts for is told too."""
    before = Memory(1000, {"seed:{}": 500.0})
    after = Memory(3000, {"seed:{}": 500.0, "msg:{}": 1200.0})

    assert {"msg:{}": 120.0, "tables_and_rest": 80.0} == after.since(before, 10)


def test_phones_are_valid_and_different() -> None:
    """Made-up numbers are taken by the router, of three carriers in turn, and no two are the same."""
    numbers = [phone(i) for i in (*range(3000), *range(29_999_000, 30_000_000))]
    carriers = [parse_number(number, "DZ").carrier for number in numbers[:300]]

    assert len(numbers) == len(set(numbers))
    assert [CARRIERS[i % 3] for i in range(300)] == carriers


def _sms(message_id: str) -> Sms:
    return Sms(at=1.0, seed="s", carrier="60301", id=message_id, attempt=1, to="+213661000001", text="")


def test_check_of_the_air() -> None:
    """A message that was not on the air, and one that was twice, end a bench."""
    check_air(["a", "b"], [_sms("b"), _sms("a")])

    with pytest.raises(RuntimeError, match="1 messages are lost, 0 were"):
        check_air(["a", "b"], [_sms("b")])
    with pytest.raises(RuntimeError, match="0 messages are lost, 1 were"):
        check_air(["a"], [_sms("a"), _sms("a")])


async def _serve(delay_seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its own path, after a while."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        await reader.readexactly(2)
        await asyncio.sleep(delay_seconds)
        path = head.split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))


async def _hold(pace: float, seconds: float, delay_seconds: float, connections: int) -> pacing.Paced:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(delay_seconds, reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    requests = (post(f"/{number}", b"{}", {}) for number in itertools.count())
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await pacing.run(port, requests, pacing.steady(pace), seconds, connections=connections)


def test_paced_requests_are_all_answered() -> None:
    """What was begun in time is answered, each once, and the answers' bodies are kept."""
    outcome = asyncio.run(_hold(200.0, 0.5, 0.0, 4))
    count = sum(outcome.statuses.values())

    assert {200} == outcome.statuses.keys()
    assert count <= 100
    assert {f"/{number}".encode() for number in range(count)} == set(outcome.bodies)
    assert count == len(outcome.bodies) == len(outcome.waits)


def test_paced_requests_do_not_wait_for_answers() -> None:
    """A slow server is asked as often as a quick one, and what waited for a connection counts as waiting."""
    seconds, delay_seconds = 3.0, 0.1
    outcome = asyncio.run(_hold(100.0, seconds, delay_seconds, 2))
    count = sum(outcome.statuses.values())

    # Two connections of a closed loop would have asked sixty times
    assert count > 72
    assert max(outcome.waits) > delay_seconds * (count // 2 - 1) - seconds
