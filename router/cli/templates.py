"""`templates`: an account's texts for codes."""

from typing import Annotated

import typer

from router.cli.options import AccountId, Data, Json
from router.cli.output import print_json, print_table, router_at

app = typer.Typer(help="An account's texts for codes.", no_args_is_help=True)
Key = Annotated[str, typer.Argument(metavar="KEY", help="The name of the template.")]


@app.command("set")
def set_template(
    account: AccountId,
    key: Key,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Holds {code}, and {minutes} to say how long it is valid.")],
    code_length: Annotated[int | None, typer.Option("--code-length", help="Digits, 4 to 10.")] = None,
    code_seconds: Annotated[float | None, typer.Option("--code-seconds", help="How long a code lives.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Use it where a request names none.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make or replace a template."""
    from router.cli.client import account_id_of, path_of

    body = {"text": text, "code_length": code_length, "code_seconds": code_seconds, "default": default}
    with router_at(data) as router:
        made = router.put(path_of("accounts", account_id_of(router, account), "templates", key), body)
    if as_json:
        print_json(made)
        return
    size = made["segments"]
    print(f"{key}: {size['units']} characters in {size['encoding']}, {size['parts']} part(s) per message")
    for warning in made["warnings"]:
        print(f"note: {warning}")


@app.command("list")
def list_templates(account: AccountId, data: Data = None, as_json: Json = False) -> None:
    """An account's templates."""
    from router.cli.client import account_id_of, path_of

    with router_at(data) as router:
        templates = router.get(path_of("accounts", account_id_of(router, account), "templates"))
    if as_json:
        print_json(templates)
        return
    rows = [(t["key"], t["default"], t["code_length"], t["code_seconds"], t["text"]) for t in templates]
    print_table(("key", "default", "digits", "seconds", "text"), rows, empty="no templates")


@app.command("remove")
def remove(account: AccountId, key: Key, data: Data = None) -> None:
    """Remove a template; messages that were accepted keep their text."""
    from router.cli.client import account_id_of, path_of

    with router_at(data) as router:
        router.delete(path_of("accounts", account_id_of(router, account), "templates", key))
    print(f"{key} is removed.")
