"""What SMSGate's clients send and read of messages. Unknown fields are ignored; an absent field and a null one are the same."""

from typing import Any

import msgspec

from router.api.smsgate.times import format_time, parse_time
from router.domain.errors import Invalid
from router.domain.submission import ProcessState
from router.domain.submission_request import NewSubmission
from router.services.submissions import Told


class TextMessage(msgspec.Struct, frozen=True):
    """A text of 1 to 65535 characters."""

    text: str


class DataMessage(msgspec.Struct, frozen=True):
    """Bytes in base64, to a port of 1 to 65535."""

    data: str
    port: int


class NewMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /messages: exactly one of `textMessage`, `dataMessage` and the old `message`; `phoneNumbers`, or one `recipient`."""

    id: str | None = None
    device_id: str | None = None
    phone_numbers: list[str] | None = None
    recipient: str | None = None
    text_message: TextMessage | None = None
    data_message: DataMessage | None = None
    mms_message: Any = None
    message: str | None = None
    sim_number: int | None = None
    with_delivery_report: bool | None = None
    is_encrypted: bool | None = None
    priority: int | None = None
    ttl: int | None = None
    valid_until: str | None = None
    schedule_at: str | None = None

    def asked(self, *, skip_phone_validation: bool, device_active_within_hours: int) -> NewSubmission:
        """In the router's own words. Raises `Invalid`."""
        if self.mms_message is not None:
            raise Invalid("mmsMessage", "MMS is not supported, only textMessage and dataMessage are")
        texts = [self.text_message.text] if self.text_message is not None else []
        texts += [self.message] if self.message else []
        if len(texts) + (self.data_message is not None) != 1:
            raise Invalid("textMessage", "give exactly one of textMessage, dataMessage and message")
        if self.phone_numbers is not None and self.recipient is not None:
            raise Invalid("recipient", "give either phoneNumbers or recipient, not both")
        return NewSubmission(
            recipients=tuple(self.phone_numbers or ()) if self.recipient is None else (self.recipient,),
            body=self.data_message.data if self.data_message is not None else texts[0],
            data_port=None if self.data_message is None else self.data_message.port,
            id=self.id or "",
            device=self.device_id or "",
            sim=self.sim_number,
            delivery_report=self.with_delivery_report is not False,
            encrypted=bool(self.is_encrypted),
            priority=self.priority or 0,
            ttl_seconds=self.ttl,
            valid_until=None if self.valid_until is None else parse_time(self.valid_until, "validUntil"),
            schedule_at=None if self.schedule_at is None else parse_time(self.schedule_at, "scheduleAt"),
            skip_phone_validation=skip_phone_validation,
            device_active_within_hours=device_active_within_hours,
        )


class RecipientState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One recipient; `error` is why it failed."""

    phone_number: str
    state: ProcessState
    error: str | None = None


class MessageState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A submission; `states` says when it came into each, RFC 3339. The content is there only where it was asked for, and is kept."""

    id: str
    device_id: str | None
    """Null while no phone of SMSGate's app has it, and none was asked for."""
    state: ProcessState
    is_hashed: bool
    is_encrypted: bool
    recipients: list[RecipientState]
    states: dict[ProcessState, str]
    created_at: str
    text_message: TextMessage | msgspec.UnsetType = msgspec.UNSET
    data_message: DataMessage | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, told: Told) -> "MessageState":
        view, body = told.view, told.body
        return cls(
            id=view.submission.id,
            device_id=view.device or None,
            state=view.state,
            is_hashed=told.is_hashed,
            is_encrypted=view.submission.encrypted,
            recipients=[RecipientState(recipient.phone, recipient.state, recipient.error) for recipient in view.recipients],
            states={state: format_time(at) for state, at in view.states.items()},
            created_at=format_time(view.submission.created_at),
            text_message=msgspec.UNSET if body is None or told.data_port else TextMessage(body),
            data_message=msgspec.UNSET if body is None or not told.data_port else DataMessage(body, told.data_port),
        )
