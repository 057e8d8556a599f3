"""`keys`: the API keys of an account."""

from typing import Annotated

import typer

from router.cli.options import AccountId, Data, Json
from router.cli.output import moment, print_fields, print_json, print_table, router_at

app = typer.Typer(help="API keys of an account.", no_args_is_help=True)


@app.command("list")
def list_keys(account: AccountId, data: Data = None, as_json: Json = False) -> None:
    """An account's keys, without the keys themselves."""
    from router.cli.client import account_id_of, path_of

    with router_at(data) as router:
        keys = router.get(path_of("accounts", account_id_of(router, account), "keys"))
    if as_json:
        print_json(keys)
        return
    rows = [(key["id"], key["label"], f"…{key['hint']}", moment(key["created_at"])) for key in keys]
    print_table(("id", "label", "key", "made"), rows, empty="no keys: add one with `seedrouter keys add ACCOUNT`")


@app.command("add")
def add(
    account: AccountId,
    label: Annotated[str | None, typer.Option("--label", help="To tell it from the others.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Made where it is not given.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add a key; it is shown this once."""
    from router.cli.client import account_id_of, path_of

    with router_at(data) as router:
        made = router.post(path_of("accounts", account_id_of(router, account), "keys"), {"label": label, "key": key})
    if as_json:
        print_json(made)
        return
    print_fields({"id": made["id"], "label": made["label"], "key": made["key"]})
    print("The key is shown this once.")


@app.command("revoke")
def revoke(
    account: AccountId, key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="See `keys list`.")], data: Data = None
) -> None:
    """Make a key void, at once."""
    from router.cli.client import account_id_of, path_of

    with router_at(data) as router:
        router.delete(path_of("accounts", account_id_of(router, account), "keys", key_id))
    print(f"The key {key_id} is void.")
