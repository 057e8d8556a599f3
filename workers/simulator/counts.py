"""What came of the messages that a phone, or a fleet, was handed."""

import msgspec


class Counts(msgspec.Struct):
    """Each counts messages, but `stale` counts reports."""

    taken: int = 0
    sent: int = 0
    """On the air."""
    failed: int = 0
    """Reported as failed."""
    cancelled: int = 0
    """Given back unsent."""
    refused: int = 0
    """Not sent because the router said no to the radio."""
    lost: int = 0
    """Neither sent nor reported: ignored, or held by a phone that died."""
    stale: int = 0
    """Reports that came too late, or twice."""

    def add(self, other: "Counts") -> None:
        """Count what another one counted."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
