"""Events as server-sent events write them. WHATWG HTML section 9.2.5, 9.2.6

A stream of events is lines, ended by CR, LF or CRLF; a field is a name, a colon and a value; an
empty line ends an event. So data is sent line by line, and what must be one line (a type, an id) is
checked when it is set: nothing that is put into an event can end it, or begin another.

What is encoded once for many (a message to all subscribers) offers `encode_event()` and is sent as
that returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from ..bodies.json import encode_json
from ..http.charsets import encode_utf8

Default = Callable[[object], object] | None

HEARTBEAT = b":\n\n"  # a comment: nothing that a page gets to see

# What a Last-Event-ID field brings back unchanged. RFC 9110 section 5.5
_ID = re.compile(r"(?! )[^\x00-\x1f\x7f]*+(?<! )")
_ONE_LINE = re.compile(r"[^\r\n]*+")


class EncodedEvent(Protocol):
    """What is an event already."""

    def encode_event(self) -> bytes:
        """Return the event as it is sent, the empty line at its end included."""


class ServerEvent:
    """One event: what a page's `EventSource` gets.

    `data` is a str, or what JSON can hold and is sent so. `event` is its type, by default
    `message`. `id` is what the client names in `Last-Event-ID` when it comes again, an empty one
    has it name none. `retry` is how long it waits before that, in milliseconds.

    Raises: ValueError for a type of several lines, an id that a header field can't bring back, and
    a `retry` that is no number of milliseconds.
    """

    __slots__ = ("_event", "_id", "_retry", "data")

    def __init__(
        self,
        data: object,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> None:
        self.data = data
        self.event = event
        self.id = id
        self.retry = retry

    @property
    def event(self) -> str | None:
        """The type, which is one line."""
        return self._event

    @event.setter
    def event(self, event: str | None) -> None:
        self._event = event if event is None else _check(event, _ONE_LINE, "an event type", "line")

    @property
    def id(self) -> str | None:
        """The id, which a header field can bring back."""
        return self._id

    @id.setter
    def id(self, id: str | None) -> None:
        self._id = id if id is None else _check(id, _ID, "an event id", "header field's value")

    @property
    def retry(self) -> int | None:
        """Milliseconds."""
        return self._retry

    @retry.setter
    def retry(self, retry: int | None) -> None:
        if retry is not None and (type(retry) is not int or retry < 0):
            raise ValueError(f"expected retry in milliseconds, got {retry!r:.80}")
        self._retry = retry

    def encode_event(self, default: Default = None) -> bytes:
        """Return the event as it is sent; `default` is asked for what JSON doesn't know.

        Raises: TypeError, ValueError for data that can't be sent.
        """
        fields = b""
        if self._event:
            fields += b"event: %b\n" % encode_utf8(self._event)
        if self._id is not None:
            fields += b"id: %b\n" % encode_utf8(self._id)
        if self._retry is not None:
            fields += b"retry: %d\n" % self._retry
        data = self.data
        return fields + (
            encode_text(data) if isinstance(data, str) else _encode_json(data, default)
        )

    def __repr__(self) -> str:
        return (
            f"ServerEvent({self.data!r}, event={self.event!r}, id={self.id!r}, retry={self.retry})"
        )


def encode_text(data: str) -> bytes:
    """Return an event that is nothing but `data`. Raises: ValueError for a lone surrogate."""
    if "\n" in data or "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    return b"data: %b\n\n" % encode_utf8(data)


def encode(event: object, default: Default = None) -> bytes:
    """Return anything that stands for an event as it is sent.

    A `str` is its data, a `ServerEvent` and an `EncodedEvent` are events, anything else is written
    as JSON, where `default` is asked for what that doesn't know.

    Raises: TypeError, ValueError for what can't be sent.
    """
    if isinstance(event, str):
        return encode_text(event)
    if isinstance(event, ServerEvent):
        return event.encode_event(default)
    encode_event: Callable[[], bytes] | None = getattr(event, "encode_event", None)
    if encode_event is not None:
        return encode_event()
    if event is None:
        raise TypeError("expected an event, got None: JSON's null is ServerEvent(None)")
    return _encode_json(event, default)


def _encode_json(data: object, default: Default) -> bytes:
    return b"data: %b\n\n" % encode_json(data, default)  # which has no line break in it


def _check(text: str, rule: re.Pattern[str], what: str, wanted: str) -> str:
    if not isinstance(text, str) or rule.fullmatch(text) is None:
        raise ValueError(f"expected {what} that is one {wanted}, got {text!r:.80}")
    encode_utf8(text)
    return text
