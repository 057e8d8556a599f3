"""What becomes of a message that comes back from a backup. Between the backup and its restore the router went on, or phones did: whatever
was open then may have been sent since, cancelled, or its code used, and no record tells.
"""

from msgspec.structs import replace

from router.domain.lifecycle import Decision, Release, move
from router.domain.message import Message

REASON = "it came back from a backup: nobody knows what became of it since"


def end_restored(message: Message, now: float) -> Decision:
    """Ends what was open: what may have been sent since must not be sent again, and a code that may have been used must not be good again.

    Not sent when the backup was made → failed, whatever has happened since. Sent, and waiting for its code → expired. A message whose time
    has not come yet (`not_before`) was sent by nobody: it goes on, as does whatever had ended already.
    """
    if message.is_final or (message.not_before > now and not message.attempts):
        return Decision(message)
    released = []
    attempts = list(message.attempts)
    for attempt in message.open_attempts:
        released.append(Release(attempt.seed, attempt.number, "returned", attempt.was_handed_over))
        state = "ambiguous" if attempt.was_handed_over else "withdrawn"
        attempts[attempt.number - 1] = replace(attempt, state=state, ended_at=now, error=REASON)
    ended = move(replace(message, attempts=tuple(attempts)), "expired" if message.state == "sent" else "failed", now, REASON)
    return Decision(replace(ended, parked_at=None, parked_why=""), tuple(released))
