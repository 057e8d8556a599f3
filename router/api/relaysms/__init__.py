"""The RelaySMS dialect: spec/relaysms.md."""

from router.api.relaysms.clients import clients_router
from router.api.relaysms.errors import clients_error_response, error_response
from router.api.relaysms.incoming import router as sms_router
from router.api.relaysms.routes import router
from router.api.relaysms.sync import router as sync_router

__all__ = ["clients_error_response", "clients_router", "error_response", "router", "sms_router", "sync_router"]
