"""What phones that tell afterwards are to hear when a message has changed. It follows from the record before and after: whoever changed it
tells them, and a phone that hears nothing finds the same in its next list.
"""

from router.domain.message import Attempt, Message


def asked(before: Message, after: Message) -> list[Attempt]:
    """Whose phones are to be asked, since their leases end without a word."""
    pairs = zip(before.attempts, after.attempts, strict=False)
    return [new for old, new in pairs if new.asked_at != old.asked_at]


def recalled(before: Message, after: Message) -> list[Attempt]:
    """What seeds that do not ask hold and are not to send any more, and what they went silent with: their phones are to hear of it."""
    found: list[Attempt] = []
    for old, new in zip(before.attempts, after.attempts, strict=False):
        is_over = old.state == new.state == "handed" and before.state == "dispatched" and after.state != "dispatched"
        is_silent = new.state == "ambiguous" and old.state != "ambiguous"
        if old.tells_after and (is_over or is_silent):
            found.append(new)
    return found
