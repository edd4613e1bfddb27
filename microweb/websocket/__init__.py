"""WebSockets. RFC 6455"""

from .socket import WebSocket

__all__ = ["WebSocket"]
