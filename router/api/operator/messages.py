"""Messages: find, trace and cancel them, and send on behalf of an account."""

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from router.api.operator.schemas import MessageMade, NewMessage
from router.api.parts import header_of, parts_of
from router.domain.account import KeyCredential
from router.domain.errors import Conflict, Invalid, NotFound, Unauthorized
from router.domain.message import State
from router.services import submit
from router.services.inquiry import MessageSummary, MessageTrace


@get("/messages")
async def find(
    request: "Request[Any, Any, Any]",
    account: str | None = None,
    phone: str | None = None,
    in_state: Annotated[State | None, Parameter(query="state")] = None,
    limit: int = 50,
) -> list[MessageSummary]:
    """The newest messages, latest first."""
    search = parts_of(request).message_search
    term = search.phone(phone) if phone else None
    return (await search.find(term, account=account or "", state=in_state or "", limit=limit)).messages


@get("/messages/{message_id:str}")
async def trace(request: "Request[Any, Any, Any]", message_id: str) -> MessageTrace:
    """A message's whole journey: every attempt with its times and why that seed."""
    return await parts_of(request).inquiry.trace(message_id)


@post("/messages/{message_id:str}/cancel", status_code=200)
async def cancel(request: "Request[Any, Any, Any]", message_id: str) -> MessageTrace:
    """Withdraws a message that was not sent yet; 409 where it is too late."""
    return await parts_of(request).inquiry.cancel(message_id)


@post("/messages", status_code=201)
async def send(request: "Request[Any, Any, Any]", data: NewMessage) -> MessageMade:
    """Sends on behalf of an account, by its limits and out of its wallet. `Idempotency-Key` makes sending twice sending once."""
    parts = parts_of(request)
    try:
        account = await parts.admin.get(data.account)
    except NotFound:
        raise Invalid("account", "no such account") from None
    if not account.key_hashes:
        raise Invalid("account", "all its keys are revoked; add one first")
    try:
        accepted = await parts.submit.submit(
            account,
            submit.Request(
                dialect="operator",
                credential=KeyCredential(min(account.key_hashes)),
                phone=data.phone,
                template_key=data.template_key,
                text=data.text,
                lane=data.lane or ("otp" if data.text is None else "notification"),
                idempotency_key=header_of(request, b"idempotency-key"),
            ),
        )
    except Unauthorized:
        # Not the operator's: the key that stood for the account was revoked in between.
        raise Conflict("the account's keys are being changed; try again") from None
    return MessageMade(accepted.message.id, accepted.message.state)


HANDLERS: list[HTTPRouteHandler] = [find, trace, cancel, send]
