"""`accounts`: who submits."""

from typing import Annotated, Any

import typer

from router.cli.options import AccountId, Data, Json
from router.cli.output import moment, print_fields, print_json, print_table, router_at
from router.domain.rules import AmbiguousPolicy

app = typer.Typer(help="Accounts: who submits, their wallets and limits.", no_args_is_help=True)
_UNITS = "in minor units (cents): 500 is 5.00"

Price = Annotated[int | None, typer.Option("--price", min=0, help=f"Per message, {_UNITS}.")]
Daily = Annotated[int | None, typer.Option("--daily-limit", min=0, help="Messages per UTC day; 0 = none.")]
Hourly = Annotated[int | None, typer.Option("--hourly-limit", min=0, help="Messages per hour; 0 = none.")]
PhoneHourly = Annotated[int | None, typer.Option("--phone-hourly-limit", min=0, help="Messages per phone, per hour; 0 = none.")]
Countries = Annotated[
    str | None, typer.Option("--countries", metavar="DZ,TN", help="It may send to these only, ISO codes; '' = wherever the router does.")
]
Policy = Annotated[
    AmbiguousPolicy | None,
    typer.Option("--ambiguous-policy", help="For a message of which nobody can know whether it went out."),
]


@app.command("create")
def create(
    name: str,
    key: Annotated[str | None, typer.Option("--key", help="API key; made where it is not given.")] = None,
    login: Annotated[str | None, typer.Option("--login", help="Of the SMSGate dialect.")] = None,
    password: Annotated[str | None, typer.Option("--password", help="Goes with --login.")] = None,
    balance: Annotated[int, typer.Option("--balance", min=0, help=f"What the wallet starts with, {_UNITS}.")] = 0,
    price: Price = None,
    daily_limit: Daily = None,
    hourly_limit: Hourly = None,
    phone_hourly_limit: PhoneHourly = None,
    countries: Countries = None,
    ambiguous_policy: Policy = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make an account; prints its API key, which is shown this once."""
    body: dict[str, Any] = {
        "name": name,
        "key": key,
        "login": login,
        "password": password,
        "balance": balance,
        "price": price,
        "limits": _limits(daily_limit, hourly_limit, phone_hourly_limit),
        "countries": _codes(countries),
        "ambiguous_policy": ambiguous_policy,
    }
    with router_at(data) as router:
        made = router.post("/accounts", body)
    if as_json:
        print_json(made)
        return
    print_fields({"id": made["id"], "name": made["name"], "key": made["key"], "balance (minor units)": made["balance"]})
    print("The key is shown this once.")


@app.command("list")
def list_accounts(data: Data = None, as_json: Json = False) -> None:
    """All accounts with their balances."""
    with router_at(data) as router:
        accounts = router.get("/accounts")
    if as_json:
        print_json(accounts)
        return
    columns = ("id", "name", "enabled", "codes", "balance (minor)", "price (minor)", "per day", "per hour", "per phone", "made")
    rows = [
        (
            account["id"],
            account["name"],
            account["enabled"],
            account["otp_enabled"],
            account["balance"],
            account["price"],
            *(_shown_limit(account["limits"][name]) for name in ("daily", "hourly", "phone_hourly")),
            moment(account["created_at"]),
        )
        for account in accounts
    ]
    print_table(columns, rows, empty="no accounts yet: make one with `seedrouter accounts create NAME`")


@app.command("topup")
def topup(
    account: AccountId,
    amount: Annotated[int, typer.Argument(metavar="N", help=f"What to add, {_UNITS}. To take away: `-- ACCOUNT -N`.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add money to an account's wallet."""
    from router.cli.client import account_id_of, path_of

    with router_at(data) as router:
        wallet = router.post(path_of("accounts", account_id_of(router, account), "topup"), {"amount": amount})
    if as_json:
        print_json(wallet)
    else:
        print(f"The wallet of {wallet['id']} holds {wallet['balance']} minor units.")


@app.command("set")
def change(
    account: AccountId,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="May it submit at all?")] = None,
    otp_enabled: Annotated[bool | None, typer.Option("--codes/--no-codes", help="May it send codes?")] = None,
    price: Price = None,
    daily_limit: Daily = None,
    hourly_limit: Hourly = None,
    phone_hourly_limit: PhoneHourly = None,
    countries: Countries = None,
    ambiguous_policy: Policy = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change what is given; the rest stays as it is."""
    from router.cli.client import account_id_of, path_of

    body = {
        "enabled": enabled,
        "otp_enabled": otp_enabled,
        "price": price,
        "limits": _limits(daily_limit, hourly_limit, phone_hourly_limit),
        "countries": _codes(countries),
        "ambiguous_policy": ambiguous_policy,
    }
    with router_at(data) as router:
        changed = router.patch(path_of("accounts", account_id_of(router, account)), body)
    if as_json:
        print_json(changed)
        return
    limits = {f"{name} limit": _shown_limit(limit) for name, limit in changed.pop("limits").items()}
    countries_shown = ", ".join(changed["countries"]) or "wherever the router does"
    print_fields(changed | {"created_at": moment(changed["created_at"]), "countries": countries_shown} | limits)


@app.command("password")
def set_password(
    account: AccountId,
    password: Annotated[str | None, typer.Option("--password", help="Asked for where it is not given.")] = None,
    login: Annotated[str | None, typer.Option("--login", help="For an account that has none yet.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give an account's login a new password; all its tokens end."""
    from router.cli.client import account_id_of, path_of

    if password is None:
        password = typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    with router_at(data) as router:
        changed = router.put(path_of("accounts", account_id_of(router, account), "password"), {"password": password, "login": login})
    if as_json:
        print_json(changed)
    else:
        print(f"The password of {changed['login']} is set; its tokens have ended.")


def _limits(daily: int | None, hourly: int | None, phone_hourly: int | None) -> dict[str, int] | None:
    given = {"daily": daily, "hourly": hourly, "phone_hourly": phone_hourly}
    return {name: limit for name, limit in given.items() if limit is not None} or None


def _codes(text: str | None) -> list[str] | None:
    return None if text is None else [code.strip().upper() for code in text.split(",") if code.strip()]


def _shown_limit(limit: int | None) -> str | int:
    return "setting" if limit is None else "no limit" if limit == 0 else limit
