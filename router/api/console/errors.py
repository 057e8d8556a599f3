"""Errors under /console are pages, and for scripts a line of text."""

from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.enums import MediaType

from router.api.console.pages import login_path, page, redirect
from router.api.console.security import PREFIX, SAFE_METHODS, add_headers
from router.api.parts import header_of, parts_of
from router.api.problems import describe
from router.domain.errors import Unauthorized

_TITLES = {
    400: "That cannot be done", 402: "Not enough money", 403: "Not allowed", 404: "There is no such page", 405: "That cannot be done",
    409: "It has changed meanwhile", 413: "Too large", 422: "Something is wrong with what was entered", 429: "Too much at once",
    503: "Not available now",
}  # fmt: skip


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Any]":
    """A page that says what is wrong; the login page where there is no session."""
    problem = describe(request, error)
    is_script = bool(header_of(request, b"hx-request") or header_of(request, b"x-console-poll"))
    if not parts_of(request).settings.console:
        return Response("Not found", status_code=404, media_type=MediaType.TEXT)
    response: Response[Any]
    if isinstance(error, Unauthorized):
        is_get = request.scope["method"] in SAFE_METHODS
        path, query = str(request.scope["path"]), request.scope["query_string"].decode("latin-1")
        if is_script:
            # htmx would put the login page into a part of this one
            response = Response(problem.text, status_code=401, headers={"HX-Redirect": f"{PREFIX}/login"}, media_type=MediaType.TEXT)
        elif is_get and header_of(request, b"sec-fetch-site") == "cross-site":
            # Cookies of ours do not come along with another site's link: asked for again by a page of our own, they do
            wanted = f"{quote(path)}?{query}" if query else quote(path)
            response = page(request, "continue.html", title="Seedrouter", section="", wanted=wanted)
        else:
            response = redirect(login_path(path, query) if is_get else f"{PREFIX}/login")
    elif is_script:
        response = Response(problem.text, status_code=problem.status, media_type=MediaType.TEXT)
    else:
        title = _TITLES.get(problem.status, "Something went wrong")
        response = page(request, "error.html", title=title, section="", status=problem.status, text=problem.text)
    response.headers.update(problem.headers)
    return add_headers(response)
