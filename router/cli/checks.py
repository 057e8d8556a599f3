"""What `doctor` finds."""

from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail"]
ANSWER_SECONDS = 5.0
"""How long a server may take."""


class Check(msgspec.Struct, frozen=True):
    """One thing looked at. `advice` says what to do where it is not ok."""

    name: str
    status: Status
    found: str
    advice: str = ""
