"""`up`: the whole router on one machine. `Stack` is what it runs; `demo` runs one too."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from router.cli.errors import CliError
from router.cli.options import BrokerUrl, Host, OwnData, Port, RedisUrl
from router.cli.simulate import Protocol

if TYPE_CHECKING:
    from router.embedded import EmbeddedRedis
    from router.secrets import Secrets
    from router.settings import Settings
    from workers.supervisor import Child

_PORT_WAIT_SECONDS: Final = 3.0
"""How long roles of a router that was killed may still hold the port."""
_STOP_MARGIN_SECONDS: Final = 5.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not listened on
_TERMINATED: Final = 128 + signal.SIGTERM


def up(
    host: Host = None,
    port: Port = None,
    data: OwnData = None,
    redis_url: RedisUrl = None,
    broker_url: BrokerUrl = None,
    simulate: Annotated[int, typer.Option("--simulate", min=0, metavar="N", help="Run N simulated phones as well.")] = 0,
    simulate_protocol: Annotated[
        Protocol, typer.Option("--simulate-protocol", help="What these speak: the seed API, as SMSGate's app does, or half and half.")
    ] = Protocol.SEEDS,
    open_seeds: Annotated[
        bool | None,
        typer.Option("--open-seeds", help="Any seed that pings may send, without enrolment: for closed networks only."),
    ] = None,
) -> None:
    """Run the whole router on this machine, with a Redis of its own unless --redis-url is given."""
    from router.cli.config import check_urls, load_settings
    from router.cli.logs import configure_logs
    from router.cli.roles import check_phones_url

    settings = load_settings(
        host=host, port=port, data=data, redis_url=redis_url, broker_url=broker_url, open_seeds=open_seeds or None
    )
    check_urls(settings)
    check_phones_url(settings)
    configure_logs(settings.log_format, settings.log_level)
    stack = Stack(settings, simulate=simulate, simulate_protocol=simulate_protocol)

    async def introduce() -> None:
        _introduce(stack)

    raise typer.Exit(stack.run(introduce))


class Stack:
    """A data folder, its Redis and the roles as child processes, from `run` until a signal or `request_stop`."""

    def __init__(self, settings: "Settings", *, simulate: int = 0, simulate_protocol: Protocol = Protocol.SEEDS) -> None:
        """Settings are taken as they are; port 0 becomes a free one at once. Raises `CliError`."""
        from workers.supervisor import Supervisor

        port = settings.port or _free_port(settings.host)
        self.settings = settings.model_copy(update={"data": settings.data.absolute(), "port": port})
        self.simulate = simulate
        self.simulate_protocol = simulate_protocol
        self.secrets: Secrets | None = None
        self._supervisor = Supervisor()
        self._redis: EmbeddedRedis | None = None

    def __repr__(self) -> str:
        return f"<Stack {self.url} data={str(self.settings.data)!r}>"

    @property
    def url(self) -> str:
        """How this machine reaches the API."""
        host = _EVERYWHERE.get(self.settings.host, self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    @property
    def operator_token(self) -> str:
        if self.secrets is None:
            raise CliError("the router has not started yet")
        return self.secrets.operator_token

    @property
    def pids(self) -> dict[str, int]:
        """The pid of each role that runs now."""
        return self._supervisor.pids

    @property
    def redis_pid(self) -> int | None:
        """The pid of the Redis that was brought along; None while there is none."""
        return self._redis.pid if self._redis is not None and self._redis.process_alive else None

    @property
    def restarts(self) -> dict[str, int]:
        """How often each role was started again."""
        return self._supervisor.restarts

    def request_stop(self) -> None:
        """Stop all in order, and let `run` return."""
        self._supervisor.request_stop()

    def run(self, on_ready: Callable[[], Awaitable[None]]) -> int:
        """Start all, await `on_ready`, and go on until the end; gives the exit code. Redis is stopped last.

        Raises what `on_ready` raises, `CliError`, and the errors of `router.data_folder` and `router.embedded`.
        """
        from router.cli.config import load_all_secrets
        from router.data_folder import lock_data
        from router.embedded import EmbeddedRedis

        # Until the supervisor has its own handlers, and while Redis stops
        signal.signal(signal.SIGTERM, _exit)
        with lock_data(self.settings.data) as lock:
            _wait_for_port(self.settings.host, self.settings.port)
            self.secrets = load_all_secrets(self.settings)
            if self.settings.redis_url:
                return self._supervise(on_ready, None)
            with EmbeddedRedis(self.settings.data, lock=lock) as redis:
                self._redis = redis
                self.settings = self.settings.model_copy(update={"redis_url": redis.url})
                return self._supervise(on_ready, redis.keep_alive)

    def _supervise(self, on_ready: Callable[[], Awaitable[None]], watch: Callable[[], None] | None) -> int:
        from router.cli.client import RUN_FILE

        path = self.settings.data / RUN_FILE

        async def ready() -> None:
            self._write_run_file(path)
            await on_ready()

        path.unlink(missing_ok=True)
        try:
            return asyncio.run(self._supervisor.run(self._children(), on_ready=ready, watch=watch))
        finally:
            path.unlink(missing_ok=True)

    def _children(self) -> "list[Child]":
        from router.cli.config import environment_of
        from workers.supervisor import Child

        environment = environment_of(self.settings)
        grace_seconds = self.settings.stop_grace_seconds + _STOP_MARGIN_SECONDS

        def child(name: str, *arguments: str, ready_url: str | None = None) -> Child:
            # -P: a folder named `router` where the command was called must not be taken for this package
            argv = (sys.executable, "-P", "-m", "router.cli.main", name, *arguments)
            more = {"SEEDROUTER_URL": self.url} if name == "simulate" else {}
            return Child(name, argv, environment | more, stop_grace_seconds=grace_seconds, ready_url=ready_url)

        children = [child("api", ready_url=f"{self.url}/health/ready"), child("dispatcher"), child("timekeeper"), child("courier")]
        if self.settings.phones_amqp_url:
            children.append(child("relay"))
        return [*children, child("simulate", str(self.simulate), "--protocol", self.simulate_protocol)] if self.simulate else children

    @property
    def _workers(self) -> tuple[str, ...]:
        """The roles that have a metrics port of their own."""
        workers = ("dispatcher", "timekeeper", "courier")
        return (*workers, "relay") if self.settings.phones_amqp_url else workers

    def _write_run_file(self, path: Path) -> None:
        import msgspec

        from router.cli.client import Running

        ports = {role: getattr(self.settings, f"{role}_metrics_port") for role in self._workers}
        base = self.url.rsplit(":", 1)[0]
        metrics = {"api": f"{self.url}/metrics"} | {role: f"{base}:{port}/metrics" for role, port in ports.items() if port}
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(Running(self.url, os.getpid(), metrics)) + b"\n")
        temporary.rename(path)


def _introduce(stack: Stack) -> None:
    settings = stack.settings
    print(f"Seedrouter listens on {settings.public_url or stack.url} (OpenAPI: {stack.url}/schema)")
    print(f"Data folder: {settings.data} (the operator token is in secrets.json there)")
    print(f"Next: seedrouter accounts create NAME --balance 1000 --data {settings.data}")
    if stack.simulate:
        print(f"Simulated phones: {stack.simulate}; what they send is in {settings.data / 'air.jsonl'}")
    if settings.open_seeds:
        typer.secho(
            "WARNING: open seeds are on. Any phone that pings is given messages, codes included, without enrolment.",
            bold=True,
            fg=typer.colors.RED,
        )
    sys.stdout.flush()


def can_listen(host: str, port: int) -> bool:
    """Is this port free?"""
    try:
        _listener(host, port).close()
    except CliError:
        return False
    return True


def _free_port(host: str) -> int:
    with _listener(host, 0) as listener:
        return int(listener.getsockname()[1])


def _wait_for_port(host: str, port: int) -> None:
    """Raises `CliError` when it cannot be listened on."""
    deadline = time.monotonic() + _PORT_WAIT_SECONDS
    while not can_listen(host, port) and time.monotonic() < deadline:
        time.sleep(0.1)
    _listener(host, port).close()


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise CliError(f"cannot listen on {host} port {port} ({reason}): choose others with --host, --port") from None


def _exit(signal_number: int, frame: object) -> None:
    sys.exit(_TERMINATED)
