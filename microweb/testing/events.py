"""What `TestClient.events()` gives: the events of one answer, and a client that leaves."""

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

# Waits until the server is done with a client that has left; with whether to raise its fault.
SeeOff = Callable[[httpx.Response, bool], Awaitable[None]]


class EventStream:
    """The events of one answer, as they come: `async with`, then `async for` or `anext`.

    `response` is the answer, `last_event_id` what a client would come again with, `retry` how many
    milliseconds later, None where the server has not said. Nothing reconnects by itself.
    """

    response: httpx.Response  # once it is entered

    def __init__(
        self, client: httpx.AsyncClient, request: httpx.Request, see_off: SeeOff, last_event_id: str
    ) -> None:
        self._client = client
        self._request = request
        self._see_off = see_off
        self._parser = EventParser(last_event_id)
        self._events: deque[ReceivedEvent] = deque()
        self._pieces: AsyncIterator[bytes] | None = None
        self._has_ended = False

    @property
    def last_event_id(self) -> str:
        """The id that was told last; at first the one that the client came with."""
        return self._parser.last_event_id

    @property
    def retry(self) -> int | None:
        """Milliseconds to wait before coming again."""
        return self._parser.retry

    async def __aenter__(self) -> EventStream:
        """Ask, and wait for the head.

        Raises: httpx.HTTPStatusError for what a browser would not take for an event stream; as a
        request does.
        """
        self.response = response = await self._client.send(self._request, stream=True)
        content_type = response.headers.get("content-type", "")
        media_type, _ = parse_media_type(content_type)
        if response.status_code != 200 or media_type != _MEDIA_TYPE:
            got = f"{response.status_code} of {media_type or 'no type'}"
            await response.aclose()
            message = f"expected a 200 of {_MEDIA_TYPE}, got {got}"
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
            await self._see_off(self.response, error is None)

    def __aiter__(self) -> AsyncIterator[ReceivedEvent]:
        return self

    async def __anext__(self) -> ReceivedEvent:
        """Return the next event.

        Raises: StopAsyncIteration where the server has ended the stream; what the endpoint raised;
        httpx.ReadTimeout where nothing comes for as long as the client waits. It has left then.
        """
        if self._pieces is None:
            raise RuntimeError("it asks by `async with client.events(path) as events:`")
        while not self._events:
            piece = await anext(self._pieces, None)
            if piece is None:
                self._has_ended = True
                raise StopAsyncIteration
            self._events.extend(self._parser.feed(piece))
        return self._events.popleft()
