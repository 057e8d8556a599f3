"""`queue`: how full it is, and what waits for a seed; its dead letters are in `dead`."""

import typer

from router.cli import dead
from router.cli.options import Data, Json
from router.cli.output import print_json, print_table, router_at

app = typer.Typer(invoke_without_command=True)
app.add_typer(dead.app, name="dead")


@app.callback()
def queue(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """How full the queue is, and what waits for a seed."""
    if context.invoked_subcommand is not None:
        return
    with router_at(data) as router:
        state = router.get("/queue")
    if as_json:
        print_json(state)
        return
    lanes = [(name, lane["depth"], lane["oldest_seconds"]) for name, lane in state["lanes"].items()]
    print_table(("lane", "waiting", "oldest (s)"), lanes)
    print_table(("parking lot", "waiting"), sorted(state["parked"].items()), empty="no message waits for a seed")
    print(f"{state['open']} messages are open, {state['dead_letters']} entries are dead.")
    print(
        f"{state['inbound']} SMS that came in wait on seedrouter.inbound, "
        f"{state['webhooks_waiting']} webhook deliveries wait, {state['webhooks_dead']} are dead."
    )
