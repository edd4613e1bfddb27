"""WebSockets. RFC 6455"""

from ..remedies import point_to_ours
from .socket import WebSocket
from .suggestions import NAMES

__all__ = ["WebSocket"]

point_to_ours(WebSocket, NAMES)
