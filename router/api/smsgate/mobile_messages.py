"""`GET /message` and `PATCH /message`: what a phone is to send, and what it says of it."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, patch
from litestar.params import Parameter
from litestar.response.base import ASGIResponse

from router.api.parts import answer, answers, parts_of
from router.api.smsgate.mobile import device_of, is_a_phone
from router.api.smsgate.times import format_time, parse_time
from router.domain.errors import Invalid
from router.domain.lifecycle import ReportState
from router.services.phones import Listed, Order, PhoneReport

_MOST = 100
PhoneState = Literal["Pending", "Cancelling", "Cancelled", "Processed", "Sent", "Delivered", "Failed"]
_STATES: dict[PhoneState, ReportState] = {
    "Pending": "accepted",
    "Cancelling": "accepted",
    "Processed": "radio",
    "Sent": "sent",
    "Delivered": "delivered",
    "Failed": "failed",
    "Cancelled": "cancelled",
}
_DONE_BY_THE_PHONE = ("Processed", "Sent", "Delivered", "Failed", "Cancelled")
"""States whose time is the phone's own doing. "Pending" may bear the time that we said it was made."""


class TextMessage(msgspec.Struct, frozen=True):
    """A plain SMS."""

    text: str


class DataMessage(msgspec.Struct, frozen=True):
    """Binary: `data` is base64."""

    data: str
    port: int


class MobileMessage(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """A message as the app reads it. It obeys `validUntil`; `message` is the text for older versions."""

    id: str
    phone_numbers: list[str]
    valid_until: str
    created_at: str
    with_delivery_report: bool = msgspec.field()
    state: Literal["Pending", "Cancelling"] = msgspec.field()
    text_message: TextMessage | None = None
    data_message: DataMessage | None = None
    message: str | None = None
    sim_number: int | None = None
    is_encrypted: bool = False
    priority: int = 0


class RecipientReport(msgspec.Struct, frozen=True, rename="camel"):
    """One recipient; each message of ours has one."""

    phone_number: str
    state: PhoneState
    error: str | None = None


class MessageReport(msgspec.Struct, frozen=True, rename="camel"):
    """What the app says of one message; `states` is when it came to be in each, by the phone's clock."""

    id: str
    state: PhoneState
    recipients: list[RecipientReport] = []
    states: dict[str, str | None] | None = None


def _mobile(listed: Listed) -> MobileMessage:
    data = DataMessage(listed.text, listed.data_port) if listed.data_port else None
    return MobileMessage(
        id=listed.id,
        phone_numbers=[listed.to],
        valid_until=format_time(listed.valid_until),
        created_at=format_time(listed.created_at),
        with_delivery_report=listed.delivery_report,
        state="Cancelling" if listed.is_cancelling else "Pending",
        text_message=None if data else TextMessage(listed.text),
        data_message=data,
        message=None if data else listed.text,
        sim_number=listed.sim or None,
        is_encrypted=listed.encrypted,
        priority=listed.priority,
    )


@get("/message", before_request=is_a_phone, responses=answers(list[MobileMessage]))
async def messages(
    request: "Request[Any, Any, Any]",
    order: Annotated[str, Parameter(description="lifo or fifo")] = "lifo",
) -> ASGIResponse:
    """At the most a hundred messages, in Pending or Cancelling; handing over starts their leases."""
    wanted: Order = "fifo" if order.lower() == "fifo" else "lifo"
    parts = parts_of(request)
    listed = await parts.phones.pull(device_of(request), min(_MOST, parts.settings.max_messages_per_pull), wanted)
    return answer([_mobile(message) for message in listed])


@patch("/message", status_code=204, before_request=is_a_phone)
async def report(request: "Request[Any, Any, Any]", data: list[MessageReport]) -> None:
    """Always 204 for a list that can be read: the app would repeat what we do not know for ever."""
    parts = parts_of(request)
    if len(data) > parts.settings.max_reports_per_call:
        raise Invalid("messages", f"at most {parts.settings.max_reports_per_call} in one call")
    await parts.phones.report(device_of(request), [_report(told) for told in data])


def _report(told: MessageReport) -> PhoneReport:
    recipient = told.recipients[0] if told.recipients else None
    state = recipient.state if recipient is not None and told.state != "Cancelled" else told.state
    times = [_time(text) for name, text in (told.states or {}).items() if name in _DONE_BY_THE_PHONE and text]
    return PhoneReport(
        id=told.id,
        state=_STATES[state],
        error=recipient.error if recipient is not None else None,
        times=tuple(time for time in times if time is not None),
    )


def _time(text: str) -> float | None:
    """A time that cannot be read teaches nothing; the report counts all the same."""
    try:
        return parse_time(text)
    except (Invalid, ValueError):
        return None




HANDLERS = [messages, report]
