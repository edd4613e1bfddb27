"""Other frameworks' names for parts of a WebSocket, and ours: see `microweb.suggestions`."""

from __future__ import annotations

# A name in other frameworks -> the name here; not for type checkers.
NAMES = {
    "receive_text": "await socket.receive()",
    "receive_bytes": "await socket.receive()",
    "receive_str": "await socket.receive()",
    "recv": "await socket.receive()",
    "iter_text": "async for message in socket",
    "iter_bytes": "async for message in socket",
    "send_text": "await socket.send(text)",
    "send_bytes": "await socket.send(data)",
    "send_str": "await socket.send(text)",
    "prepare": "await socket.accept()",
    "state": "socket.request.state",
    "headers": "socket.request.headers",
    "cookies": "socket.request.cookies",
    "query": "socket.request.query",
    "query_params": "socket.request.query",
    "path_params": "socket.request.path_params",
    "url": "socket.request.url",
    "app": "socket.request.app",
    "client": "socket.request.client",
    "session": "socket.request.session",
    "closed": "socket.close_code is not None",
}
