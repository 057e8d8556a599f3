"""What GateWire's SDKs send and read. Unknown fields are ignored; an absent field and a null one are the same."""

from typing import Literal

import msgspec

from router.domain.message import State


class SendOtp(msgspec.Struct, frozen=True):
    """`template_key` is absent when the account's default template is meant."""

    phone: str
    template_key: str | None = None


class Dispatch(msgspec.Struct, frozen=True):
    """SDK 1.0 and the JS client: with `message` it is a plain SMS, no code."""

    phone: str
    message: str | None = None
    template_key: str | None = None
    priority: Literal["high"] | None = None


class Reference(msgspec.Struct, frozen=True):
    """An accepted message; `status` is always `pending` here."""

    reference_id: str
    status: State


class VerifyOtp(msgspec.Struct, frozen=True):
    """`code` may come as a JSON number."""

    reference_id: str
    code: str | int


class Verified(msgspec.Struct, frozen=True):
    """The right code came back."""

    status: Literal["verified"]
    message: Literal["Success"]


class Status(msgspec.Struct, frozen=True):
    """`created_at`: UTC, whole seconds, `Z`."""

    reference_id: str
    status: State
    created_at: str


class Balance(msgspec.Struct, frozen=True):
    """In units of the currency."""

    balance: float
    currency: str


class OtpService(msgspec.Struct, frozen=True):
    """A service as the Dart client wants it: all fields, strictly typed."""

    enabled: bool
    price_per_request_cents: int
    currency: str
    platform: str = "all"


class Services(msgspec.Struct, frozen=True):
    """Services by name: `otp` and `pnv`."""

    services: dict[str, OtpService]


class Error(msgspec.Struct, frozen=True):
    """SDK 1.1 reads `error` first, the others `message`: both, the same."""

    error: str
    message: str
