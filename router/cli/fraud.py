"""`fraud`: prefixes whose traffic looks like SMS pumping, and their blocks."""

import time
from typing import Annotated, Any

import typer

from router.cli.options import Data, Json
from router.cli.output import ago, moment, print_json, print_table, router_at

app = typer.Typer(help="Prefixes whose traffic looks like SMS pumping, and their blocks.", no_args_is_help=True)
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="Country code and the digits behind it: +21366123.")]


@app.command("prefixes")
def prefixes(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At the most so many.")] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What is sent where and what comes back, within the window that is judged; the suspicious ones first."""
    with router_at(data) as router:
        found = router.get("/fraud/prefixes", limit=limit)
    if as_json:
        print_json(found)
        return
    columns = ("prefix", "carrier", "accepted", "usual", "sent, aged", "verified", "conversion", "usual ", "refused", "verdict", "why")
    rows = [
        (p["prefix"], p["carrier"], p["accepted"], round(p["usual_accepted"], 1), p["sent"], p["verified"], _share(p["conversion"]),
         _share(p["usual_conversion"]), p["refused"], p["verdict"], p["why"])
        for p in found
    ]  # fmt: skip
    print_table(columns, rows, empty="no codes were wanted lately")


@app.command("blocks")
def blocks(
    every: Annotated[bool, typer.Option("--all", help="Also those that ended in the last day.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """The prefixes that are blocked, or marked where the router only watches, and why."""
    with router_at(data) as router:
        found = [block for block in router.get("/fraud/blocks") if every or block["active"]]
    if as_json:
        print_json(found)
        return
    now = time.time()
    columns = ("prefix", "carrier", "state", "since", "until", "by", "strikes", "reason", "why")
    rows = [
        (b["prefix"], b["carrier"], _state(b), ago(b["since"], now), "lifted" if b["until"] is None else moment(b["until"]), b["by"],
         b["strikes"], b["reason"], b["why"])
        for b in found
    ]  # fmt: skip
    print_table(columns, rows, empty="no prefix is blocked")


@app.command("block")
def block(
    prefix: Prefix,
    why: Annotated[str, typer.Option("--why", help="For whoever looks at the list; clients never see it.")] = "",
    seconds: Annotated[float | None, typer.Option("--seconds", min=1, help="For so long. Default: until it is lifted.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Refuse all messages to numbers that begin so."""
    with router_at(data) as router:
        made = router.post("/fraud/blocks", {"prefix": prefix, "why": why, "seconds": seconds})
    if as_json:
        print_json(made)
        return
    until = "it is lifted" if made["until"] is None else moment(made["until"])
    print(f"{made['prefix']} is blocked until {until}.")


@app.command("lift")
def lift(prefix: Prefix, data: Data = None, as_json: Json = False) -> None:
    """End a block, a marked prefix's too. The router leaves it alone for a while."""
    with router_at(data) as router:
        made = router.post("/fraud/lift", {"prefix": prefix})
    if as_json:
        print_json(made)
        return
    print(f"{made['prefix']} is free again.")


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"


def _state(block: dict[str, Any]) -> str:
    if not block["active"]:
        return "lifted" if block["lifted"] else "over"
    return "blocked" if block["refuses"] else "marked"
