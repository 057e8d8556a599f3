"""What webhooks hear of a message, and when it happened. Each event is told once per message."""

import msgspec

from router.domain.message import Event, Message


class Announcement(msgspec.Struct, frozen=True):
    """One event of one message, for the account's webhooks. `at`: Unix seconds by the router's clock."""

    message: Message
    event: Event
    at: float


def owed(message: Message) -> tuple[Event, ...]:
    """Events that have happened and that the courier has not been given yet; none in dialects without webhooks."""
    if message.dialect != "smsgate":
        return ()
    return tuple(event for event in _happened(message) if event not in message.told)


def _happened(message: Message) -> list[Event]:
    if message.sent_at is not None:
        return ["sms:sent", "sms:delivered"] if message.delivered_at is not None else ["sms:sent"]
    if message.state in ("failed", "expired"):
        return ["sms:failed"]
    # While a phone has it, it may still say that it was sent
    if message.state == "cancelled" and not message.open_attempts:
        return ["sms:cancelled"]
    return []


def happened_at(message: Message, event: Event) -> float:
    """Unix seconds by the router's clock."""
    times = {"sms:sent": message.sent_at, "sms:delivered": message.delivered_at}
    return times.get(event) or message.ended_at or message.created_at
