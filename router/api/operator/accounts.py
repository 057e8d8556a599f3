"""Accounts, their keys, wallets and templates."""

from typing import Any

from litestar import Request, delete, get, patch, post, put
from litestar.handlers import HTTPRouteHandler

from router.api.operator.schemas import (
    AccountChange,
    AccountMade,
    AccountView,
    Balance,
    KeyMade,
    LimitsBody,
    LimitsView,
    NewAccount,
    NewKey,
    NewPassword,
    NewTemplate,
    TemplateSet,
    TopUp,
)
from router.api.parts import parts_of
from router.domain.account import Account, Limits
from router.domain.templates import Template, warnings
from router.store.accounts import ApiKey


def _view(account: Account, balance: int) -> AccountView:
    return AccountView(**_fields(account, balance))


def _fields(account: Account, balance: int) -> dict[str, Any]:
    limits = account.limits
    return {
        "id": account.id, "name": account.name, "created_at": account.created_at, "enabled": account.enabled,
        "otp_enabled": account.otp_enabled, "balance": balance, "price": account.price,
        "limits": LimitsView(limits.daily, limits.hourly, limits.phone_hourly), "countries": sorted(account.countries),
        "ambiguous_policy": account.ambiguous_policy, "login": account.login,
    }  # fmt: skip


def _limits(given: LimitsBody | None) -> Limits | None:
    return None if given is None else Limits(daily=given.daily, hourly=given.hourly, phone_hourly=given.phone_hourly)


@post("/accounts", status_code=201)
async def create_account(request: "Request[Any, Any, Any]", data: NewAccount) -> AccountMade:
    """A new account with one key and the default template."""
    admin = parts_of(request).admin
    account, key = await admin.create(
        data.name,
        key=data.key,
        balance=data.balance,
        price=data.price,
        limits=_limits(data.limits),
        countries=data.countries or (),
        ambiguous_policy=data.ambiguous_policy,
        login=data.login or "",
        password=data.password or "",
    )
    return AccountMade(**_fields(account, await admin.balance(account.id)), key=key)


@get("/accounts")
async def list_accounts(request: "Request[Any, Any, Any]") -> list[AccountView]:
    """All accounts, oldest first."""
    return [_view(account, balance) for account, balance in await parts_of(request).admin.every()]


@get("/accounts/{account_id:str}")
async def show_account(request: "Request[Any, Any, Any]", account_id: str) -> AccountView:
    """One account."""
    admin = parts_of(request).admin
    return _view(await admin.get(account_id), await admin.balance(account_id))


@patch("/accounts/{account_id:str}")
async def change_account(request: "Request[Any, Any, Any]", account_id: str, data: AccountChange) -> AccountView:
    """Changes what is given."""
    admin = parts_of(request).admin
    account = await admin.change(
        account_id,
        enabled=data.enabled,
        otp_enabled=data.otp_enabled,
        price=data.price,
        limits=_limits(data.limits),
        countries=data.countries,
        ambiguous_policy=data.ambiguous_policy,
    )
    return _view(account, await admin.balance(account_id))


@put("/accounts/{account_id:str}/password")
async def set_password(request: "Request[Any, Any, Any]", account_id: str, data: NewPassword) -> AccountView:
    """A new password for the account's login; all tokens end."""
    admin = parts_of(request).admin
    account = await admin.set_password(account_id, data.password, data.login or "")
    return _view(account, await admin.balance(account_id))


@post("/accounts/{account_id:str}/topup", status_code=200)
async def top_up(request: "Request[Any, Any, Any]", account_id: str, data: TopUp) -> Balance:
    """Adds to the wallet; a negative amount takes from it, never below zero."""
    return Balance(account_id, await parts_of(request).admin.topup(account_id, data.amount))


@get("/accounts/{account_id:str}/keys")
async def list_keys(request: "Request[Any, Any, Any]", account_id: str) -> list[ApiKey]:
    """An account's keys, oldest first, without the keys themselves."""
    return await parts_of(request).admin.keys(account_id)


@post("/accounts/{account_id:str}/keys", status_code=201)
async def add_key(request: "Request[Any, Any, Any]", account_id: str, data: NewKey) -> KeyMade:
    """One more key."""
    listed, key = await parts_of(request).admin.add_key(account_id, "key" if data.label is None else data.label, data.key)
    return KeyMade(id=listed.id, label=listed.label, key=key, created_at=listed.created_at, hint=listed.hint)


@delete("/accounts/{account_id:str}/keys/{key_id:str}", status_code=204)
async def revoke_key(request: "Request[Any, Any, Any]", account_id: str, key_id: str) -> None:
    """The key is void at once."""
    await parts_of(request).admin.revoke_key(account_id, key_id)


@get("/accounts/{account_id:str}/templates")
async def list_templates(request: "Request[Any, Any, Any]", account_id: str) -> list[Template]:
    """An account's templates, by key."""
    templates = (await parts_of(request).admin.get(account_id)).templates
    return [templates[key] for key in sorted(templates)]


@put("/accounts/{account_id:str}/templates/{key:str}")
async def set_template(request: "Request[Any, Any, Any]", account_id: str, key: str, data: NewTemplate) -> TemplateSet:
    """Makes or replaces a template. A new default takes the place of the old one."""
    parts = parts_of(request)
    template = parts.admin.draft_template(
        key, data.text, code_length=data.code_length, code_seconds=data.code_seconds, default=data.default
    )
    segments = await parts.admin.set_template(account_id, template)
    return TemplateSet(
        key=key,
        text=template.text,
        code_length=template.code_length,
        code_seconds=template.code_seconds,
        default=template.default,
        segments=segments,
        warnings=warnings(template),
    )


@delete("/accounts/{account_id:str}/templates/{key:str}", status_code=204)
async def remove_template(request: "Request[Any, Any, Any]", account_id: str, key: str) -> None:
    """Messages that were accepted keep their text."""
    await parts_of(request).admin.remove_template(account_id, key)


HANDLERS: list[HTTPRouteHandler] = [
    create_account,
    list_accounts,
    show_account,
    change_account,
    set_password,
    top_up,
    list_keys,
    add_key,
    revoke_key,
    list_templates,
    set_template,
    remove_template,
]
