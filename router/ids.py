"""Ids that clients of SMSGate's API see."""

import secrets
from typing import Final

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_LENGTH: Final = 21


def random_id() -> str:
    """21 of A-Z a-z 0-9 _ -, 126 bits by chance."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
