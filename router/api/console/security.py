"""What keeps the console its operators' own: headers, the session behind every page, and proof that a form came from a page of ours."""

import hmac
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Response
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from router.api.console.forms import form
from router.api.parts import header_of, parts_of
from router.api.proxies import is_tls, is_trusted, last_of, peer_of
from router.domain.errors import Forbidden, Unauthorized
from router.services.console import Session

Connection = ASGIConnection[Any, Any, Any, Any]
PREFIX: Final = "/console"
SESSION_COOKIE: Final = "seedrouter_session"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
POLL_HEADER: Final = b"x-console-poll"
"""A page's script says so where nobody did anything: such a request keeps no session alive."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "HX-Request",
}


def add_headers(response: "Response[Any]") -> "Response[Any]":
    """Puts the headers of every page on a response; its own stay."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def same_site(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: what changes something comes from a page of ours, as the browser says. Raises `Forbidden`.

    Browsers say it by Sec-Fetch-Site, over plain http by Origin alone; what says neither has to bring the form's token like all others.
    """
    if connection.scope["method"] in SAFE_METHODS:  # type: ignore[typeddict-item]
        return
    site = header_of(connection, b"sec-fetch-site")
    if site and site not in ("same-origin", "none"):
        raise Forbidden("this form came from another site")
    origin = header_of(connection, b"origin")
    if origin and urlsplit(origin).netloc not in _own_hosts(connection):
        raise Forbidden("this form came from another site")


def _own_hosts(connection: Connection) -> set[str]:
    settings = parts_of(connection).settings
    hosts = {header_of(connection, b"host"), urlsplit(settings.public_url).netloc}
    if is_trusted(peer_of(connection), settings):
        hosts.add(last_of(header_of(connection, b"x-forwarded-host")))
    return hosts - {""}


async def signed_in(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: there is a session, and what changes something brings its token. Raises `Unauthorized`, `Forbidden`, `Unavailable`."""
    session = await find_session(connection)
    if session is None:
        raise Unauthorized("sign in first")
    if connection.scope["method"] not in SAFE_METHODS:  # type: ignore[typeddict-item]
        await check_csrf(connection, session.csrf)


async def find_session(connection: Connection) -> Session | None:
    """The session of a request, noted at it for `session_of`. Raises `Unavailable` where the store is away."""
    cookie = connection.cookies.get(SESSION_COOKIE, "")
    session = await parts_of(connection).console.look(cookie, is_used=not header_of(connection, POLL_HEADER)) if cookie else None
    if session is not None:
        connection.scope.setdefault("state", {})["console_session"] = session
    return session


def session_of(connection: Connection) -> Session | None:
    """What the guard found; None on pages that need no session."""
    found = connection.scope.get("state", {}).get("console_session")
    return found if isinstance(found, Session) else None


async def check_csrf(connection: Connection, expected: str) -> None:
    """Raises `Forbidden` where a form, or its header, has another token."""
    given = header_of(connection, b"x-csrf-token") or (await form(connection)).get("csrf", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        raise Forbidden("this form is out of date, or came from another site: go back, load the page again, and repeat what you did")


def cookie_options(connection: Connection) -> dict[str, Any]:
    """How our cookies are set: no script sees them, no other site's request brings them, and they never leave TLS they came over."""
    return {"path": PREFIX, "httponly": True, "samesite": "strict", "secure": is_tls(connection, parts_of(connection).settings)}
