"""Server-sent events as their client reads them. WHATWG HTML section 9.2.6

`EventParser` takes the bytes of a stream as they come and returns the events that they end, as a
browser's `EventSource` would dispatch them. It never waits.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

from ..bodies.json import parse_json

_LINE_END = re.compile(r"\r\n|\r|\n")  # `str.splitlines` knows more of them
_DIGITS = re.compile(r"[0-9]{1,1000}+")  # which `int` takes


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as a page gets it.

    `id` is the last one that the stream has told, in this event or before. `retry` is the wait in
    milliseconds that stood before the event, None where none did.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: int | None = None

    def json(self) -> Any:
        """Return the data, read as JSON. Raises: BadRequest."""
        return parse_json(self.data.encode())


class EventParser:
    """Reads one stream: `feed()` its bytes, however they are cut.

    `last_event_id` is what a client would come back with, `retry` how long it would wait before, in
    milliseconds, None where the stream has not said.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line: list[str] = []  # the pieces of one that has not ended
        self._skips_line_feed = False  # a CR ended the last line: an LF belongs to it
        self._data: list[str] = []
        self._event = ""
        self._id = last_event_id
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[ReceivedEvent]:
        """Return the events that `data` ends. What no empty line ends is never one."""
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
