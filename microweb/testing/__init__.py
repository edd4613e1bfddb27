"""Test an application: in memory by `app.test_client()`, or on a real socket by `live_server`."""

import typing

from .client import TestClient
from .events import EventStream
from .eventsource import ReceivedEvent
from .live import LiveServer, live_server
from .misbehaving import Misbehaving
from .transport import MemoryTransport

if typing.TYPE_CHECKING:
    from .websocket import ClientSocket, HandshakeRefused, SocketClosed

__all__ = [
    "ClientSocket",
    "EventStream",
    "HandshakeRefused",
    "LiveServer",
    "MemoryTransport",
    "Misbehaving",
    "ReceivedEvent",
    "SocketClosed",
    "TestClient",
    "live_server",
]

if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the WebSocket names when they are first used, because they need an extra."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import websocket

        return getattr(websocket, name)
