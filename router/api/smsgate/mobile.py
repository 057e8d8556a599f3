"""A phone as a device: it registers, tells of its SIMs, takes its settings, changes its account's password. For SMSGate's app."""

import hmac
from typing import Any

import msgspec
from litestar import Request, get, patch, post
from litestar.types import ControllerRouterHandler

from router.api.parts import Parts, bearer_of, header_of, parts_of
from router.api.smsgate.devices import DeviceView, view
from router.api.smsgate.times import format_time
from router.domain.account import Account
from router.domain.device import MOST_SIMS, NO_SIMS, Device, Sim
from router.domain.errors import Conflict, Forbidden, Invalid, Unauthorized

_LONGEST_NAME = 128
_LONGEST_ACCOUNT_NAME = 100
_LONGEST_PUSH_TOKEN = 256
_LONGEST_WORD = 64
_NAMELESS = "phone"


class SimCard(msgspec.Struct, frozen=True, rename="camel"):
    """A SIM as the app has it from Android, which keeps much of it to itself. `simNumber` is the slot's index and one."""

    slot_index: int | None = None
    sim_number: int | None = None
    phone_number: str | None = None
    carrier_name: str | None = None
    iccid: str | None = None


class NewDevice(msgspec.Struct, frozen=True, rename="camel"):
    """A phone that wants to be known."""

    name: str | None = None
    push_token: str | None = None
    sim_cards: list[SimCard] | None = None


class DeviceChange(msgspec.Struct, frozen=True, rename="camel"):
    """What is not given stays as it is."""

    id: str
    push_token: str | None = None
    sim_cards: list[SimCard] | None = None


class Registered(msgspec.Struct, frozen=True, omit_defaults=True):
    """`password` only where an account was made for the phone. Token and password are told this once."""

    id: str
    token: str
    login: str
    password: str = ""


class OwnDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    """`externalIp`: whence the call came, as this process sees it; what a proxy says of it is not believed."""

    external_ip: str = msgspec.field(name="externalIp")
    device: DeviceView | None = None


class UserCode(msgspec.Struct, frozen=True, rename="camel"):
    """With this code another phone joins the account, once."""

    code: str
    valid_until: str


class PasswordChange(msgspec.Struct, frozen=True, rename="camel"):
    """All tokens of the account end with it."""

    current_password: str
    new_password: str


# Who is calling. These stand before a handler as `before_request`: 401 comes before what the body says


async def is_a_phone(request: "Request[Any, Any, Any]") -> None:
    """Only a registered phone comes through. An unknown token is 401, after which the app registers anew."""
    request.scope["state"]["device"] = await parts_of(request).devices.authenticate(bearer_of(request))


def device_of(request: "Request[Any, Any, Any]") -> Device:
    """The phone that is calling, as was found out before the handler."""
    device: Device = request.scope["state"]["device"]
    return device


async def _may_be_a_phone(request: "Request[Any, Any, Any]") -> None:
    if header_of(request, b"authorization"):
        await is_a_phone(request)


async def _may_join(request: "Request[Any, Any, Any]") -> None:
    """The router's private token, a login, or a code. The code is looked at after the body: it is good only once."""
    parts = parts_of(request)
    scheme, _, value = header_of(request, b"authorization").partition(" ")
    match scheme.lower():
        case "bearer":
            if not hmac.compare_digest(value.strip().encode("utf-8", "replace"), parts.secrets.mobile_private_token.encode()):
                raise Unauthorized("wrong private token")
        case "basic":
            request.scope["state"]["account"] = await _login(request)
        case "code":
            request.scope["state"]["code"] = value.strip()
        case _:
            raise Unauthorized("no credentials")


async def _has_login(request: "Request[Any, Any, Any]") -> None:
    if not header_of(request, b"authorization").lower().startswith("basic "):
        raise Unauthorized("login and password are needed")
    request.scope["state"]["account"] = await _login(request)


async def _login(request: "Request[Any, Any, Any]") -> Account:
    return (await parts_of(request).logins.authenticate(header_of(request, b"authorization"))).account


@post("/device", status_code=201, before_request=_may_join)
async def register(request: "Request[Any, Any, Any]", data: NewDevice) -> Registered:
    """A new phone; each of its SIMs is a seed from now on.

    With the private token it serves every account, and an account of its own is made for it. Else it belongs to the account of the login or
    the code, and serves only that one.
    """
    parts, state = parts_of(request), request.scope["state"]
    name, push_token, sims = _name(data.name), _push_token(data.push_token), _sims(data.sim_cards or [])
    account: Account | None = state.get("account")
    password = ""
    if "code" in state:
        account = await parts.logins.redeem_code(state["code"])
    is_shared = account is None
    if account is None:
        account, password = await _new_account(parts, name)
    device, token = await parts.devices.register(account.id, shared=is_shared, name=name, push_token=push_token or "", sims=sims)
    return Registered(device.id, token, account.login, password)


async def _new_account(parts: Parts, name: str) -> tuple[Account, str]:
    """And its password."""
    try:
        account, _, password = await parts.logins.create(name[:_LONGEST_ACCOUNT_NAME])
    except Conflict:
        # Somebody has the login that was drawn
        account, _, password = await parts.logins.create(name[:_LONGEST_ACCOUNT_NAME])
    return account, password


@get("/device", before_request=_may_be_a_phone)
async def own_device(request: "Request[Any, Any, Any]") -> OwnDevice:
    """Whence the call came; and what is known of the phone, if it is one."""
    client = request.scope["client"]
    device = request.scope["state"].get("device")
    return OwnDevice(client[0] if client else "", view(device) if device is not None else None)


@patch("/device", status_code=204, before_request=is_a_phone)
async def change_device(request: "Request[Any, Any, Any]", data: DeviceChange) -> None:
    """A new push token, or other SIMs. An empty list of SIMs: the phone tells none (any more)."""
    device = device_of(request)
    if data.id != device.id:
        raise Forbidden("this is another device's id")
    sims = None if data.sim_cards is None else _sims(data.sim_cards)
    await parts_of(request).devices.update(device, push_token=_push_token(data.push_token), sims=sims)


@get("/user/code", before_request=_has_login)
async def user_code(request: "Request[Any, Any, Any]") -> UserCode:
    """A code with which another phone joins the account."""
    made = await parts_of(request).logins.new_code(request.scope["state"]["account"])
    return UserCode(made.code, format_time(made.valid_until))


@patch("/user/password", status_code=204, before_request=is_a_phone)
async def change_password(request: "Request[Any, Any, Any]", data: PasswordChange) -> None:
    """Of the account that the phone belongs to. The phones stay."""
    parts = parts_of(request)
    account = await parts.accounts.current(device_of(request).account)
    await parts.logins.change_password(account, data.current_password, data.new_password)


@get("/settings", before_request=is_a_phone)
async def settings(request: "Request[Any, Any, Any]") -> dict[str, Any]:
    """The router's defaults, and over them what the phone's account has set; keys included."""
    return await parts_of(request).phone_settings.of(device_of(request).account)


# What is read from a body


def _printable(text: str) -> str:
    """One line of what can be printed: Android's names may hold anything."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _name(text: str | None) -> str:
    name = _printable(text or "")
    if len(name) > _LONGEST_NAME:
        raise Invalid("name", f"at most {_LONGEST_NAME} characters")
    return name or _NAMELESS


def _push_token(text: str | None) -> str | None:
    if text is not None and (len(text) > _LONGEST_PUSH_TOKEN or not text.isprintable()):
        raise Invalid("pushToken", f"at most {_LONGEST_PUSH_TOKEN} printable characters")
    return text


def _sims(cards: list[SimCard]) -> tuple[Sim, ...]:
    """By number; where there are none, the one that stands for whichever SIM the phone takes."""
    if len(cards) > MOST_SIMS:
        raise Invalid("simCards", f"at most {MOST_SIMS}")
    sims = sorted((_sim(place, card) for place, card in enumerate(cards)), key=lambda sim: sim.number)
    if len({sim.number for sim in sims}) < len(sims):
        raise Invalid("simCards", "two with one simNumber")
    return tuple(sims) or (Sim(NO_SIMS),)


def _sim(place: int, card: SimCard) -> Sim:
    number = card.sim_number
    if number is None and card.slot_index is not None:
        number = card.slot_index + 1
    if number is None or not 1 <= number <= MOST_SIMS:
        raise Invalid(f"simCards[{place}].simNumber", f"1 to {MOST_SIMS}")
    phone_number, carrier_name, iccid = (
        _printable(text or "")[:_LONGEST_WORD] for text in (card.phone_number, card.carrier_name, card.iccid)
    )
    return Sim(number, phone_number, carrier_name, iccid)


HANDLERS: list[ControllerRouterHandler] = [register, own_device, change_device, user_code, change_password, settings]
