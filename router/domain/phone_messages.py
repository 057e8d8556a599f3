"""What a phone of SMSGate's app knows a message by: a new id for each attempt, since the app drops an id that it has had."""

import re

from router.domain.message import Attempt, Message

_SHAPE = re.compile(r"([A-Za-z0-9_-]{1,64})_([1-9][0-9]{0,5})")


def phone_id(message_id: str, number: int) -> str:
    """The id of one attempt, as the phone is told it."""
    return f"{message_id}_{number}"


def parse_phone_id(text: str) -> tuple[str, int] | None:
    """Message id and number of the attempt; None for what never was such an id."""
    found = _SHAPE.fullmatch(text)
    return (found[1], int(found[2])) if found else None


def attempt_of_phone(message: Message, number: int, seed_ids: frozenset[str]) -> Attempt | None:
    """The attempt of that number, where it was given to one of these seeds."""
    if not 1 <= number <= len(message.attempts) or message.attempts[number - 1].seed not in seed_ids:
        return None
    return message.attempts[number - 1]
