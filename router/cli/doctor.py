"""`doctor`: is this machine, and the router on it, as it should be? Says what to do where it is not."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec
import typer

from router.cli.checks import ANSWER_SECONDS, Check, Status
from router.cli.errors import FAILED, CliError
from router.cli.options import Json, OwnData, RedisUrl
from router.cli.output import print_json, print_rich

if TYPE_CHECKING:
    from router.settings import Settings

_OLDEST_PYTHON: Final = (3, 11)
_OPEN_FILES: Final = 4096
_STYLES: Final[dict[Status, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(data: OwnData = None, redis_url: RedisUrl = None, as_json: Json = False) -> None:
    """Check this machine and the router on it; exit code 1 when something fails."""
    from router.cli.config import load_settings

    settings = load_settings(data=data, redis_url=redis_url)
    checks = [check for look in _LOOKS for check in _safely(look, settings)]
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": msgspec.to_builtins(checks)})
    else:
        _print(checks)
    raise typer.Exit(FAILED if failed else 0)


def check_python(settings: "Settings") -> Iterator[Check]:
    """The one that runs this."""
    found = ".".join(map(str, sys.version_info[:3]))
    enough = sys.version_info >= _OLDEST_PYTHON
    yield Check("Python", "ok" if enough else "fail", found, "" if enough else "install Python 3.11 or newer")


def check_redis_binary(settings: "Settings") -> Iterator[Check]:
    """Needed only where no Redis is given."""
    from router.redis_server import RedisNotFound, find_server, server_version

    try:
        binary = find_server()
    except RedisNotFound as error:
        yield Check("Redis to bring along", "warn" if settings.redis_url else "fail", "none", str(error))
        return
    version = server_version(binary)
    yield Check("Redis to bring along", "ok", f"{binary} {'.'.join(map(str, version or ()))}")


def check_redis(settings: "Settings") -> Iterator[Check]:
    """The one that is given, or that runs on the data folder."""
    from router.cli.doctor_servers import look_at_redis
    from router.embedded import socket_path

    url = settings.redis_url
    if not url:
        path = socket_path(settings.data)
        if not path.exists():
            yield Check("Redis", "ok", "none is given and none runs on the data folder: `up` brings one along")
            return
        url = f"unix://{path}?db=0"
    yield from look_at_redis(url, "Redis", "SEEDROUTER_REDIS_URL, --redis-url")


def check_broker(settings: "Settings") -> Iterator[Check]:
    """The queue's, where it is another than the store's Redis."""
    from router.cli.doctor_servers import look_at_broker, look_at_redis
    from router.redis_url import SCHEMES

    url = settings.broker_url
    if not url or url == settings.redis_url:
        yield Check("broker", "ok", "the store's Redis")
    elif url.split("://", 1)[0] in SCHEMES:
        yield from look_at_redis(url, "broker Redis", "SEEDROUTER_BROKER_URL")
    else:
        yield from look_at_broker(url, "SEEDROUTER_BROKER_URL")


def check_data(settings: "Settings") -> Iterator[Check]:
    """Can it be written, and are the secrets in it private?"""
    from router.secrets import FILE_NAME

    folder = settings.data
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield Check("data folder", "fail", f"{folder} cannot be written", "choose another with --data or SEEDROUTER_DATA")
        return
    yield Check("data folder", "ok", f"{folder}{'' if folder.exists() else ' (will be made)'}")
    secrets = folder / FILE_NAME
    if secrets.exists():
        mode = secrets.stat().st_mode & 0o777
        private = mode & 0o077 == 0
        yield Check("secrets", "ok" if private else "fail", f"{secrets} mode {mode:o}", "" if private else f"chmod 600 {secrets}")


def check_port(settings: "Settings") -> Iterator[Check]:
    """Free, or used by the router of this data folder."""
    from router.cli.client import read_running
    from router.cli.up import can_listen

    running = read_running(settings.data)
    if running is not None:
        yield _check_running(running.url, running.pid)
        return
    free = can_listen(settings.host, settings.port)
    where = f"{settings.host} port {settings.port}"
    if not free and _answers(settings.host, settings.port):
        yield Check("port", "ok", f"{where}: a router of ours listens there")
        return
    advice = "" if free else "another program has it: choose another with --port or SEEDROUTER_PORT"
    yield Check("port", "ok" if free else "fail", f"{where} is {'free' if free else 'in use'}", advice)


def _answers(host: str, port: int) -> bool:
    """Does an api of ours listen there?"""
    import httpx

    try:
        return bool(httpx.get(f"http://{host}:{port}/health/live", timeout=2.0).json()["status"] == "pass")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def check_open_files(settings: "Settings") -> Iterator[Check]:
    """How many connections this shell's processes may hold."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = limit == resource.RLIM_INFINITY or limit >= _OPEN_FILES
    advice = "" if enough else f"each connected phone takes one: ulimit -n {_OPEN_FILES} (the hard limit is {most})"
    yield Check("open files", "ok" if enough else "warn", f"at most {limit}", advice)


def check_sdk(settings: "Settings") -> Iterator[Check]:
    """What the demo submits through."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        yield Check("GateWire's SDK", "ok", version("gatewire"))
    except PackageNotFoundError:
        yield Check("GateWire's SDK", "warn", "not installed", 'only `demo` needs it: pip install "seedrouter[demo]"')


_LOOKS: Final[tuple[Callable[["Settings"], Iterator[Check]], ...]] = (
    check_python,
    check_redis_binary,
    check_redis,
    check_broker,
    check_data,
    check_port,
    check_open_files,
    check_sdk,
)


def _safely(look: "Callable[[Settings], Iterator[Check]]", settings: "Settings") -> Iterator[Check]:
    """A look that fails by itself is a finding, not the end of the examination."""
    try:
        yield from look(settings)
    except (CliError, OSError) as error:
        yield Check(look.__name__.removeprefix("check_"), "fail", str(error))


def _check_running(url: str, pid: int) -> Check:
    import httpx

    try:
        ready = httpx.get(f"{url}/health/ready", timeout=ANSWER_SECONDS, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        advice = "it was killed, or hangs: start `seedrouter up` again; it cleans up"
        return Check("router", "fail", f"run.json says {url} (pid {pid}), and nothing answers there", advice)
    advice = "" if ready else f"ask {url}/health/ready why"
    return Check("router", "ok" if ready else "fail", f"{url} (pid {pid}) is {'ready' if ready else 'not ready'}", advice)


def _print(checks: list[Check]) -> None:
    from rich.text import Text

    for check in checks:
        print_rich(Text.assemble((f"{check.status:<5}", _STYLES[check.status]), f"{check.name}: {check.found}"))
        if check.advice:
            print_rich(Text(f"     → {check.advice}"))
