"""The benches by name. Each prints one JSON object a line: {"bench", "figure", "value", "unit", "baseline"?, "ratio"?, "runs"}."""

import sys
from collections.abc import Callable, Sequence

from bench import accept, flow

BENCHES: dict[str, Callable[[Sequence[str]], None]] = {"accept": accept.run, "flow": flow.run}


def run(name: str, arguments: Sequence[str] = ()) -> int:
    """Runs one bench, or `all`; `list` names them. Gives the exit code; an unknown name is told with those that there are."""
    if name == "list":
        print("\n".join(BENCHES))
        return 0
    names = list(BENCHES) if name == "all" else [name]
    for each in names:
        if each not in BENCHES:
            print(f"no bench is called {each}: there are {', '.join(BENCHES)}, and all", file=sys.stderr)
            return 2
        BENCHES[each](arguments)
    return 0
