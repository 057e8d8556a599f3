"""The ledger of what was on the air."""

import asyncio
import multiprocessing
from pathlib import Path

import pytest

from workers.simulator.air import Air, Sms, follow, on_air_twice, read_ledger


def sms(id: str, text: str = "Votre code est 123456") -> Sms:
    return Sms(at=1.5, seed="603010000000001", carrier="60301", id=id, attempt=1, to="+213661234567", text=text)


def write_many(path: Path, name: str, count: int) -> None:
    with Air(path) as air:
        for number in range(count):
            air.write(sms(f"{name}-{number}", text="é" * (number % 300)))


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """In order, whatever the text."""
    ledger = tmp_path / "air.jsonl"
    written = [sms("a", 'رمزك "123456"\nnew line'), sms("b")]
    with Air(ledger) as air:
        for one in written:
            air.write(one)

        assert air.count == 2
    assert written == read_ledger(ledger)
    assert ledger.stat().st_mode & 0o777 == 0o600


def test_processes_share_a_ledger(tmp_path: Path) -> None:
    """No line is lost, none is mixed with another's."""
    ledger = tmp_path / "air.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(ledger, name, 300)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)

    assert {f"{name}-{number}" for name in "abc" for number in range(300)} == {one.id for one in read_ledger(ledger)}


def test_an_unfinished_line_is_not_read(tmp_path: Path) -> None:
    """Nor is a ledger that nobody has begun an error."""
    ledger = tmp_path / "air.jsonl"

    assert read_ledger(ledger) == []
    with Air(ledger) as air:
        air.write(sms("a"))
    with ledger.open("ab") as file:
        file.write(b'{"at":2,"se')

    assert [one.id for one in read_ledger(ledger)] == ["a"]


def test_twice_on_the_air_is_seen() -> None:
    """By message, whichever seed and attempt it was."""
    assert on_air_twice([sms("a"), sms("b")]) == {}
    assert on_air_twice([sms("a"), sms("b"), sms("a"), sms("a")]) == {"a": 3}


@pytest.mark.parametrize(("from_start", "expected"), [(True, ["old", "new"]), (False, ["new", "newer"])])
def test_follow_gives_what_comes(tmp_path: Path, from_start: bool, expected: list[str]) -> None:
    """Also a line that is there in part only at first."""
    ledger = tmp_path / "air.jsonl"

    async def run() -> list[str]:
        seen: list[str] = []

        async def reading() -> None:
            async for one in follow(ledger, from_start=from_start, poll_seconds=0.001):
                seen.append(one.id)
                if len(seen) == 2:
                    return

        with Air(ledger) as air:
            air.write(sms("old"))
            reader = asyncio.create_task(reading())
            await asyncio.sleep(0.01)
            air.write(sms("new"))
            await asyncio.sleep(0.01)
            air.write(sms("newer"))
            await asyncio.wait_for(reader, 10)
        return seen

    assert expected == asyncio.run(run())


def test_follow_waits_for_the_ledger(tmp_path: Path) -> None:
    """It may be started before the first phone."""
    ledger = tmp_path / "air.jsonl"

    async def run() -> str:
        first = asyncio.ensure_future(anext(follow(ledger, poll_seconds=0.001)))
        await asyncio.sleep(0.01)
        with Air(ledger) as air:
            air.write(sms("a"))
        return (await asyncio.wait_for(first, 10)).id

    assert asyncio.run(run()) == "a"
