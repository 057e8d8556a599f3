"""`webhooks`: deliveries that nobody could be told, and how to try them again."""

from typing import Annotated

import typer

from router.cli.errors import CliError
from router.cli.options import Data, Json
from router.cli.output import moment, print_json, print_table, router_at

app = typer.Typer(help="Deliveries of webhooks that were given up.", no_args_is_help=True)
Account = Annotated[str | None, typer.Option("--account", help="Only this account's, by its id or its name.")]


@app.command("dead")
def dead(
    account: Account = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At the most so many.")] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """The deliveries that were given up, the latest first."""
    from router.cli.client import account_id_of

    with router_at(data) as router:
        account_id = account_id_of(router, account) if account else None
        deliveries = router.get("/webhooks/dead", account=account_id, limit=limit)
    if as_json:
        print_json(deliveries)
        return
    columns = ("id", "account", "webhook", "event", "url", "tries", "last status", "last error", "died")
    rows = [
        (d["id"], d["account"], d["webhook"], d["event"], d["url"], d["tries"], d["status"], d["error"], moment(d["died_at"]))
        for d in deliveries
    ]
    print_table(columns, rows, empty="no dead deliveries")


@app.command("replay")
def replay(
    delivery: Annotated[str | None, typer.Argument(metavar="DELIVERY", help="Its id: see `webhooks dead`.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are dead.")] = False,
    account: Account = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Begin anew with one dead delivery, or with all: they are tried at once, with all tries before them."""
    from router.cli.client import account_id_of, path_of

    if (delivery is None) is not every:
        raise CliError("name a delivery, or say --all")
    if account is not None and not every:
        raise CliError("--account goes with --all")
    with router_at(data) as router:
        if delivery is not None:
            done = router.post(path_of("webhooks", "dead", delivery, "replay"))
        else:
            done = router.post("/webhooks/dead/replay", {"account": account_id_of(router, account) if account else None})
    if as_json:
        print_json(done)
        return
    print(f"{done['replayed']} of them will be tried again." if every else f"{delivery} will be tried again.")
