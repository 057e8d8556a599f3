import pytest

from router.store.accounts import Accounts, hash_key
from router.store.redis import Script, text
from router.store.seeds import Slip
from router.store.timers import Timers


@pytest.mark.parametrize("slip", [Slip("wg_1", 1, 1), Slip("a:b:c", 12, 7)])
def test_slip(slip: Slip) -> None:
    """As it stands in an outbox, and back; an id may hold colons."""
    assert slip == Slip.parse(str(slip).encode())


def test_timers_are_spread_and_stay() -> None:
    """Every process puts a message's timer into the same shard, whatever its hash seed; all shards are used."""
    timers = Timers(4)

    assert {f"timers:{{{shard}}}" for shard in range(4)} == {timers.key(f"wg_{i}") for i in range(100)}
    assert "timers:{1}" == timers.key("wg_1")


def test_parse_admitted() -> None:
    answers = [Accounts.parse_admitted(answer) for answer in ([b"ok", b""], [b"replay", b"wg_1"], [b"day", 77], [b"balance"])]

    assert [("ok", "", 0), ("replay", "wg_1", 0), ("day", "", 77), ("balance", "", 0)] == [
        (answer.outcome, answer.id, answer.wait_seconds) for answer in answers
    ]


def test_hash_key_takes_any_text() -> None:
    assert 64 == len(hash_key("\ud800"))
    assert hash_key("a") != hash_key("b")


def test_scripts_include() -> None:
    """`--@include` is replaced by the file; the header lists the keys."""
    script = Script("seed_reserve")

    assert "local function usage(" in script.text
    assert "--@include" not in script.text
    assert "<Script seed_reserve>" == repr(script)


def test_text() -> None:
    assert ["", "", "é"] == [text(None), text(b""), text("é".encode())]
