"""What simulated phones say to the router and hear from it: the seed API over HTTP (design.md, "The seed API")."""

from collections.abc import Sequence
from typing import Final, TypeVar

import aiohttp
import msgspec

from router.domain.errors import RouterError
from router.domain.lifecycle import ReportState
from router.domain.seed import Quota

T = TypeVar("T")

_CALL_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)
_PULL_GRACE_SECONDS: Final = 10.0
"""How long after `wait` an answer to a pull may still come."""
_KEEPALIVE_SECONDS: Final = 4.0
"""Less than a server's (uvicorn: 5), so that no report goes out on a connection that is just being closed."""


class Unanswered(RouterError):
    """No answer, or none that can be read; whether the router got the call is unknown. Trying again may help."""


class TokenRefused(RouterError):
    """401: this token is not (or no longer) good."""


class EnrolmentRefused(RouterError):
    """The router does not want this seed, and trying again will not help."""


class HandedMessage(msgspec.Struct, frozen=True):
    """A message as a pull hands it over. `valid_until` is the end of the lease, Unix seconds by the router's clock."""

    id: str
    attempt: int
    to: str
    text: str
    valid_until: float

    def __repr__(self) -> str:
        return f"<HandedMessage {self.id}/{self.attempt}>"


class Report(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a phone says of an attempt. `at` is Unix seconds by the phone's own clock."""

    id: str
    attempt: int
    state: ReportState
    error: str | None = None
    at: float | None = None


class AttemptRef(msgspec.Struct, frozen=True):
    """One attempt of one message."""

    id: str
    attempt: int


class ReportAnswer(msgspec.Struct, frozen=True):
    """How many reports of a call counted and how many were stale; `stale_messages` says which."""

    accepted: int
    stale: int
    stale_messages: list[AttemptRef] | None = None

    def is_granted(self, report: Report) -> bool | None:
        """Did this report of the call count? None when the answer does not tell."""
        if self.stale == 0:
            return True if self.accepted > 0 else None
        if self.accepted == 0:
            return False
        if not self.stale_messages:
            return None
        return AttemptRef(report.id, report.attempt) not in self.stale_messages


class Enrolment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A seed as an operator enrols it. Quota and pace: None = the router's setting."""

    imsi: str
    msisdn: str
    carrier: str
    pace_seconds: float | None = None
    quota: Quota | None = None


class _Ping(msgspec.Struct, frozen=True, kw_only=True):
    imsi: str = msgspec.field(name="IMSI")
    msisdn: str = msgspec.field(name="MSISDN")
    seed_type: str = "seed"


class _Enrolled(msgspec.Struct, frozen=True):
    imsi: str
    token: str


_encoder: Final = msgspec.json.Encoder()
_messages: Final = msgspec.json.Decoder(list[HandedMessage])
_report_answer: Final = msgspec.json.Decoder(ReportAnswer)
_enrolled: Final = msgspec.json.Decoder(_Enrolled)


def open_session() -> aiohttp.ClientSession:
    """A session for a whole fleet: as many connections as its phones need, no cookies, no headers that nobody reads."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


async def enrol(session: aiohttp.ClientSession, url: str, operator_token: str, enrolment: Enrolment) -> str:
    """Enrol a seed; returns its token, and any token it had before is void. Raises Unanswered, EnrolmentRefused."""
    status, body = await _request(
        session,
        "POST",
        f"{url.rstrip('/')}/operator/v1/seeds",
        _headers(operator_token),
        _encoder.encode(enrolment),
        _CALL_TIMEOUT,
    )
    if status not in (200, 201):
        raise EnrolmentRefused(f"the router answered {status} to the enrolment of {enrolment.imsi}")
    return _decode(_enrolled, body).token


class SeedClient:
    """One phone's side of the seed API. Every call raises Unanswered, or TokenRefused."""

    def __init__(self, session: aiohttp.ClientSession, url: str, imsi: str, token: str) -> None:
        base = url.rstrip("/")
        self.imsi = imsi
        self._session = session
        self._headers = _headers(token)
        self._ping_url = f"{base}/seeds/ping"
        self._messages_url = f"{base}/seeds/{imsi}/messages"
        self._reports_url = f"{base}/seeds/{imsi}/reports"

    def __repr__(self) -> str:
        return f"<SeedClient {self.imsi}>"

    async def ping(self, msisdn: str) -> float:
        """A sign of life; returns the LPS: the router's clock, Unix seconds."""
        answer = await self._call("POST", self._ping_url, _encoder.encode(_Ping(imsi=self.imsi, msisdn=msisdn)), _CALL_TIMEOUT)
        try:
            return float(answer)
        except ValueError:
            raise Unanswered("the LPS is not a number") from None

    async def pull(self, wait_seconds: float, maximum: int) -> list[HandedMessage]:
        """Up to `maximum` messages; waits up to `wait_seconds` for the first."""
        url = f"{self._messages_url}?wait={wait_seconds:g}&max={maximum}"
        timeout = aiohttp.ClientTimeout(total=wait_seconds + _PULL_GRACE_SECONDS)
        return _decode(_messages, await self._call("GET", url, None, timeout))

    async def report(self, reports: Sequence[Report]) -> ReportAnswer:
        """Say what happened, in the order of `reports`."""
        return _decode(_report_answer, await self._call("POST", self._reports_url, _encoder.encode(reports), _CALL_TIMEOUT))

    async def _call(self, method: str, url: str, body: bytes | None, timeout: aiohttp.ClientTimeout) -> bytes:
        status, answer = await _request(self._session, method, url, self._headers, body, timeout)
        if status == 401:
            raise TokenRefused(f"the router refused the token of {self.imsi}")
        if status != 200:
            raise Unanswered(f"status {status}")
        return answer


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


async def _request(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes | None,
    timeout: aiohttp.ClientTimeout,
) -> tuple[int, bytes]:
    """Status and body of anything but a server's error. Raises Unanswered."""
    try:
        async with session.request(method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False) as response:
            answer = await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unanswered(type(error).__name__) from error
    if response.status >= 500:
        raise Unanswered(f"status {response.status}")
    return response.status, answer


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError:
        raise Unanswered("the answer has another shape") from None
