"""`queue`: how full it is, and what waits for a seed."""

from router.cli.options import Data, Json
from router.cli.output import print_json, print_table, router_at


def queue(data: Data = None, as_json: Json = False) -> None:
    """How full the queue is, and what waits for a seed."""
    with router_at(data) as router:
        state = router.get("/queue")
    if as_json:
        print_json(state)
        return
    lanes = [(name, lane["depth"], lane["oldest_seconds"]) for name, lane in state["lanes"].items()]
    print_table(("lane", "waiting", "oldest (s)"), lanes)
    print_table(("parking lot", "waiting"), sorted(state["parked"].items()), empty="no message waits for a seed")
    print(f"{state['open']} messages are open, {state['dead_letters']} entries are dead.")
