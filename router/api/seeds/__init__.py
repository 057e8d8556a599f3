"""The seed API: how enrolled seeds of our own protocol fetch messages and report (design.md)."""

from router.api.seeds.routes import error_response, router

__all__ = ["error_response", "router"]
