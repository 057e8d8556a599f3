"""`backup` and `restore`: all that the store holds, as one RDB file."""

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from router.cli.errors import CliError
from router.cli.options import OwnData, RedisUrl

if TYPE_CHECKING:
    import redis

    from router.secrets import Secrets
    from router.services.restoring import Restored, Restoring
    from router.settings import Settings

T = TypeVar("T")
_STDOUT: Final = Path("-")
_GONE_SECONDS: Final = 3.0
"""A health check's connection is gone by then; a role's stays."""


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, allow_dash=True, help="Where to put it; - is standard output.")],
    data: OwnData = None,
    redis_url: RedisUrl = None,
) -> None:
    """Copy all that the store holds at this moment into an RDB file, while everything goes on. The secrets are not in it."""
    from router.cli.config import load_settings
    from router.cli.logs import configure_logs
    from router.redis_dump import CopyFailed, fetch

    settings = load_settings(data=data, redis_url=redis_url)
    configure_logs(settings.log_format, settings.log_level)
    settings = settings.model_copy(update={"redis_url": settings.redis_url or _embedded_url(settings)})
    with _client(settings) as client:
        _run(settings, _secrets(settings), lambda restoring: restoring.note_made())
        if file == _STDOUT:
            for piece in fetch(client):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        part = file.with_name(f"{file.name}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                for piece in fetch(client):
                    out.write(piece)
                size = out.tell()
                out.flush()
                os.fsync(out.fileno())
            part.rename(file)
        except OSError as error:
            raise CliError(f"{error.filename or file} cannot be written: {error.strerror}") from None
        except CopyFailed:
            part.unlink(missing_ok=True)
            raise
    print(f"{file}: {size} bytes. The secrets are not in it: keep them in another place; without them it is worth little.")


def restore(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", dir_okay=False, exists=True, help="What `backup` wrote.")] = None,
    loaded: Annotated[
        bool, typer.Option("--loaded", help="Redis has the backup already (a copied data folder, a Cluster): only end what was open.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Nothing has run since the backup: what was open goes on. If that is not so, it is sent twice.")
    ] = False,
    data: OwnData = None,
    redis_url: RedisUrl = None,
) -> None:
    """Put a backup into an empty Redis while no role runs, and end what was open in it, since it may have been sent in the meantime."""
    from router.cli.config import check_urls, load_settings
    from router.cli.logs import configure_logs
    from router.data_folder import lock_data
    from router.embedded import EmbeddedRedis

    if (file is None) != loaded:
        raise CliError("give the file of a backup, or --loaded where Redis has it already")
    settings = load_settings(data=data, redis_url=redis_url)
    check_urls(settings)
    configure_logs(settings.log_format, settings.log_level)
    if settings.redis_url:
        _print(_restore(settings, file, resume=resume), resume=resume)
        return
    with lock_data(settings.data) as lock:
        _secrets(settings)
        with EmbeddedRedis(settings.data, lock=lock) as server:
            _print(_restore(settings.model_copy(update={"redis_url": server.url}), file, resume=resume), resume=resume)


def _restore(settings: "Settings", file: Path | None, *, resume: bool) -> "Restored":
    from router.redis_feed import feed
    from router.redis_url import read_url
    from router.store.restoring import UNFINISHED_KEY

    secrets = _secrets(settings)
    if file is not None:
        place = read_url(settings.redis_url)
        if place.master:
            raise CliError("Sentinel would take the restore for a failure: stop the Sentinels, and give the master itself (redis://host:port)")
        with _client(settings) as client:
            if keys := client.info("keyspace"):
                raise CliError(f"this Redis is not empty ({', '.join(keys)}): a restore replaces all that a Redis holds. FLUSHALL it first")
            _refuse_company(client)
            feed(client, file, [(b"SET", UNFINISHED_KEY.encode(), b"1")], place.database)
    return _run(settings, secrets, lambda restoring: restoring.finish(resume=resume))


def _refuse_company(client: "redis.Redis") -> None:
    """Roles that run would go to work on what they find."""
    own = client.client_id()
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        others = [
            one for one in client.client_list()
            if int(one["id"]) != own and not set(one["flags"]) & {"S", "M", "O"} and not one["name"].startswith("sentinel")
        ]  # fmt: skip
        if not others:
            return
        if time.monotonic() > deadline:
            raise CliError(f"{len(others)} others are connected to this Redis ({others[0]['addr']} …): stop all roles first")
        time.sleep(0.1)


@contextmanager
def _client(settings: "Settings") -> "Iterator[redis.Redis]":
    import redis

    from router.redis_dump import open_server

    try:
        with open_server(settings.redis_url) as client:
            yield client
    except ValueError as error:
        raise CliError(str(error)) from None
    except redis.RedisError as error:
        raise CliError(f"Redis: {error}") from None


def _secrets(settings: "Settings") -> "Secrets":
    """Those that are there: a restore with new ones would open nothing."""
    from router.cli.config import load_all_secrets

    return load_all_secrets(settings, make=False)


def _embedded_url(settings: "Settings") -> str:
    from router.embedded import socket_path

    path = socket_path(settings.data)
    if not path.exists():
        raise CliError(f"no Redis runs on {settings.data}: start `seedrouter up`, or give --redis-url. Of a stopped one copy the folder")
    return f"unix://{path}?db=0"


def _run(settings: "Settings", secrets: "Secrets", work: "Callable[[Restoring], Awaitable[T]]") -> T:
    import asyncio

    from router.secrets import Sealer
    from router.services.restoring import Restoring
    from router.services.wiring import wire

    async def main() -> T:
        wiring = wire(settings, secrets)
        try:
            await wiring.clock.measure(wiring.store.time)
            sealer = Sealer(bytes.fromhex(secrets.seal_key))
            return await work(Restoring(wiring.store, wiring.transitions, wiring.clock, sealer))
        finally:
            await wiring.store.close()

    return asyncio.run(main())


def _print(restored: "Restored", *, resume: bool) -> None:
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(restored.made_at)) if restored.made_at else "a time it does not tell"
    print(f"restored from {made}")
    if restored.undone:
        print(f"{restored.undone} admissions whose messages were not recorded yet are undone: nobody heard that they were accepted")
    if resume:
        print("what was open goes on")
        return
    print(
        f"{restored.failed} messages that were not sent then have failed and are given back, {restored.expired} codes that waited have "
        f"expired, {restored.scheduled} whose time has not come go on, {restored.ended_before} had ended"
    )
    if restored.unreadable:
        print(f"{restored.unreadable} records cannot be read (another version's?); nothing was done to them")
