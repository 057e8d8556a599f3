"""What a phone's app did, beside what became of its messages (`workers.simulator.counts`)."""

import msgspec


class AppCounts(msgspec.Struct):
    """Each counts calls or events of one phone since it was made."""

    registrations: int = 0
    updates: int = 0
    refusals: int = 0
    """Answers 401."""
    failed_calls: int = 0
    """No answer, another status than 2xx, or an answer of another shape."""
    streams: int = 0
    """Event streams opened."""
    stream_ends: int = 0
    enqueued: int = 0
    """Events MessageEnqueued."""
    cancels: int = 0
    """Events MessageCancelled."""
    exports: int = 0
    """Events MessagesExportRequested, with which a simulated phone does nothing else."""
    odd_events: int = 0
    """Events with a name, or data, that the app does not know."""
    pulls: int = 0
    """Pulls answered."""
    abandoned_pulls: int = 0
    """Pulls that an event restarted."""
    repeated: int = 0
    """Messages listed that it had already."""
    unreadable: int = 0
    """Messages that the app threw away: without a text, or with a time that is none."""
    cannot_cancel: int = 0
    """Messages to cancel that it has not, or has sent."""
    expired: int = 0
    """Messages that it did not send because their time was over."""
    settings: int = 0
    webhooks: int = 0
    reports: int = 0
    """Reports taken by the router."""
    given_up: int = 0
    """Reports that it will not try any more."""

    def add(self, other: "AppCounts") -> None:
        """Count what another one counted."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
