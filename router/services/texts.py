"""Opening the texts of messages, where another seal key may have been given since."""

import structlog

from router.secrets import SealBroken
from router.store.messages import Messages, Stored

_log = structlog.get_logger()


def open_text(messages: Messages, stored: Stored | None) -> str | None:
    """The text; None where there is none (any more), or it cannot be opened, which the log says."""
    if stored is None or stored.sealed_text is None:
        return None
    try:
        return messages.open_text(stored)
    except SealBroken as error:
        _log.error("message.unreadable", message_id=stored.message.id, error=str(error), hint="is it the same seal_key?")
        return None
