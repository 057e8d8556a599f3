"""Signing in and out."""

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Template

from router.api.console.pages import AnyRequest, form, page, redirect, safe_next
from router.api.console.security import PREFIX, SESSION_COOKIE, cookie_options, find_session, session_of
from router.api.parts import parts_of
from router.api.proxies import client_of
from router.domain.errors import LimitReached, Unauthorized

_VISIT_COOKIE: Final = "seedrouter_visit"
_KNOWN_COOKIE: Final = "seedrouter_known"


@get("/login")
async def login_page(request: "Request[Any, Any, Any]") -> "Response[Any]":
    """The form; straight on for who is signed in."""
    wanted = safe_next(request.query_params.get("next", ""))
    if await find_session(request) is not None:
        return redirect(wanted)
    return _form(request, wanted)


def _form(request: AnyRequest, wanted: str, fault: str = "", status: int = 200, until: float | None = None) -> Template:
    visit = parts_of(request).console.visit(request.cookies.get(_VISIT_COOKIE, ""))
    response = page(
        request, "login.html", title="Sign in", section="", status=status, csrf=visit.csrf, wanted=wanted, fault=fault, until=until
    )
    response.set_cookie(Cookie(key=_VISIT_COOKIE, value=visit.cookie, **cookie_options(request)))
    return response


@post("/login", status_code=200)
async def login(request: "Request[Any, Any, Any]") -> "Response[Any]":
    """Begins a session: 303 to where somebody wanted to go; else the form again, 401 for a wrong token, 429 where none is heard now."""
    parts, fields = parts_of(request), await form(request)
    wanted = safe_next(fields.get("next", ""))
    if not parts.console.is_visits(request.cookies.get(_VISIT_COOKIE, ""), fields.get("csrf", "")):
        return _form(request, wanted, "This page was open for too long, or cookies are off. Please try again.", 403)
    try:
        signed_in = await parts.console.sign_in(
            fields.get("token", ""), client_of(request, parts.settings), request.cookies.get(_KNOWN_COOKIE, "")
        )
    except Unauthorized:
        return _form(request, wanted, "That is not the operator token.", 401)
    except LimitReached as error:
        locked = _form(request, wanted, "Too many wrong tokens.", 429, parts.clock.now() + error.retry_after_seconds)
        locked.headers["Retry-After"] = str(error.retry_after_seconds)
        return locked
    response = redirect(wanted)
    options = cookie_options(request)
    response.set_cookie(Cookie(key=SESSION_COOKIE, value=signed_in.session, max_age=signed_in.session_seconds, **options))
    response.set_cookie(Cookie(key=_KNOWN_COOKIE, value=signed_in.known, max_age=signed_in.known_seconds, **options))
    response.delete_cookie(_VISIT_COOKIE, path=PREFIX)
    return response


@post("/logout", status_code=303)
async def logout(request: "Request[Any, Any, Any]") -> "Response[Any]":
    """Ends the session, everywhere."""
    session = session_of(request)
    if session is None:
        raise Unauthorized("there is no session")
    await parts_of(request).console.sign_out(session)
    response = redirect(f"{PREFIX}/login")
    response.delete_cookie(SESSION_COOKIE, path=PREFIX)
    return response


PUBLIC = [login_page, login]
HANDLERS = [logout]
