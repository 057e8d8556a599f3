"""How the router is, as SMSGate's clients ask it. Shapes: draft-inadarei-api-health-check, and SMSGate's `HealthResponse`."""

import time
from importlib.metadata import version
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.types import ControllerRouterHandler

from router.api.parts import Parts, parts_of
from router.domain.errors import Unavailable

Status = Literal["pass", "warn", "fail"]


class Check(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One thing that was looked at."""

    status: Status
    description: str = ""
    observed_unit: str = ""
    observed_value: int | None = None


class Health(msgspec.Struct, frozen=True):
    """The worst of its checks."""

    status: Status
    version: str
    checks: dict[str, Check]


def _answer(checks: dict[str, Check]) -> "Response[Health]":
    found = {check.status for check in checks.values()}
    worst: Status = "fail" if "fail" in found else "warn" if "warn" in found else "pass"
    return Response(Health(worst, version("seedrouter"), checks), status_code=503 if worst == "fail" else 200)


@get("/health/live")
async def live() -> "Response[Health]":
    """The process answers."""
    return _answer({})


@get(["/health", "/health/ready", "/health/startup"])
async def ready(request: "Request[Any, Any, Any]") -> "Response[Health]":
    """It can accept messages. 503 otherwise."""
    parts = parts_of(request)
    stopping = parts.closing.is_set()
    return _answer({
        "process": Check("fail" if stopping else "pass", "stopping" if stopping else "running"),
        "store": await _store(parts),
        "queue": _queue(parts),
    })  # fmt: skip


async def _store(parts: Parts) -> Check:
    begun = time.perf_counter()
    try:
        await parts.store.time()
    except Unavailable:
        return Check("fail", "the store does not answer")
    return Check("pass", "the store answers", "ms", round((time.perf_counter() - begun) * 1000))


def _queue(parts: Parts) -> Check:
    """Full is a warning: what is on it goes out, and so there will be room."""
    depth = parts.publisher.depth
    full = depth >= parts.settings.max_queue_length
    return Check("warn" if full else "pass", "no new messages are taken" if full else "messages on the queue", "messages", depth)


HANDLERS: list[ControllerRouterHandler] = [live, ready]
