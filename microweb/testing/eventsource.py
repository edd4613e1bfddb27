"""Parse server-sent events on the client's side. WHATWG HTML section 9.2.6

`EventParser` takes the bytes of a stream, and returns each event when its last line is complete, as
a browser's `EventSource` dispatches it. It never waits.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

from ..bodies.json import parse_json

_LINE_END = re.compile(r"\r\n|\r|\n")  # `str.splitlines` splits at other characters too
_DIGITS = re.compile(r"[0-9]{1,1000}+")  # a longer number may be too long for `int`


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as a browser's `EventSource` dispatches it.

    `id` is the last id in the stream, sent with this event or before it. `retry` is the wait in
    milliseconds that was sent since the event before, or None.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: int | None = None

    def json(self) -> Any:
        """Return the JSON value of the data. Raises: BadRequest."""
        return parse_json(self.data.encode())


class EventParser:
    """The parser of one stream: pass its bytes to `feed()`, in pieces of any size.

    `last_event_id` is the id that a client sends when it reconnects, and `retry` its wait before
    that in milliseconds, None if the stream has sent none.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line: list[str] = []  # the pieces of a line that has not ended
        self._skips_line_feed = False  # a CR ended the last line: a following LF belongs to it
        self._data: list[str] = []
        self._event = ""
        self._id = last_event_id
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[ReceivedEvent]:
        """Return the events that `data` completes. Only an empty line completes an event."""
        text = self._decoder.decode(data)
        if not text:
            return []
        if self._skips_line_feed and text[0] == "\n":
            text = text[1:]
        self._skips_line_feed = text.endswith("\r")
        *lines, rest = _LINE_END.split(text)
        if lines:
            lines[0] = "".join((*self._line, lines[0]))
            self._line.clear()
        self._line.append(rest)
        events = []
        for line in lines:
            if line:
                self._take_field(line)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        return events

    def _take_field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and _DIGITS.fullmatch(value):
            self.retry = self._retry = int(value)

    def _dispatch(self) -> ReceivedEvent | None:
        self.last_event_id = self._id
        data, event, retry = self._data, self._event, self._retry
        self._data, self._event = [], ""
        if not data:
            return None
        self._retry = None
        return ReceivedEvent("\n".join(data), event or "message", self._id, retry)
