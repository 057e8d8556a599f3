"""Posts to an address that somebody else has named: never into a network of ours, never longer than allowed.

Names are resolved once per connection, every address that comes out is checked, and the connection is made to one of these: there is no
second look-up that could answer otherwise. Redirects are followed here, with the same checks at each step.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from router.domain.addresses import check_url, is_literal, is_public
from router.domain.errors import Invalid, RouterError

_MAX_REDIRECTS: Final = 3
_KEEPS_THE_POST: Final = frozenset({307, 308})
_REDIRECTS: Final = frozenset({301, 302, 303, *_KEEPS_THE_POST})
_MAX_BODY_BYTES: Final = 4096
_BODY_SECONDS: Final = 1.0
"""So long the rest of a small answer is waited for: then the connection can be used again."""
_KEEPALIVE_SECONDS: Final = 4.0
"""Less than a server's, so that nothing goes out on a connection that is just being closed."""
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_AGENT: Final = f"Seedrouter/{version('seedrouter')}"


class Refused(RouterError):
    """An address that is not called, or a redirect that is not followed."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one try. `status` is None where there was no answer; `error` is empty for a success, and tells no address."""

    status: int | None
    error: str = ""

    @property
    def is_success(self) -> bool:
        return not self.error


class SystemResolver(AbstractResolver):
    """The system's look-up, in threads of its own: names whose servers do not answer must not hold up the others."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises OSError where the name is unknown."""
        look_up = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=_NUMERIC)
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class PublicResolver(AbstractResolver):
    """Another resolver's answers, unless one of them is an address that is not public: then none."""

    def __init__(self, inner: AbstractResolver, *, allow_private: bool) -> None:
        self._inner = inner
        self._allow_private = allow_private

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises `Refused`, and OSError where the name is unknown."""
        found = await self._inner.resolve(host, port, family)
        if not self._allow_private and not all(is_public(address["host"]) for address in found):
            raise Refused("its name leads to a private address")
        return found

    async def close(self) -> None:
        await self._inner.close()


class Postman:
    """One per courier, made inside its loop; `close` it."""

    def __init__(
        self, *, timeout_seconds: float, allow_http: bool, allow_private: bool, at_once: int, resolver: AbstractResolver | None = None
    ) -> None:
        """`at_once`: how many posts there will be at a time, at the most."""
        self._timeout_seconds = timeout_seconds
        self._allow_http = allow_http
        self._allow_private = allow_private
        guarded = PublicResolver(resolver or SystemResolver(at_once), allow_private=allow_private)
        self._session = aiohttp.ClientSession(
            # How many at a time is the caller's business
            connector=aiohttp.TCPConnector(resolver=guarded, limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": _AGENT},
            auto_decompress=False,
            read_bufsize=_MAX_BODY_BYTES,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes, headers: Callable[[], Mapping[str, str]]) -> Outcome:
        """Posts JSON; what others do is never raised. `headers` is asked for each hop: a signature's time is that of its request."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._follow(url, body, headers)
        except TimeoutError:
            return Outcome(None, f"no answer within {self._timeout_seconds:g} s")
        except (Refused, Invalid) as error:
            return Outcome(None, f"not called: {error}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(None, _words(error))

    async def _follow(self, url: str, body: bytes, headers: Callable[[], Mapping[str, str]]) -> Outcome:
        place = _join(URL(), url)
        for _ in range(_MAX_REDIRECTS + 1):
            self._check(place)
            async with self._session.post(
                place, data=body, headers={"Content-Type": "application/json", **headers()}, allow_redirects=False
            ) as answer:
                location = answer.headers.get("Location", "")
                if answer.status not in _KEEPS_THE_POST or not location:
                    await _finish(answer)
                    return _judge(answer.status)
                answer.close()
                place = _join(place, location)
        raise Refused(f"more than {_MAX_REDIRECTS} redirects")

    def _check(self, place: URL) -> None:
        """As at registration, of the very URL that is called: one may be read in more than one way."""
        check_url(str(place), allow_http=self._allow_http, allow_private=self._allow_private)
        host = place.host or ""
        if is_literal(host) and not self._allow_private and not is_public(host):
            raise Refused("a private address")


def _join(place: URL, location: str) -> URL:
    try:
        return place.join(URL(location))
    except ValueError:
        raise Refused("a redirect to what is no URL") from None


async def _finish(answer: aiohttp.ClientResponse) -> None:
    """Reads the rest where it is small and quick, so that the connection can be used again; else closes it. The status is all we want."""
    left = _MAX_BODY_BYTES
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_BODY_SECONDS):
            while left > 0:
                chunk = await answer.content.read(left)
                if not chunk:
                    return
                left -= len(chunk)
    answer.close()


def _judge(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status)
    return Outcome(status, f"redirect {status} is not followed" if status in _REDIRECTS else f"HTTP {status}")


def _words(error: Exception) -> str:
    """Why there was no answer; errors' own texts may hold addresses."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError)):
        return "no trusted TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"no connection ({os.strerror(number) if number else type(error.os_error).__name__})"
    return f"broken off ({type(error).__name__})"
