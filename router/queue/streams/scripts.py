"""The atomic steps, as Lua scripts that Redis keeps by their SHA-1."""

import hashlib
from importlib import resources


class Script:
    """A script of the folder `lua`, with `lib.lua` before it."""

    def __init__(self, name: str) -> None:
        folder = resources.files(__package__) / "lua"
        self.name = name
        self.source = "".join((folder / file).read_text("utf-8") for file in ("lib.lua", f"{name}.lua"))
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"


ACK = Script("ack")
DECLARE = Script("declare")
DELAY = Script("delay")
DUE = Script("due")
MOVE = Script("move")
PURGE = Script("purge")
PUT = Script("put")
RECLAIM = Script("reclaim")
RELEASE = Script("release")
RENEW = Script("renew")
STATE = Script("state")
SWEEP = Script("sweep")
TAKE = Script("take")
TOUCH = Script("touch")
