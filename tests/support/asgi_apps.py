"""ASGI applications for tests, and their answers over a real connection."""

from __future__ import annotations

from typing import Any

from microweb.interop.asgi_server import ASGI
from microweb.interop.asgi_types import ASGIApplication, Message, Receive, Send
from microweb.server.process import Application

from .serving import ask, on_loopback

Scope = dict[str, Any]
TEXT = [(b"content-type", b"text/plain")]


def start(status: int = 200, headers: Any = TEXT, **more: object) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(content: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def sending(*messages: Message) -> ASGIApplication:
    """Return an application that answers each request with these messages. It has no lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        for message in messages:
            await send(message)

    return app


def get(target: str = "/", *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode()


async def answer_of(app: Application | ASGIApplication, request: bytes) -> bytes:
    """Return the answer of an application to one request."""
    served: Any = app if hasattr(app, "attach") else ASGI(app)  # type: ignore[arg-type]
    async with on_loopback(served) as server:
        return await ask(server, request)


def body_of(answer: bytes) -> bytes:
    """Return the bytes behind the head."""
    return answer.partition(b"\r\n\r\n")[2]
