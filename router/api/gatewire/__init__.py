"""The GateWire dialect: spec/gatewire.md. Its public SDKs, unchanged, are the judges."""

from router.api.gatewire.errors import error_response
from router.api.gatewire.routes import router

__all__ = ["error_response", "router"]
