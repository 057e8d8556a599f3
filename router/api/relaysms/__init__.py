"""The RelaySMS dialect: spec/relaysms.md."""

from router.api.relaysms.errors import error_response
from router.api.relaysms.routes import router

__all__ = ["error_response", "router"]
