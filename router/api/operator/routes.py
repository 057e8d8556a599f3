"""The operator API's router: one guard before everything, so that 401 comes before 422."""

from typing import Any

from litestar import Router
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from router.api.operator import accounts, dead_letters, devices, flow, fraud, messages, portability, queue, seeds, webhooks
from router.api.parts import bearer_of, parts_of


async def _is_operator(connection: "ASGIConnection[Any, Any, Any, Any]", _: BaseRouteHandler) -> None:
    parts_of(connection).check_operator(bearer_of(connection))


router = Router(
    "/operator/v1",
    route_handlers=[
        *accounts.HANDLERS,
        *seeds.HANDLERS,
        *devices.HANDLERS,
        *messages.HANDLERS,
        *webhooks.HANDLERS,
        *fraud.HANDLERS,
        *flow.HANDLERS,
        *dead_letters.HANDLERS,
        queue.state,
        portability.import_numbers,
    ],
    guards=[_is_operator],
    tags=["Operator"],
)
