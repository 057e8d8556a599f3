"""Pages, and the parts of them that renew themselves."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jinja2
from litestar import Request, Response
from litestar.contrib.jinja import JinjaTemplateEngine
from litestar.datastructures import Cookie
from litestar.enums import MediaType
from litestar.response import Redirect, Template
from litestar.template.config import TemplateConfig

from router.api.console.filters import FILTERS
from router.api.console.forms import form
from router.api.console.security import PREFIX, cookie_options, session_of
from router.api.console.static import url_of
from router.api.parts import parts_of

__all__ = ["TEMPLATES", "AnyRequest", "back", "form", "page", "partial"]

AnyRequest = Request[Any, Any, Any]
NAV: Final = (
    ("overview", "Overview", PREFIX),
    ("messages", "Messages", f"{PREFIX}/messages"),
    ("seeds", "Seeds", f"{PREFIX}/seeds"),
    ("devices", "Devices", f"{PREFIX}/devices"),
    ("accounts", "Accounts", f"{PREFIX}/accounts"),
    ("dead", "Dead letters", f"{PREFIX}/dead"),
    ("fraud", "Fraud", f"{PREFIX}/fraud"),
)
"""Section, its name, where it is."""
_FLASH_COOKIE: Final = "seedrouter_flash"
_FLASH_SECONDS: Final = 60
_FLASH_LONGEST: Final = 500


def _environment() -> jinja2.Environment:
    folder = Path(str(files("router.api.console"))) / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    environment.globals["static"] = url_of
    return environment


TEMPLATES: Final = TemplateConfig(instance=JinjaTemplateEngine.from_environment(_environment()))
"""For the application."""


def page(request: AnyRequest, template: str, /, *, title: str, section: str, status: int = 200, **context: Any) -> Template:
    """A whole page. Its template extends `base.html`; it has what `partial` gives, and `title`, `nav`, `section`, `flash`.

    What `back` had to say is said here, once.
    """
    flash = parts_of(request).console.signer.read("flash", request.cookies.get(_FLASH_COOKIE, ""))
    told = {"title": title, "nav": NAV, "section": section, "flash": flash}
    response = partial(request, template, status=status, **context, **told)
    if _FLASH_COOKIE in request.cookies:
        response.delete_cookie(_FLASH_COOKIE, path=PREFIX)
    return response


def partial(request: AnyRequest, template: str, /, *, status: int = 200, **context: Any) -> Template:
    """A part of a page, for a script that renews it. It has `csrf`, `now` (Unix seconds) and `currency`."""
    parts, session = parts_of(request), session_of(request)
    common = {
        "csrf": session.csrf if session else "", "is_signed_in": session is not None, "now": parts.clock.now(),
        "currency": parts.settings.currency,
    }  # fmt: skip
    return Template(template, context={**common, **context}, status_code=status, media_type=MediaType.HTML)


def back(request: AnyRequest, path: str, flash: str, kind: str = "ok") -> Redirect:
    """On to another page (a path of the console), which says `flash` once; `kind` is `ok`, `warn` or `error`.

    No secret and no whole number in it: it travels in a cookie that is signed, and not sealed.
    """
    signed = parts_of(request).console.signer.sign("flash", {"text": flash[:_FLASH_LONGEST], "kind": kind}, _FLASH_SECONDS)
    cookie = Cookie(key=_FLASH_COOKIE, value=signed, max_age=_FLASH_SECONDS, **cookie_options(request))
    return Redirect(path, status_code=303, cookies=[cookie])


def login_path(path: str, query: str) -> str:
    """The login page, which leads on to where somebody wanted to go."""
    wanted = f"{path}?{query}" if query else path
    return f"{PREFIX}/login" if wanted == PREFIX else f"{PREFIX}/login?next={quote(wanted, safe='')}"


def safe_next(path: str) -> str:
    """Where to go after the login: a path of the console, whatever the address line says."""
    is_ours = path == PREFIX or path.startswith((f"{PREFIX}/", f"{PREFIX}?"))
    is_clean = path.isascii() and path.isprintable() and "\\" not in path and ".." not in path
    return path if is_ours and is_clean and not path.startswith(f"{PREFIX}/login") else PREFIX


def redirect(path: str) -> "Response[Any]":
    """On to another page, which is then asked for by GET."""
    return Redirect(path, status_code=303)
