"""Ports that runs beside each other are given."""

import socket
import subprocess
import sys

import pytest

from bench import ports
from bench.ports import free_port

ANOTHER_RUN = """
import sys
from bench import ports
ports._FIRST, ports._LAST = int(sys.argv[1]), int(sys.argv[2])
try:
    print(ports.free_port(), flush=True)
except RuntimeError as error:
    print(error, flush=True)
sys.stdin.read()
"""


def another_run(first: int, last: int) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", ANOTHER_RUN, str(first), str(last)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def asked(run: "subprocess.Popen[str]") -> str:
    assert run.stdout is not None
    return run.stdout.readline().strip()


def test_no_two_are_alike() -> None:
    many = [free_port() for _ in range(200)]

    assert 200 == len(set(many))
    assert all(10_000 <= port < 32_768 for port in many)


def test_nobody_listens_there() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()

        assert not ports._is_free(listener.getsockname()[1])


def test_held_while_its_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody listens there yet."""
    port = free_port()
    with another_run(port, port) as refused:
        assert f"no free port between {port} and {port} after 1000 tries" == asked(refused)
        refused.communicate()

    other = _unheld()
    monkeypatch.setattr(ports, "_FIRST", other)
    monkeypatch.setattr(ports, "_LAST", other)
    with another_run(other, other) as holder:
        assert str(other) == asked(holder)
        with pytest.raises(RuntimeError):
            free_port()
        holder.communicate()
    assert other == free_port()


def test_one_beside_it_is_held_as_well() -> None:
    port = free_port(10_000)
    with another_run(port + 10_000, port + 10_000) as refused:
        assert asked(refused).startswith("no free port")
        refused.communicate()


def _unheld() -> int:
    """A port that no other run is given."""
    return next(port for port in range(ports._FIRST - 5000, ports._FIRST) if ports._is_free(port))
