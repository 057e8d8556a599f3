"""Server-sent events, as the app's library reads them (WHATWG HTML, "Server-sent events")."""

import codecs
from collections.abc import Iterator

import msgspec


class ServerEvent(msgspec.Struct, frozen=True):
    """An event without a name is called `message`."""

    name: str
    data: str


class EventReader:
    """Takes the stream as it comes, in pieces of any size."""

    def __init__(self) -> None:
        self.comments = 0
        """Lines such as `:keepalive`."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._name = ""
        self._data: list[str] = []

    def __repr__(self) -> str:
        return f"<EventReader {self.comments} comments>"

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that are complete with this piece. Lines end with LF or CR LF; an event without a data line is none."""
        *lines, self._line = (self._line + self._decoder.decode(chunk)).split("\n")
        for line in lines:
            event = self._take(line.removesuffix("\r"))
            if event is not None:
                yield event

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            event = ServerEvent(self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments += 1
        elif field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None
