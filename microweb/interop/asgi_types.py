"""The types of ASGI 3: a scope, its messages, and the options of an App that other servers serve.

https://asgi.readthedocs.io/en/latest/specs/main.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypedDict

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class ASGIOptions(TypedDict, total=False):
    """The fields of `ServerConfig` that an App has under another ASGI server.

    That server decides all others: its sockets, its processes, and the limits of a head.
    """

    debug_anywhere: bool
    threads: int
    trusted_proxies: tuple[str, ...]
    max_body: int
    max_json: int
    max_json_values: int
    max_form_fields: int
    max_form_text: int
    max_message: int
    max_buffered: int
    max_background_tasks: int
    body_timeout_s: float
    min_body_rate: float
    write_timeout_s: float
    grace_s: float
