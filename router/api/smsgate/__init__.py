"""SMSGate's dialect: its 3rd-party API for applications (`/3rdparty/v1`) and its mobile API for phones (`/mobile/v1`)."""

from litestar import Router
from litestar.types import ControllerRouterHandler

from router.api.smsgate import devices, events, health, inbox, incoming, messages, mobile, mobile_messages, settings, tokens, webhooks
from router.api.smsgate.unknown import error_response

_THIRD_PARTY: list[ControllerRouterHandler] = [
    *tokens.HANDLERS,
    *health.HANDLERS,
    *messages.HANDLERS,
    *devices.HANDLERS,
    *settings.HANDLERS,
    *inbox.HANDLERS,
    *webhooks.HANDLERS,
]
_MOBILE: list[ControllerRouterHandler] = [
    *mobile.HANDLERS,
    *mobile_messages.HANDLERS,
    *events.HANDLERS,
    *webhooks.MOBILE_HANDLERS,
    *incoming.HANDLERS,
]


def _both(path: str, handlers: list[ControllerRouterHandler]) -> list[Router]:
    """Each API is served below two prefixes; the document lists it once."""
    return [
        Router(path, route_handlers=handlers, tags=["SMSGate"]),
        Router(f"/api{path}", route_handlers=handlers, include_in_schema=False),
    ]


routers = [*_both("/3rdparty/v1", _THIRD_PARTY), *_both("/mobile/v1", _MOBILE)]

__all__ = ["error_response", "routers"]
