"""An account's templates: what they make of a code, in which alphabet, and in how many parts."""

from typing import Any

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from router.api.console.inputs import seconds_of, whole_of
from router.api.console.pages import AnyRequest, back, form, page, partial
from router.api.console.security import PREFIX
from router.api.parts import header_of, parts_of
from router.domain.errors import Invalid, NotFound
from router.domain.templates import Preview, Template, preview

_SECTION = "accounts"
_Marked = list[tuple[str, bool]]
"""Pieces of a text: does this one force UCS-2?"""


def _path(account_id: str) -> str:
    return f"{PREFIX}/accounts/{account_id}/templates"


def _marked(found: Preview) -> _Marked:
    pieces: _Marked = []
    for character in found.text:
        is_forcing = character in found.forcing
        if pieces and pieces[-1][1] == is_forcing:
            pieces[-1] = pieces[-1][0] + character, is_forcing
        else:
            pieces.append((character, is_forcing))
    return pieces


def _shown(template: Template) -> dict[str, Any]:
    """What `_preview.html` shows: of a template, or of what is wrong with it."""
    try:
        found = preview(template)
    except Invalid as fault:
        return {"preview": None, "marked": [], "wrong": fault}
    return {"preview": found, "marked": _marked(found), "wrong": None}


def _read(request: AnyRequest, fields: dict[str, str]) -> Template:
    """Raises `Invalid`."""
    return parts_of(request).admin.draft_template(
        fields.get("key", ""),
        fields.get("text", "").replace("\r\n", "\n"),
        code_length=whole_of("code_length", fields.get("code_length", "")),
        code_seconds=seconds_of("code_seconds", fields.get("code_seconds", "")),
        default=fields.get("default") == "1",
    )


@get("/accounts/{account_id:str}/templates")
async def list_templates(request: AnyRequest, account_id: str) -> "Response[Any]":
    """All of an account, by key."""
    account = await parts_of(request).admin.get(account_id)
    rows = [(account.templates[key], preview(account.templates[key])) for key in sorted(account.templates)]
    return page(request, "templates.html", title=f"Templates of {account.name}", section=_SECTION, account=account, rows=rows)


@get("/accounts/{account_id:str}/templates/edit")
async def edit_template(request: AnyRequest, account_id: str) -> "Response[Any]":
    """One template, or without `key` a new one."""
    parts = parts_of(request)
    account = await parts.admin.get(account_id)
    key = request.query_params.get("key")
    if key is None:
        template = parts.admin.draft_template("", parts.settings.default_template, default=not account.templates)
    elif key not in account.templates:
        raise NotFound("no such template")
    else:
        template = account.templates[key]
    return await _form(request, account_id, template, known=key or "")


async def _form(
    request: AnyRequest, account_id: str, template: Template, *, known: str, fault: Invalid | None = None
) -> "Response[Any]":
    """`known`: its key where there is one already. A new one may have no key yet, and is shown all the same."""
    account = await parts_of(request).admin.get(account_id)
    return page(
        request, "template.html", title=f"Template {known}" if known else "New template", section=_SECTION,
        status=200 if fault is None else 422, account=account, template=template, known=known, fault=fault, **_shown(_named(template)),
    )  # fmt: skip


def _named(template: Template) -> Template:
    return template if template.key else replace(template, key="new")


@post("/accounts/{account_id:str}/templates/preview", status_code=200)
async def show_preview(request: AnyRequest, account_id: str) -> "Response[Any]":
    """What is being typed: for a script the part that shows it, else the whole form again. Nothing is kept."""
    fields = await form(request)
    is_script = bool(header_of(request, b"hx-request"))
    try:
        template = _read(request, fields)
    except Invalid as fault:
        if is_script:
            return partial(request, "_preview.html", preview=None, marked=[], wrong=fault)
        draft = parts_of(request).admin.draft_template(fields.get("key", ""), fields.get("text", ""))
        return await _form(request, account_id, draft, known=fields.get("known", ""), fault=fault)
    if is_script:
        return partial(request, "_preview.html", **_shown(_named(template)))
    return await _form(request, account_id, template, known=fields.get("known", ""))


@post("/accounts/{account_id:str}/templates")
async def save_template(request: AnyRequest, account_id: str) -> "Response[Any]":
    """Makes or replaces it; a new default takes the place of the old one."""
    parts, fields = parts_of(request), await form(request)
    known = fields.get("known", "")
    template: Template | None = None
    try:
        template = _read(request, fields)
        if not known and template.key in (await parts.admin.get(account_id)).templates:
            raise Invalid("key", "there is a template of that key")
        segments = await parts.admin.set_template(account_id, template)
    except Invalid as fault:
        draft = template or parts.admin.draft_template(fields.get("key", ""), fields.get("text", ""))
        return await _form(request, account_id, draft, known=known, fault=fault)
    parts_word = "1 part" if segments.parts == 1 else f"{segments.parts} parts"
    return back(request, _path(account_id), f"{template.key} is saved: {parts_word} a message.", "ok" if segments.parts == 1 else "warn")


@post("/accounts/{account_id:str}/templates/remove")
async def remove_template(request: AnyRequest, account_id: str) -> "Response[Any]":
    """Messages that were accepted keep their text."""
    key = (await form(request)).get("key", "")
    await parts_of(request).admin.remove_template(account_id, key)
    return back(request, _path(account_id), f"{key} is removed.", "warn")


HANDLERS: list[HTTPRouteHandler] = [list_templates, edit_template, show_preview, save_template, remove_template]
