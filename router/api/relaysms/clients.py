"""`/v3/clients`: gateway clients, the successor of /seeds, and their reliability tests. Errors are `{"error": text}`."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, Router, get, post, route

from router.api.base_url import base_url
from router.api.parts import Parts, bearer_of, parts_of
from router.api.relaysms.cors import PREFLIGHT, PUBLIC
from router.api.relaysms.pages import Page, page_of
from router.domain.countries import country_name, country_of_name
from router.domain.errors import Invalid, NotFound
from router.domain.reliability import STATUSES, Probe
from router.services.clients import ClientFilter, GatewayClient

_PUBLIC = PUBLIC | {"Access-Control-Expose-Headers": "X-Total-Count, X-Page, X-Per-Page, Link"}
_NOT_FOUND = "Gateway client not found"


class ListedClient(msgspec.Struct, frozen=True):
    """`last_published_date`: when it was last heard of, Unix seconds; `reliability`: share of tests that succeeded, `0.00` to `1.00`."""

    country: str
    last_published_date: int
    msisdn: str
    operator: str
    operator_code: str
    protocols: Sequence[str]
    reliability: str


class StartedTest(msgspec.Struct, frozen=True):
    """`test_start_time`: Unix seconds."""

    message: str
    test_id: int
    test_start_time: int


class Refusal(msgspec.Struct, frozen=True):
    """Answered with 200 where there is no such client: clients read the text."""

    error: str


class ListedTest(msgspec.Struct, frozen=True):
    """Times are Unix seconds, null while they are not known. `status`: pending, success, timedout."""

    id: int
    msisdn: str
    sms_received_time: int | None
    sms_routed_time: int | None
    sms_sent_time: int | None
    start_time: int
    status: str


class ListedTests(msgspec.Struct, frozen=True):
    """The newest first; the totals are of all pages."""

    data: Sequence[ListedTest]
    total_records: int
    total_success: int
    total_failed: int


def _listed(client: GatewayClient) -> ListedClient:
    return ListedClient(
        country=country_name(client.country), last_published_date=int(client.lps), msisdn=client.msisdn, operator=client.operator,
        operator_code=client.operator_code, protocols=client.protocols, reliability=f"{client.reliability:.2f}",
    )  # fmt: skip


def _seconds(at: float | None) -> int | None:
    return None if at is None else int(at)


def _listed_test(probe: Probe, msisdn: str) -> ListedTest:
    return ListedTest(
        id=probe.id, msisdn=msisdn, sms_received_time=_seconds(probe.received_at), sms_routed_time=_seconds(probe.routed_at),
        sms_sent_time=_seconds(probe.sent_at), start_time=int(probe.started_at), status=probe.status,
    )  # fmt: skip


def _moment(name: str, text: str) -> dt.datetime:
    """An ISO date or time, UTC where it does not say; or Unix seconds, as the list itself tells times. Raises `Invalid`."""
    try:
        if text.isascii() and text.isdigit() and len(text) > 8:
            return dt.datetime.fromtimestamp(int(text), dt.UTC)
        moment = dt.datetime.fromisoformat(text)
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError, OSError):
        raise Invalid(name, "a date in ISO format (YYYY-MM-DD), or Unix seconds") from None


def _filter(country: str, operator: str, protocols: str, last_published_date: str) -> ClientFilter:
    return ClientFilter(
        country=country_of_name(country),
        operator=operator.strip(),
        protocols=tuple(word.strip() for word in protocols.split(",") if word.strip()),
        day=_moment("last_published_date", last_published_date).date() if last_published_date else None,
    )


def _paged(request: "Request[Any, Any, Any]", body: Any, page: Page, total: int) -> "Response[Any]":
    base = base_url(request, parts_of(request).settings) + str(request.scope["raw_path"].decode("ascii", "ignore"))
    others = [(name, value) for name, value in request.query_params.multi_items() if name not in ("page", "per_page")]
    links = ", ".join(
        f'<{base}?{urlencode([*others, ("page", number), ("per_page", page.size)])}>; rel="{name}"' for name, number in page.links(total)
    )
    headers = {"X-Total-Count": str(total), "X-Page": str(page.number), "X-Per-Page": str(page.size)} | ({"Link": links} if links else {})
    return Response(body, headers=_PUBLIC | headers)


@get("/clients")
async def list_clients(
    request: "Request[Any, Any, Any]", country: str = "", operator: str = "", protocols: str = "", last_published_date: str = "",
    page: str = "", per_page: str = "",
) -> "Response[list[ListedClient]]":  # fmt: skip
    """The gateway clients. `country`: its English name or ISO code; `protocols`: one, or several with commas: it must speak all."""
    parts = parts_of(request)
    asked = page_of(page, per_page, parts.settings.max_clients_per_page)
    wanted = _filter(country, operator, protocols, last_published_date)
    found = await parts.clients.matching(wanted)
    return _paged(request, [_listed(client) for client in asked.of(found)], asked, len(found))


@get("/clients/countries")
async def list_countries(request: "Request[Any, Any, Any]") -> "Response[list[str]]":
    """The countries that have gateway clients."""
    countries = {country_name(country) for country in await parts_of(request).clients.operators()}
    return Response(sorted(countries - {""}), headers=_PUBLIC)


@get("/clients/{country:str}/operators")
async def list_operators(request: "Request[Any, Any, Any]", country: str) -> "Response[list[str]]":
    """The operators of a country's gateway clients; empty where there are none."""
    operators = (await parts_of(request).clients.operators()).get(country_of_name(country), set())
    return Response(sorted(operators - {""}), headers=_PUBLIC)


@get("/clients/{msisdn:str}/tests")
async def list_tests(
    request: "Request[Any, Any, Any]", msisdn: str, status: str = "", start_time: str = "", end_time: str = "", page: str = "",
    per_page: str = "",
) -> "Response[ListedTests]":  # fmt: skip
    """A client's tests; none where there is no such client."""
    parts = parts_of(request)
    asked = page_of(page, per_page, parts.settings.max_clients_per_page)
    if status and status not in STATUSES:
        raise Invalid("status", f"one of {', '.join(STATUSES)}")
    since = _moment("start_time", start_time).timestamp() if start_time else float("-inf")
    until = _moment("end_time", end_time).timestamp() if end_time else float("inf")
    number, tests = await _tests(parts, msisdn)
    found = [probe for probe in reversed(tests) if status in ("", probe.status) and since <= probe.started_at <= until]
    body = ListedTests(
        data=[_listed_test(probe, number) for probe in asked.of(found)],
        total_records=len(found),
        total_success=sum(probe.status == "success" for probe in found),
        total_failed=sum(probe.status == "timedout" for probe in found),
    )
    return _paged(request, body, asked, len(found))


async def _tests(parts: Parts, msisdn: str) -> tuple[str, Sequence[Probe]]:
    try:
        seed = await parts.clients.find(msisdn)
    except NotFound:
        return msisdn, ()
    return seed.msisdn, await parts.reliability.tests(seed.id)


@post("/clients/{msisdn:str}/tests", status_code=200)
async def start_test(request: "Request[Any, Any, Any]", msisdn: str) -> StartedTest | Refusal:
    """Begins a reliability test: an SMS goes through that client. Wants the operator token, unless the setting `open_probes` is on."""
    parts = parts_of(request)
    if not parts.settings.open_probes:
        parts.check_operator(bearer_of(request))
    try:
        seed = await parts.clients.find(msisdn)
    except NotFound:
        return Refusal(_NOT_FOUND)
    probe = await parts.reliability.start(seed.id)
    return StartedTest("Test started successfully.", probe.id, int(probe.started_at))


@route(
    ["/clients", "/clients/countries", "/clients/{country:str}/operators", "/clients/{msisdn:str}/tests"],
    http_method="OPTIONS", status_code=204, include_in_schema=False,
)  # fmt: skip
async def clients_preflight(country: str = "", msisdn: str = "") -> "Response[None]":
    """A browser asks first where a GET carries a header of its own. Tests are begun by none from elsewhere: they cost an SMS."""
    return Response(None, headers=_PUBLIC | PREFLIGHT)


clients_router = Router(
    "/v3",
    # The preflight first: to a path whose OPTIONS nobody answers yet, the framework adds an answer of its own, which may win
    route_handlers=[clients_preflight, list_clients, list_countries, list_operators, list_tests, start_test],
    tags=["RelaySMS"],
)
