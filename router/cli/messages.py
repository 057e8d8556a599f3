"""`messages`, and `send`: find, trace and cancel messages, and send one on behalf of an account."""

from typing import Annotated, Any

import typer

from router.cli.options import AccountId, Data, Json
from router.cli.output import moment, print_fields, print_json, print_table, router_at
from router.domain.message import Lane, State

app = typer.Typer(help="Messages: find them, trace their journey, cancel them.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="The message's id (GateWire's reference_id).")]


@app.command("find")
def find(
    account: Annotated[str | None, typer.Option("--account", help="Of this account: its id, or its name.")] = None,
    phone: Annotated[str | None, typer.Option("--phone", help="To this number.")] = None,
    state: Annotated[State | None, typer.Option("--state", help="In this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """The newest messages, latest first."""
    from router.cli.client import account_id_of

    with router_at(data) as router:
        account_id = None if account is None else account_id_of(router, account)
        found = router.get("/messages", account=account_id, phone=phone, state=state, limit=limit)
    if as_json:
        print_json(found)
        return
    columns = ("id", "to", "carrier", "kind", "state", "reason", "attempts", "seed", "accepted", "seconds to sent")
    rows = [
        (
            message["id"],
            message["to"],
            message["carrier_name"],
            message["kind"],
            message["state"],
            message["reason"],
            message["attempts"],
            message["seed"],
            moment(message["created_at"]),
            message["seconds_to_sent"],
        )
        for message in found
    ]
    print_table(columns, rows, empty="no such messages")


@app.command("show")
def show(message_id: Id, data: Data = None, as_json: Json = False) -> None:
    """One message, in short."""
    from router.cli.client import path_of

    with router_at(data) as router:
        found = router.get(path_of("messages", message_id))
    if as_json:
        print_json(found)
    else:
        print_fields(_summary(found))


@app.command("trace")
def trace(message_id: Id, data: Data = None, as_json: Json = False) -> None:
    """A message's whole journey: every attempt, with times since it was accepted, and why that seed."""
    from router.cli.client import path_of

    with router_at(data) as router:
        found = router.get(path_of("messages", message_id))
    if as_json:
        print_json(found)
    else:
        print_journey(found)


@app.command("cancel")
def cancel(message_id: Id, data: Data = None, as_json: Json = False) -> None:
    """Withdraw a message that was not sent yet."""
    from router.cli.client import path_of

    with router_at(data) as router:
        found = router.post(path_of("messages", message_id, "cancel"))
    if as_json:
        print_json(found)
    else:
        print(f"{message_id} is {found['message']['state']}.")


def send(
    account: AccountId,
    phone: Annotated[str, typer.Argument(metavar="PHONE")],
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="A plain SMS; without it a code is sent.")] = None,
    template_key: Annotated[str | None, typer.Option("--template", help="Which of the account's texts carries the code.")] = None,
    lane: Annotated[Lane | None, typer.Option("--lane", help="Priority. Default: otp for a code, else notification.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Sending again with the same key sends nothing more.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send a message on behalf of an account, out of its wallet."""
    from router.cli.client import account_id_of
    from router.cli.errors import CliError

    if idempotency_key is not None and not (idempotency_key.isascii() and idempotency_key.isprintable()):
        raise CliError("--idempotency-key: printable ASCII only")
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    with router_at(data) as router:
        body = {
            "account": account_id_of(router, account),
            "phone": phone,
            "text": text,
            "template_key": template_key,
            "lane": lane,
        }
        made = router.post("/messages", body, headers)
    if as_json:
        print_json(made)
    else:
        print(f"{made['id']} is {made['state']}: follow it with `seedrouter messages trace {made['id']}`.")


def print_journey(found: dict[str, Any]) -> None:
    """A trace, as a table: one line per thing that happened, in order."""
    print_fields(_summary(found))
    rows = [
        (f"{step['since']:+.3f}", step["attempt"], step["what"], step["seed"] or None, step["says"] or None) for step in found["journey"]
    ]
    print_table(("seconds", "attempt", "what", "seed", "why"), rows, title="Journey")


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    message = found["message"]
    return {
        "id": message["id"],
        "account": message["account"],
        "to": message["to"],
        "carrier": f"{message['carrier_name']} {message['carrier']}".strip(),
        "kind": f"{message['kind']} by {message['dialect']}, {found['parts']} part(s)",
        "state": message["state"],
        "reason": message["reason"],
        "accepted": moment(message["created_at"]),
        "expires": moment(found["expires_at"]),
        "seconds to sent": message["seconds_to_sent"],
        "price (minor units)": found["price"],
    }
