"""What SMSGate's app and its server say to each other: the mobile API's JSON."""

from typing import Final, Literal, TypeVar

import msgspec

from workers.simulator.client import Unanswered

T = TypeVar("T")

State = Literal["Pending", "Processed", "Sent", "Delivered", "Failed", "Cancelled"]
"""What a phone can say of a message. `Cancelling` exists at the server only."""


class _Camel(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Nothing is sent for what is None."""


class SimCard(_Camel, frozen=True, kw_only=True):
    """One SIM as the app tells it; numbers count from 1, slots from 0."""

    slot_index: int
    sim_number: int
    phone_number: str | None = None
    carrier_name: str | None = None
    iccid: str | None = None


class Registration(_Camel, frozen=True, kw_only=True):
    """`POST /device`."""

    name: str
    sim_cards: list[SimCard] | None = None


class Registered(_Camel, frozen=True, kw_only=True):
    """Its answer. `password` only where an account was made for the phone."""

    id: str
    token: str
    login: str = ""
    password: str | None = None

    def __repr__(self) -> str:
        return f"<Registered {self.id}>"


class Update(_Camel, frozen=True, kw_only=True):
    """`PATCH /device`."""

    id: str
    sim_cards: list[SimCard] | None = None


class TextContent(msgspec.Struct, frozen=True):
    """A text message."""

    text: str


class DataContent(msgspec.Struct, frozen=True):
    """A data message; `data` is base64."""

    data: str
    port: int


class MobileMessage(_Camel, frozen=True, kw_only=True):
    """A message as `GET /message` lists it. Times are kept as they came: the app has its own way to read them."""

    id: str
    phone_numbers: list[str]
    message: str | None = None
    text_message: TextContent | None = None
    data_message: DataContent | None = None
    sim_number: int | None = None
    with_delivery_report: bool | None = None
    is_encrypted: bool | None = None
    valid_until: str | None = None
    schedule_at: str | None = None
    priority: int | None = None
    state: str | None = None
    created_at: str | None = None

    def __repr__(self) -> str:
        return f"<MobileMessage {self.id} {self.state}>"


class RecipientState(_Camel, frozen=True, kw_only=True):
    """Where a message to one recipient is, and why it failed."""

    phone_number: str
    state: State
    error: str | None = None


class StateReport(_Camel, frozen=True, kw_only=True):
    """One element of `PATCH /message`: where the message is now, and when it came to each state by the phone's clock."""

    id: str
    state: State
    recipients: list[RecipientState]
    states: dict[State, str]


class Cancelled(_Camel, frozen=True, kw_only=True):
    """The data of the event MessageCancelled."""

    message_id: str


encode: Final = msgspec.json.Encoder().encode
_registered: Final = msgspec.json.Decoder(Registered)
_messages: Final = msgspec.json.Decoder(list[MobileMessage])
_cancelled: Final = msgspec.json.Decoder(Cancelled)


def read_registered(body: bytes) -> Registered:
    """Raises Unanswered."""
    return decode(_registered, body)


def read_messages(body: bytes) -> list[MobileMessage]:
    """Raises Unanswered."""
    return decode(_messages, body)


def read_cancelled(data: str) -> str:
    """The id. Raises Unanswered."""
    return decode(_cancelled, data).message_id


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes | str) -> T:
    """Raises Unanswered where the shape is another one, as the app's HTTP client throws."""
    try:
        return decoder.decode(body)
    except msgspec.DecodeError:
        raise Unanswered("the answer has another shape") from None
