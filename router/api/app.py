"""The HTTP application: all dialects side by side, each with its own routes and its own shape of errors."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from router.api import console, gatewire, health, operator, relaysms, seeds, smsgate
from router.api.parts import make_parts, running
from router.secrets import Secrets
from router.settings import Settings

Respond = Callable[["Request[Any, Any, Any]", Exception], "Response[Any]"]
_SHAPES: tuple[tuple[re.Pattern[str], Respond], ...] = (
    (re.compile(r"/(api/)?(3rdparty|mobile)/v1(/|$)"), smsgate.error_response),
    (re.compile(r"/api/v1(/|$)"), gatewire.error_response),
    (re.compile(r"/seeds/[^/]+/."), seeds.error_response),
    (re.compile(r"/seed(s|ers)(/|$)"), relaysms.error_response),
    (re.compile(r"/v[0-9]+/sync(/|$)"), relaysms.error_response),
    (re.compile(r"/sms(/|$)"), relaysms.error_response),
    (re.compile(r"/v3/clients(/|$)"), relaysms.clients_error_response),
    (re.compile(r"/console(/|$)"), console.error_response),
)
"""By path, since errors of routing have no route; the first that matches. Everything else answers like the operator API."""


def create_app(settings: Settings, secrets: Secrets) -> Litestar:
    """The api role's application."""
    parts = make_parts(settings, secrets)

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state["parts"] = parts
        async with running(parts):
            yield

    return Litestar(
        route_handlers=[
            gatewire.router, relaysms.router, relaysms.sync_router, relaysms.sms_router, relaysms.clients_router,
            seeds.router, *smsgate.routers, operator.router, health.router,
            *(console.routers if settings.console else ()),
        ],
        lifespan=[lifespan],
        exception_handlers={HTTPException: _respond, Exception: _respond},
        request_max_body_size=settings.max_body_bytes,
        template_config=console.TEMPLATES,
        openapi_config=OpenAPIConfig(
            title="Seedrouter",
            version=version("seedrouter"),
            path="/schema",
            # JSON only: litestar's pages load their scripts from elsewhere
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        ),
        logging_config=None,
        debug=False,
    )


def _respond(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Any]":
    """An error in the shape of the dialect whose path was called."""
    # Not request.url: it cannot be read with an odd Host header
    path = str(request.scope["path"])
    shape = next((shape for pattern, shape in _SHAPES if pattern.match(path)), operator.error_response)
    return shape(request, error)
