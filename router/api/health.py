"""Health and metrics of an api process."""

from typing import Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from router.api.parts import parts_of
from router.domain.errors import Unavailable


class Health(msgspec.Struct, frozen=True):
    """`checks`: name → `pass`, or `fail: why`."""

    status: Literal["pass", "fail"]
    checks: dict[str, str]


@get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health("pass", {})


@get("/health/serving")
async def serving(request: "Request[Any, Any, Any]") -> "Response[Health]":
    """For a proxy with several api processes: 503 from when this one is told to stop. It says nothing of the store, which they share."""
    leaving = parts_of(request).leaving.is_set()
    return Response(Health("fail" if leaving else "pass", {}), status_code=503 if leaving else 200)


@get("/health/ready")
async def ready(request: "Request[Any, Any, Any]") -> "Response[Health]":
    """It can accept messages: the store answers, and it is not stopping. 503 otherwise."""
    parts = parts_of(request)
    checks = {"store": "pass", "running": "fail: stopping" if parts.leaving.is_set() else "pass"}
    try:
        await parts.store.time()
    except Unavailable as error:
        checks["store"] = f"fail: {error}"
    passed = all(check == "pass" for check in checks.values())
    return Response(Health("pass" if passed else "fail", checks), status_code=200 if passed else 503)


@get("/metrics", include_in_schema=False)
async def metrics() -> "Response[bytes]":
    """For Prometheus."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


router = Router("/", route_handlers=[live, serving, ready, metrics], tags=["Health"])
