"""The messages of a channel, and the gaps between them.

`publish` encodes a message once, and brokers carry these bytes: a letter for the kind, then text in
UTF-8, bytes, or JSON. All subscribers of a process share one `Message`. It keeps its encoding for
an event stream and for a WebSocket, so that ten thousand subscribers cost one encoding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..bodies.json import encode_json, parse_json
from ..concurrency.throttle import Throttle
from ..http.charsets import encode_utf8
from ..logs import Log

_TEXT, _BYTES, _JSON = b"t", b"b", b"j"
_UNREAD = object()

_log = Log("microweb.error")
_unfit = Throttle()  # a WebSocket client may decide how many messages are bytes


class Entry(NamedTuple):
    """An entry of a channel in a broker: an id, unique in its channel, and an encoded message.

    Without a payload it is not a message, only an id to continue from.
    """

    id: str
    payload: bytes | None


def encode_payload(message: object, default: Callable[[object], object] | None = None) -> bytes:
    """Return the payload of a message: a str, bytes, or a value that JSON takes.

    Raises: TypeError for a value that JSON doesn't take; ValueError as `encode_json`, and for a str
    that UTF-8 can't encode.
    """
    if isinstance(message, str):
        return _TEXT + encode_utf8(message)
    if isinstance(message, (bytes, bytearray, memoryview)):
        return _BYTES + message
    return _JSON + encode_json(message, default)


def checked_payload(payload: bytes) -> bytes:
    """Return a received payload; if it is invalid, return it as a message of bytes.

    Another program may have written it. Each event stream and socket of the channel would fail at
    an invalid one, and again at each reconnect while it is in the history.
    """
    if payload.startswith(_BYTES):
        return payload
    try:
        payload.decode()
    except UnicodeDecodeError:
        return _BYTES + payload
    return payload if payload.startswith((_TEXT, _JSON)) else _BYTES + payload


class Message:
    """A message for subscribers. All of them share one object: don't change its data."""

    __slots__ = ("_data", "_event", "_frame", "_payload", "id")

    def __init__(self, id: str, payload: bytes) -> None:
        self.id = id
        self._payload = payload
        self._data: object = _UNREAD
        self._event: bytes | None = None
        self._frame: bytes | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, data={self.data!r:.80})"

    @property
    def data(self) -> object:
        """Return the published value: a str, bytes, or the value parsed from its JSON."""
        if self._data is _UNREAD:
            self._data = self._read()
        return self._data

    def encode_event(self) -> bytes:
        """Return the message as a whole server-sent event, made at the first call.

        An event can't hold bytes, so they are replaced by a gap with their id. If the event stream
        ended here instead, its client would get the same bytes after each reconnect.
        """
        if self._event is None:
            self._event = self._make_event()
        return self._event

    def encode_frame(self) -> bytes:
        """Return the message as a WebSocket frame, made at the first call: binary for bytes."""
        if self._frame is None:
            from ..websocket.frames import encode_frame

            content = self._payload[1:]
            self._frame = encode_frame(content if self._is(_BYTES) else content.decode())
        return self._frame

    def _is(self, kind: bytes) -> bool:
        return self._payload.startswith(kind)

    def _read(self) -> object:
        content = self._payload[1:]
        if self._is(_BYTES):
            return content
        if self._is(_TEXT):
            return content.decode()
        return parse_json(content, allow_surrogates=True)

    def _make_event(self, event: str | None = None) -> bytes:
        from ..sse.event import ServerEvent

        if self._is(_BYTES):
            if _unfit.permits():
                _log.warning(
                    "channels: an event stream can't send bytes, and sent a gap (id %s): publish a "
                    "str or a JSON value to channels that event streams subscribe to",
                    self.id,
                )
            return Gap(1, self.id).encode_event()
        text = self._payload[1:].decode()
        return ServerEvent(text, event=event, id=self.id or None).encode_event()


class Gap(Message):
    """A place where messages are missing: `missed` of them, None if the number is not known.

    In an event stream it is the event `gap`, in a WebSocket a text message, both with the JSON
    `{"gap": true, "missed": 3}`, which is its `data` too. It has an id only if no kept message
    follows. Without one, a client that reconnects resumes after the message before the gap.
    """

    __slots__ = ("missed",)

    def __init__(self, missed: int | None, id: str = "") -> None:
        number = b"null" if missed is None else b"%d" % missed
        super().__init__(id, _JSON + b'{"gap":true,"missed":%b}' % number)
        self.missed = missed

    def _make_event(self, event: str | None = None) -> bytes:
        return super()._make_event("gap")


def widened(gap: Gap | None, lost: Message) -> Gap:
    """Return `gap` enlarged by `lost`, a dropped message or gap."""
    missed = 0 if gap is None else gap.missed
    more = lost.missed if isinstance(lost, Gap) else 1
    return Gap(None if missed is None or more is None else missed + more)
