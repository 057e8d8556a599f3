"""The operator API, `/operator/v1`: everything that the command line does goes through it."""

from router.api.operator.errors import error_response
from router.api.operator.routes import router

__all__ = ["error_response", "router"]
