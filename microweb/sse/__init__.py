"""Server-sent events. WHATWG HTML section 9.2"""

from .event import ServerEvent

__all__ = ["ServerEvent"]
