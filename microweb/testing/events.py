"""`EventStream`: the events of one response, as `TestClient.events()` returns them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType

from ..errors import MissingExtra
from ..http.mediatypes import parse_media_type
from .eventsource import EventParser, ReceivedEvent

try:
    import httpx
except ImportError as error:
    raise MissingExtra("microweb.testing", "testing") from error

_MEDIA_TYPE = "text/event-stream"

# Waits until the server has closed a response's connection; the bool: raise the server's error.
WaitClosed = Callable[[httpx.Response, bool], Awaitable[None]]


class EventStream:
    """The events of one response: `async with` sends the request, `async for` or `anext` reads.

    `response` is the response. `last_event_id` is the id that a client sends when it reconnects,
    and `retry` its wait before that in milliseconds, None if the server has sent none. An
    `EventStream` never reconnects.
    """

    response: httpx.Response  # set by `async with`

    def __init__(
        self,
        client: httpx.AsyncClient,
        request: httpx.Request,
        wait_closed: WaitClosed,
        last_event_id: str,
    ) -> None:
        self._client = client
        self._request = request
        self._wait_closed = wait_closed
        self._parser = EventParser(last_event_id)
        self._events: deque[ReceivedEvent] = deque()
        self._pieces: AsyncIterator[bytes] | None = None
        self._has_ended = False

    @property
    def last_event_id(self) -> str:
        """The last id that the server sent; before that, the id that the client sent."""
        return self._parser.last_event_id

    @property
    def retry(self) -> int | None:
        """The wait before a reconnect in milliseconds, or None."""
        return self._parser.retry

    async def __aenter__(self) -> EventStream:
        """Send the request, and wait for the head.

        Raises: httpx.HTTPStatusError if the response is not a 200 with `text/event-stream`, because
        a browser refuses it too; the errors of a request.
        """
        self.response = response = await self._client.send(self._request, stream=True)
        content_type = response.headers.get("content-type", "")
        media_type, _ = parse_media_type(content_type)
        if response.status_code != 200 or media_type != _MEDIA_TYPE:
            got = f"{response.status_code} of {media_type or 'no type'}"
            await response.aclose()
            message = f"expected a 200 of {_MEDIA_TYPE}, got {got:.80}"
            raise httpx.HTTPStatusError(message, request=self._request, response=response)
        self._pieces = response.aiter_bytes()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.response.aclose()
        if not self._has_ended:
            await self._wait_closed(self.response, error is None)

    def __aiter__(self) -> AsyncIterator[ReceivedEvent]:
        return self

    async def __anext__(self) -> ReceivedEvent:
        """Return the next event.

        Raises: StopAsyncIteration if the server has ended the stream; the endpoint's error;
        httpx.ReadTimeout if no byte arrives within the client's read timeout, which also closes the
        connection.
        """
        if self._pieces is None:
            raise RuntimeError(
                "expected an entered event stream: use `async with client.events(path) as events:`"
            )
        while not self._events:
            piece = await anext(self._pieces, None)
            if piece is None:
                self._has_ended = True
                raise StopAsyncIteration
            self._events.extend(self._parser.feed(piece))
        return self._events.popleft()
