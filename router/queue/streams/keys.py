"""Names of the keys. All of them have one hash tag, so that they are in one slot of a Redis Cluster."""


class Keys:
    """The keys under `prefix`, with `tag` as hash tag: `<prefix>{<tag>}:…`. What each holds: lua/lib.lua."""

    def __init__(self, prefix: str, tag: str) -> None:
        self._root = f"{prefix}{{{tag}}}:"
        self.slot_key = self._root.encode()
        self.queues = f"{self._root}queues".encode()
        self.exchanges = f"{self._root}exchanges".encode()

    def stream(self, queue: str, step: int) -> bytes:
        return f"{self._root}s:{step}:{queue}".encode()

    def stream_parts(self, queue: str) -> tuple[str, str]:
        """What stands before and after the priority step in the key of a stream."""
        return f"{self._root}s:", f":{queue}"

    def delayed(self, queue: str) -> bytes:
        return f"{self._root}d:{queue}".encode()

    def bindings(self, exchange: str) -> bytes:
        return f"{self._root}b:{exchange}".encode()
