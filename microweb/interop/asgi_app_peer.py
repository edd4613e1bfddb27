"""The client of a request under another ASGI server, as the request and our server see it.

It is to a request what a `Connection` is under our own server. The same `DisconnectWatch` decides
what happens if the client leaves. What needs our own socket says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from ..errors import ConfigurationError
from ..http.interfaces import Address, Ends, OnLost, Origin, ServerLimits
from ..http.request_head import HeaderSection
from ..http.tls import TLSInfo
from ..request import Request
from ..server.addresses import address_of_peer
from ..server.disconnects import DisconnectWatch
from ..server.state import ServerState
from .asgi_app_wire import Wire
from .asgi_types import Scope

_SCHEMES = {"ws": "http", "wss": "https"}


class ScopePeer:
    """The `Peer` of one HTTP or WebSocket scope, and a `Guest` of our server."""

    def __init__(self, state: ServerState, scope: Scope, wire: Wire) -> None:
        self.extensions: Collection[str] = scope.get("extensions") or ()
        self.watch = DisconnectWatch(wire)
        self.looks = True  # the next message may only tell that the client has left
        self.has_begun = False  # the answer
        self._state = state
        self._wire = wire
        self._client = wire.client = _address_of(scope.get("client"))
        wire.on_left = self.watch.check_peer
        self._server = scope.get("server")
        scheme: str = scope.get("scheme", "http")
        self._scheme = _SCHEMES.get(scheme, scheme)
        self._afterwards: tuple[Callable[[], None], ...] = ()  # to start after the answer

    # --- the methods of `Guest`

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The other server's task, which runs the exchange."""
        return self._wire.task

    @property
    def request(self) -> Request | None:
        """The request under way."""
        return self._wire.request

    @property
    def is_ending(self) -> bool:
        """Whether the exchange got a cancellation, and may be cleaning up."""
        return self.watch.is_ending

    def check(self, now: float) -> None:
        """Check the client and the deadlines; called once a second."""
        if self.watch.long_lived is not None:
            self.watch.long_lived.tick(now)
        if self._wire.request is not None:
            self._wire.check(now)
            if self.looks:
                self._wire.look()
            self.watch.check_peer()

    def stop(self) -> None:
        """Tell a long-lived answer that the server stops."""
        if self.watch.long_lived is not None:
            self.watch.long_lived.stop(is_restart=False)

    # --- the methods of `Peer`

    @property
    def limits(self) -> ServerLimits:
        """The limits of all requests."""
        return self._state.limits

    @property
    def address(self) -> Address | None:
        """The client, as the other server tells it. Raises: ConfigurationError if it does not."""
        if self._client is None:
            raise ConfigurationError(
                "request.peer: expected a client in the ASGI scope, got none: the user behind a "
                "Unix socket is known only under microweb's own server (`microweb run`)"
            )
        return self._client

    @property
    def ends(self) -> Ends:
        """The end of the other server, as it tells it. It does not tell more about TLS."""
        if not self._server:
            return Ends(None, None, False)
        host, port = self._server
        return Ends((host, port), None, False)

    @property
    def tls(self) -> TLSInfo | None:
        """None without TLS. Raises: ConfigurationError: ASGI servers don't tell more than https."""
        if self._scheme == "http":
            return None
        raise ConfigurationError(
            "request.tls: expected microweb's own server (`microweb run`), got another ASGI "
            "server, which does not tell the TLS side of the connection"
        )

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to stop."""
        return self._state.is_draining

    def origin_of(self, section: HeaderSection) -> Origin:
        """Return the origin according to the other server, and then our trusted proxies."""
        return self._state.proxies.origin_of(self._client, self._scheme, section.headers)

    def after_response(self, request: object, function: Callable[[], object]) -> None:
        """Call `function()` in the background once `request` is answered."""
        background = self._state.background
        background.call(self._keep_for_later, request, background.after(function))

    async def early_hints(self, request: object, links: Sequence[str]) -> None:
        """Send a 103 with `links` if the other server can, and the answer has not begun."""
        type = "http.response.early_hint"
        is_over = self.has_begun or self._wire.is_gone() or request is not self._wire.request
        if type in self.extensions and not is_over:
            encoded = [link.encode("latin-1") for link in links]
            await self._wire.send({"type": type, "links": encoded})

    async def disconnected(self, request: object) -> None:
        """Return once the client of `request` has disconnected, or `request` is answered."""
        if self.looks:
            self._wire.look()
        await self.watch.disconnected(request)

    def shield(self, request: object) -> AbstractAsyncContextManager[None]:
        """Return a context manager whose block a disconnect of the client does not cancel."""
        return self.watch.shield(request)

    def cleaning_up(self, request: object, lost: OnLost = None) -> AbstractContextManager[None]:
        """Return a context manager like `shield`, without a check for the client at its end."""
        return self.watch.cleaning_up(request, lost)

    # --- the end of the exchange

    def _keep_for_later(self, request: object, start: Callable[[], None]) -> None:
        if request is self._wire.request:
            self._afterwards += (start,)
        else:  # already answered
            start()

    async def end(self) -> None:
        """Forget the request, which is answered, and start the functions of `after_response`."""
        self._wire.request = None
        self.watch.end()
        starts, self._afterwards = self._afterwards, ()
        for start in starts:
            start()
        await self._wire.close()


def _address_of(client: Sequence[object] | None) -> Address | None:
    """Return the client of a scope; None for a Unix socket, whose client some servers name ""."""
    if not client or not client[0]:
        return None
    port = client[1] if len(client) > 1 and isinstance(client[1], int) else 0
    return address_of_peer(str(client[0]), port)
