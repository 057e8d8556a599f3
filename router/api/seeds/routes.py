"""`/seeds/{IMSI}/messages` and `/seeds/{IMSI}/reports`, for the bearer of the seed's own token."""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import Parameter
from litestar.response.base import ASGIResponse

from router.api.parts import answer, answers, bearer_of, parts_of
from router.api.problems import describe
from router.domain.errors import Invalid
from router.services.incoming import Received, Taken
from router.services.outbox import Handed, Report
from router.services.waiters import Waiting


class StaleReport(msgspec.Struct, frozen=True):
    """A report that changed nothing. For `radio` it means: do not send."""

    id: str
    attempt: int


class ReportsTaken(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many reports changed something and how many came too late or twice; which ones, where there are any."""

    accepted: int
    stale: int
    stale_messages: list[StaleReport] = []


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[dict[str, str]]":
    """`{"error": text}`."""
    problem = describe(request, error)
    return Response({"error": problem.text}, status_code=problem.status, headers=problem.headers)


async def _is_the_seed(request: "Request[Any, Any, Any]") -> None:
    """Before the body is looked at, since 401 comes before 422. Not a guard: litestar copies the handler for each guard of each request."""
    seed = request.path_params["imsi"]
    request.scope["state"]["seed"] = await parts_of(request).outbox.authenticate(seed, bearer_of(request))


@get("/{imsi:str}/messages")
async def messages(
    request: "Request[Any, Any, Any]",
    imsi: str,
    wait: Annotated[float, Parameter(ge=0, description="seconds to wait for a first message")] = 25.0,
    max: Annotated[int, Parameter(ge=1, description="messages at the most")] = 50,
) -> list[Handed]:
    """Hands over what the seed is to send; each message's lease starts now, and ends at its `valid_until`."""
    parts, known = parts_of(request), request.scope["state"]["seed"]
    limit = min(max, parts.settings.max_messages_per_pull)
    deadline = asyncio.get_running_loop().time() + min(wait, parts.settings.max_wait_seconds)
    async with parts.outbox.waiters.waiting({imsi: known.pool}, Waiting()) as event:
        client = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({client}, timeout=min(wait, parts.outbox.rest_of_seconds(imsi)))
            while True:
                event.clear()
                if client.done():
                    return []
                if handed := await parts.outbox.fetch(imsi, known.pool, limit, known.token_hash):
                    return handed
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0 or parts.closing.is_set():
                    return []
                await _any_of(event, client, left)
        finally:
            client.cancel()


async def _left(request: "Request[Any, Any, Any]") -> None:
    """Returns when the client has gone: what is handed over after that would wait out its lease for nothing."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _any_of(event: asyncio.Event, client: "asyncio.Task[None]", seconds: float) -> None:
    woken = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({woken, client}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        woken.cancel()


@post("/{imsi:str}/reports", status_code=200, responses=answers(ReportsTaken))
async def reports(request: "Request[Any, Any, Any]", imsi: str, data: list[Report]) -> ASGIResponse:
    """Takes what the seed says of its attempts, in order. A `radio` report asks for leave to send: stale means no."""
    parts, known = parts_of(request), request.scope["state"]["seed"]
    if len(data) > parts.settings.max_reports_per_call:
        raise Invalid("reports", f"at most {parts.settings.max_reports_per_call} in one call")
    accepted, stale = await parts.outbox.report(imsi, known.pool, data)
    return answer(ReportsTaken(accepted, len(stale), [StaleReport(report.id, report.attempt) for report in stale]))


@post("/{imsi:str}/received", status_code=200)
async def received(request: "Request[Any, Any, Any]", imsi: str, data: list[Received]) -> Taken:
    """Takes the SMS that came to the seed, all or none; what it has told before is counted, and told to nobody again."""
    parts, known = parts_of(request), request.scope["state"]["seed"]
    if len(data) > parts.settings.max_reports_per_call:
        raise Invalid("received", f"at most {parts.settings.max_reports_per_call} in one call")
    return await parts.incoming.from_seed(imsi, known, data)


router = Router("/seeds", route_handlers=[messages, reports, received], before_request=_is_the_seed, tags=["Seeds"])
