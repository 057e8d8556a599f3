"""Python's collector of cycles, in processes that make many short-lived objects and keep what they made at the start."""

import gc

_YOUNGEST = 20_000
_OLDER = 50


def collect_less() -> None:
    """To be called when a process has made what it keeps: that is not looked at any more, and the rest more seldom.

    Requests and batches leave hardly any cycles; with Python's own numbers the collector walks all of the program's objects again and
    again for them, which costs a tenth of an api process' time, and now and then a pause.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, _OLDER, _OLDER)
