"""RelaySMS answers errors as bare text."""

from typing import Any

from litestar import Request, Response

from router.api.problems import describe
from router.api.relaysms.cors import PUBLIC
from router.domain.errors import Invalid

TEXT = "text/html"
"""The framework adds the charset."""


def clients_error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[dict[str, str]]":
    """The same as `{"error": text}`, as /v3/clients tells it; browsers of other sites may read it."""
    problem = describe(request, error)
    status = 400 if isinstance(error, Invalid) or problem.status == 422 else problem.status
    return Response({"error": problem.text}, status_code=status, headers=problem.headers | PUBLIC)


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[str]":
    """400 with a text for what is wrong with the call; the other statuses as everywhere."""
    problem = describe(request, error)
    status = 400 if isinstance(error, Invalid) or problem.status == 422 else problem.status
    return Response(problem.text, status_code=status, headers=problem.headers, media_type=TEXT)
