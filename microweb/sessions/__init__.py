"""Sessions, and the stores that keep them on the server."""

from .session import Session
from .store import SessionStore

__all__ = ["Session", "SessionStore"]
