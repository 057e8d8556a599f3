"""Messages: find them, follow one, withdraw it."""

from typing import Any, Final

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template

from router.api.console.addresses import is_part, whole_number, with_query
from router.api.console.hidden import hide, reveal
from router.api.console.pages import AnyRequest, back, form, page, partial, redirect
from router.api.parts import Parts, parts_of
from router.domain.errors import Invalid
from router.domain.lifecycle import Stale
from router.domain.message import STATES
from router.domain.numbering import mask
from router.services.message_search import Term

_PATH: Final = "/console/messages"
_LIMITS: Final = (50, 100, 200, 500)
_STOP_POLLING: Final = 286
"""htmx: nothing more will change, ask no more."""


@get("/messages")
async def list_messages(
    request: AnyRequest, find: str = "", account: str = "", status: str = "", before: str = "", limit: str = ""
) -> Template:
    """The newest messages; those of a search. What is searched for is sealed in the address (`hidden`)."""
    parts = parts_of(request)
    asked = {"find": find, "account": account, "status": status, "limit": limit}
    if status and status not in STATES:
        raise Invalid("status", "not a message's state")
    term = reveal(parts, find, Term) if find else None
    most = whole_number(limit, "limit", _LIMITS[0], _LIMITS[-1])
    found = await parts.message_search.find(
        term, account=await _account_id(parts, account), state=status, limit=max(1, most), before=before
    )
    context: dict[str, Any] = {
        "found": found, "names": await parts.admin.names(message.account for message in found.messages),
        "older": with_query(_PATH, **asked, before=found.older) if found.older else "",
        "newest": with_query(_PATH, **asked) if before else "", "term": term, "is_filtered": bool(term or account or status),
    }  # fmt: skip
    if is_part(request):
        return partial(request, "_messages.html", **context)
    return page(
        request, "messages.html", title="Messages", section="messages", **context, **_form(asked),
        here=with_query(_PATH, **asked, before=before), searched=_shown(term),
    )  # fmt: skip


def _form(asked: dict[str, str], words: str = "", fault: str = "") -> dict[str, Any]:
    states, limits = [("", "any"), *((state, state) for state in STATES)], [(str(limit), str(limit)) for limit in _LIMITS]
    return {"asked": asked, "states": states, "limits": limits, "words": words, "fault": fault}


def _shown(term: Term | None) -> str:
    """What is searched for, as a page may say it."""
    if term is None:
        return ""
    return f"to {mask(term.value)}" if term.kind == "phone" else f"of the submission {term.value}"


async def _account_id(parts: Parts, account: str) -> str:
    """An account by its id or its name; `Invalid` where there is none, or several."""
    if not account:
        return ""
    names = await parts.admin.names()
    if account in names:
        return account
    found = [account_id for account_id, name in names.items() if name == account]
    if len(found) != 1:
        raise Invalid("account", "several accounts have this name: give the id" if found else "no account has this id or name")
    return found[0]


@post("/messages/find", status_code=200)
async def find_messages(request: AnyRequest) -> Response[Any]:
    """From a search to what it finds. It is posted, so that no number stands in an address."""
    parts, fields = parts_of(request), await form(request)
    words = fields.get("q", "")
    asked = {name: fields.get(name, "") for name in ("account", "status", "limit")}
    # An account's own page links here by its id; a search within a search is not meant
    try:
        await _account_id(parts, asked["account"])
        known = await parts.message_search.identify(words) if words else None
    except Invalid as error:
        return page(
            request, "messages.html", title="Messages", section="messages", status=422, found=None,
            **_form({"find": "", **asked}, words, str(error)),
        )  # fmt: skip
    if isinstance(known, str):
        return redirect(f"{_PATH}/{known}")
    return redirect(with_query(_PATH, find=hide(parts, known) if known else "", **asked))


@get("/messages/find")
async def loaded_again() -> Response[Any]:
    """Where a search found nothing, the page bears this address; a form is not posted again."""
    return redirect(_PATH)


@get("/messages/{message_id:str}")
async def show_message(request: AnyRequest, message_id: str) -> Template:
    """One message's journey; it renews itself while something can change."""
    context = await _journey(request, message_id)
    if is_part(request):
        status = 200 if context["journey"].is_open else _STOP_POLLING
        return partial(request, "_message.html", status=status, **context)
    return page(request, "message.html", title=f"Message {message_id}", section="messages", **context)


async def _journey(request: AnyRequest, message_id: str) -> dict[str, Any]:
    parts = parts_of(request)
    message, journey = await parts.inquiry.journey(message_id)
    names = await parts.admin.names([message.account])
    return {"message": message, "journey": journey, "account_name": names.get(message.account, ""), "rules": parts.settings.rules()}


@get("/messages/{message_id:str}/cancel")
async def ask_to_cancel(request: AnyRequest, message_id: str) -> Template:
    """What cancelling it would do, and a button."""
    context = await _journey(request, message_id)
    return page(request, "message_cancel.html", title=f"Cancel {message_id}?", section="messages", **context)


@post("/messages/{message_id:str}/cancel", status_code=200)
async def cancel_message(request: AnyRequest, message_id: str) -> Redirect:
    """Withdraws it, where it is not too late."""
    try:
        trace = await parts_of(request).inquiry.cancel(message_id)
    except Stale as error:
        return back(request, f"{_PATH}/{message_id}", f"Too late: {error}.", "error")
    held = any(attempt.ended_at is None and attempt.handed_at is not None for attempt in trace.attempts)
    if held:
        words = "Cancelled; a seed has it in its hands and may still send it, until its lease is over."
        return back(request, f"{_PATH}/{message_id}", words, "warn")
    return back(request, f"{_PATH}/{message_id}", f"It is {trace.message.state} now, and no seed will send it.")


HANDLERS: list[HTTPRouteHandler] = [list_messages, find_messages, loaded_again, show_message, ask_to_cancel, cancel_message]
