"""Accounts: list, make, and one account with its wallet, keys, limits and login."""

from typing import Any, cast

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import asdict

from router.api.console.inputs import money_of, plain_money, whole_of
from router.api.console.pages import AnyRequest, back, form, page
from router.api.console.security import PREFIX
from router.api.parts import parts_of
from router.domain.account import Limits
from router.domain.countries import check_codes
from router.domain.errors import Conflict, Invalid, RouterError
from router.domain.rules import AmbiguousPolicy
from router.services.account_view import MOST_LISTED

_SECTION = "accounts"
_POLICIES = (
    ("wait", "wait: it may have been sent; leave it"),
    ("resend", "resend: better twice than never"),
    ("fail", "fail: better never than twice"),
)
_NEW = {"name": "", "login": "", "balance": "", "price": ""}


def _path(account_id: str) -> str:
    return f"{PREFIX}/accounts/{account_id}"


@get("/accounts")
async def list_accounts(request: AnyRequest) -> "Response[Any]":
    """The newest first; found by id or name."""
    return await _list(request, _NEW)


async def _list(request: AnyRequest, given: dict[str, str], fault: Invalid | Conflict | None = None) -> "Response[Any]":
    parts = parts_of(request)
    wanted = request.query_params.get("q", "").strip()
    found = await parts.account_views.find(wanted)
    return page(
        request, "accounts.html", title="Accounts", section=_SECTION, status=_status(fault), found=found, wanted=wanted, given=given,
        fault=fault, most=MOST_LISTED, daily_limit=parts.settings.daily_limit, price=plain_money(parts.settings.price),
    )  # fmt: skip


def _status(fault: RouterError | None) -> int:
    return 200 if fault is None else 409 if isinstance(fault, Conflict) else 422


@post("/accounts", status_code=200)
async def create_account(request: AnyRequest) -> "Response[Any]":
    """Answers with the key, which is in this answer and nowhere else."""
    parts, fields = parts_of(request), await form(request)
    try:
        account, key = await parts.admin.create(
            fields.get("name", ""),
            balance=money_of("balance", fields.get("balance") or "0"),
            price=money_of("price", fields["price"]) if fields.get("price") else None,
            login=fields.get("login", ""),
            password=fields.get("password", ""),
        )
    except (Invalid, Conflict) as fault:
        return await _list(request, {name: fields.get(name, "") for name in _NEW}, fault)
    return page(request, "key.html", title=f"{account.name} is made", section=_SECTION, account=account, key=key, label="first")


@get("/accounts/{account_id:str}")
async def show_account(request: AnyRequest, account_id: str) -> "Response[Any]":
    """One account."""
    return await _show(request, account_id)


async def _show(request: AnyRequest, account_id: str, fault: RouterError | None = None, part: str = "", **given: Any) -> "Response[Any]":
    """`fault` is said in that `part` of the page; `given`: what was typed there, and what is to be confirmed."""
    parts = parts_of(request)
    use = await parts.account_views.get(account_id)
    account, settings = use.account, parts.settings
    router_limits = {"daily": settings.daily_limit, "hourly": settings.hourly_limit, "phone_hourly": settings.phone_hourly_limit}
    return page(
        request, "account.html", title=account.name, section=_SECTION, status=_status(fault), use=use, account=account,
        keys=await parts.admin.keys(account_id), policies=_POLICIES, price=plain_money(account.price), limits=asdict(account.limits),
        router_limits=router_limits, fault=fault, part=part,
        **({"amount": "", "change": None, "balance": use.balance} | given),
    )  # fmt: skip


@post("/accounts/{account_id:str}/change")
async def change_account(request: AnyRequest, account_id: str) -> "Response[Any]":
    """Price, limits, countries, policy."""
    parts, fields = parts_of(request), await form(request)
    try:
        policy = fields.get("ambiguous_policy", "")
        if policy not in dict(_POLICIES):
            raise Invalid("policy", f"one of {', '.join(dict(_POLICIES))}")
        limits = Limits(**{name: whole_of(name, fields.get(name, "")) for name in Limits.__struct_fields__})
        price = money_of("price", fields.get("price", ""))
        countries = fields.get("countries", "").upper().replace(",", " ").split()
        check_codes(countries)
        await parts.admin.set_limits(account_id, limits)
        await parts.admin.change(account_id, price=price, countries=countries, ambiguous_policy=cast("AmbiguousPolicy", policy))
    except Invalid as fault:
        return await _show(request, account_id, fault, "change")
    return back(request, _path(account_id), "Saved. It holds for the next message.")


@post("/accounts/{account_id:str}/switch")
async def switch(request: AnyRequest, account_id: str) -> "Response[Any]":
    """Turns the account, or its codes, on or off."""
    parts, fields = parts_of(request), await form(request)
    on = fields.get("on") == "1"
    if fields.get("what") == "otp":
        account = await parts.admin.change(account_id, otp_enabled=on)
        return back(request, _path(account_id), f"{account.name} {'may' if on else 'may not'} send codes now.", "ok" if on else "warn")
    account = await parts.admin.change(account_id, enabled=on)
    return back(request, _path(account_id), f"{account.name} is {'enabled' if on else 'disabled'} now.", "ok" if on else "warn")


@post("/accounts/{account_id:str}/topup", status_code=200)
async def top_up(request: AnyRequest, account_id: str) -> "Response[Any]":
    """First what the wallet would hold; and when that is confirmed, does it."""
    parts, fields = parts_of(request), await form(request)
    amount = fields.get("amount", "")
    try:
        change = money_of("amount", amount)
        if not change:
            raise Invalid("amount", "more or less than nothing")
        if fields.get("confirmed") != "1":
            if await parts.admin.balance(account_id) + change < 0:
                raise Invalid("amount", "the wallet would fall below zero")
            return await _show(request, account_id, part="topup", amount=amount, change=change)
        balance = await parts.admin.topup(account_id, change)
    except Invalid as fault:
        return await _show(request, account_id, fault, "topup", amount=amount)
    sign = "+" if change > 0 else ""
    told = f"{sign}{plain_money(change)}: the wallet holds {plain_money(balance)} {parts.settings.currency}."
    return back(request, _path(account_id), told)


@post("/accounts/{account_id:str}/keys", status_code=200)
async def add_key(request: AnyRequest, account_id: str) -> "Response[Any]":
    """Answers with the key, which is in this answer and nowhere else."""
    parts, fields = parts_of(request), await form(request)
    try:
        listed, key = await parts.admin.add_key(account_id, fields.get("label") or "key")
    except Invalid as fault:
        return await _show(request, account_id, fault, "keys")
    account = await parts.admin.get(account_id)
    return page(request, "key.html", title=f"A new key of {account.name}", section=_SECTION, account=account, key=key, label=listed.label)


@post("/accounts/{account_id:str}/keys/{key_id:str}/revoke")
async def revoke_key(request: AnyRequest, account_id: str, key_id: str) -> "Response[Any]":
    """It is void at once."""
    await parts_of(request).admin.revoke_key(account_id, key_id)
    return back(request, _path(account_id), "The key is revoked: whoever uses it is told 401 from now on.", "warn")


@post("/accounts/{account_id:str}/password")
async def set_password(request: AnyRequest, account_id: str) -> "Response[Any]":
    """All tokens made under the old one end."""
    parts, fields = parts_of(request), await form(request)
    try:
        await parts.admin.set_password(account_id, fields.get("password", ""), fields.get("login", ""))
    except (Invalid, Conflict) as fault:
        return await _show(request, account_id, fault, "password")
    return back(request, _path(account_id), "The password is set; tokens made under the old one have ended.")


HANDLERS: list[HTTPRouteHandler] = [
    list_accounts, create_account, show_account, change_account, switch, top_up, add_key, revoke_key, set_password,
]  # fmt: skip
