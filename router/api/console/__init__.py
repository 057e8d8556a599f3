"""The console, `/console`: what an operator looks at, as pages that need no build step and ask no other host for anything."""

from router.api.console.errors import error_response
from router.api.console.pages import TEMPLATES
from router.api.console.routes import routers

__all__ = ["TEMPLATES", "error_response", "routers"]
