"""SMSGate's messages, for applications: sent, read, listed, cancelled. Each route has the old singular path too."""

from typing import Annotated, Any
from urllib.parse import quote

from litestar import Request, Response, delete, get, post
from litestar.params import Parameter
from litestar.types import ControllerRouterHandler

from router.api.parts import header_of, parts_of
from router.api.smsgate.auth import caller_of, needs
from router.api.smsgate.message_schemas import MessageState, NewMessage
from router.api.smsgate.times import parse_time
from router.domain.errors import Invalid
from router.domain.submission import PROCESS_STATES, ProcessState
from router.services.submission_list import Query

_COLLECTION = ["/messages", "/message"]
_ONE = ["/messages/{message_id:str}", "/message/{message_id:str}"]
_MOST_BODY_BYTES = 1_048_576
"""The contract's longest text fits in however a client escapes it (65,535 characters, 12 bytes each); other calls need far less."""
_SORTS = {"": True, "-created_at": True, "created_at": False, "+created_at": False, " created_at": False}
"""Newest first? A plus that was not escaped arrives as a blank."""


@post(_COLLECTION, status_code=202, before_request=needs("messages:send"), request_max_body_size=_MOST_BODY_BYTES)
async def send(
    request: "Request[Any, Any, Any]",
    data: NewMessage,
    skipPhoneValidation: Annotated[bool, Parameter(description="take the recipients as they are")] = False,  # noqa: N803 - the wire's name
    deviceActiveWithin: Annotated[  # noqa: N803
        int, Parameter(description="with deviceId: hours within which it must have been seen; 0 = any time")
    ] = 0,
) -> "Response[MessageState]":
    """Sends one text to up to 100 recipients, all of them or none. Safe to repeat with an `id` of the client's, or an `Idempotency-Key`."""
    caller = caller_of(request)
    asked = data.asked(skip_phone_validation=skipPhoneValidation, device_active_within_hours=deviceActiveWithin)
    told = await parts_of(request).submissions.submit(
        caller.account, caller.credential, asked, header_of(request, b"idempotency-key")
    )
    location = f"{request.scope['path'].rstrip('/')}/{quote(told.view.submission.id, safe='')}"
    return Response(MessageState.of(told), status_code=202, headers={"Location": location})


@get(_COLLECTION, before_request=needs("messages:list"))
async def listing(
    request: "Request[Any, Any, Any]",
    since: Annotated[str | None, Parameter(query="from", description="made at that time or later, RFC 3339")] = None,
    to: Annotated[str | None, Parameter(description="made at that time or earlier, RFC 3339")] = None,
    in_state: Annotated[str | None, Parameter(query="state")] = None,
    deviceId: str = "",  # noqa: N803
    limit: Annotated[int, Parameter(description="1 to 100")] = 50,
    offset: int = 0,
    includeContent: Annotated[bool, Parameter(description="with the text, as long as it is kept")] = False,  # noqa: N803
    sort: Annotated[str, Parameter(description="`-created_at` (newest first) or `created_at`")] = "",
) -> "Response[list[MessageState]]":
    """The account's messages. `X-Total-Count`: how many there are in all, up to as many as one call looks at."""
    if sort not in _SORTS:
        raise Invalid("sort", "created_at or -created_at")
    query = Query(
        since=None if since is None else parse_time(since, "from"),
        until=None if to is None else parse_time(to, "to"),
        state=_state(in_state),
        device=deviceId,
        limit=limit,
        offset=offset,
        newest_first=_SORTS[sort],
        with_body=includeContent,
    )
    page = await parts_of(request).submission_list.find(caller_of(request).account, query)
    return Response([MessageState.of(told) for told in page.submissions], headers={"X-Total-Count": str(page.total)})


def _state(text: str | None) -> ProcessState | None:
    for state in PROCESS_STATES:
        if text == state:
            return state
    if text:
        raise Invalid("state", f"one of {', '.join(PROCESS_STATES)}")
    return None


@get(_ONE, before_request=needs("messages:read"))
async def read(request: "Request[Any, Any, Any]", message_id: str) -> MessageState:
    """A message with the state of each recipient."""
    return MessageState.of(await parts_of(request).submissions.get(caller_of(request).account, message_id))


@delete(_ONE, status_code=200, before_request=needs("messages:cancel"))
async def cancel(request: "Request[Any, Any, Any]", message_id: str) -> MessageState:
    """Withdraws what is still pending: `Cancelling` where a phone has it, until it says that it gave it up."""
    return MessageState.of(await parts_of(request).submissions.cancel(caller_of(request).account, message_id))


HANDLERS: list[ControllerRouterHandler] = [send, listing, read, cancel]
