"""WSGI applications for tests, and their answers over a real connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Unpack
from wsgiref.validate import validator

from microweb import WSGI
from microweb.interop.wsgi_answer import StartResponse, WSGIApplication
from microweb.server.config import ServerOptions
from microweb.server.process import Application
from microweb.server.server import Server

from .serving import DEADLINE_S, ask, on_loopback

Environ = dict[str, Any]
TEXT = [("Content-Type", "text/plain")]


def answering(
    pieces: Iterable[bytes] = (b"hello\n",),
    status: str = "200 OK",
    headers: Iterable[tuple[str, str]] = TEXT,
) -> WSGIApplication:
    """Return an application that answers each request with `pieces`."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers))
        return pieces

    return app


@asynccontextmanager
async def serving(
    app: WSGIApplication, *, is_checked: bool = True, **options: Unpack[ServerOptions]
) -> AsyncIterator[Server]:
    """Serve an application. `wsgiref.validate` is between it and the server if `is_checked`."""
    async with on_loopback(WSGI(validator(app) if is_checked else app), **options) as server:
        yield server


async def answer_of(app: Application | WSGIApplication, request: bytes) -> bytes:
    """Return the answer of an application to one request."""
    served = app if hasattr(app, "attach") else WSGI(app)  # type: ignore[arg-type]
    async with on_loopback(served) as server:  # type: ignore[arg-type]
        return await ask(server, request)


def get(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request for one answer."""
    lines = [f"{method} {target} HTTP/{version}", "Host: a:8000", "Connection: close", *fields]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def post(body: bytes, *fields: str, target: str = "/") -> bytes:
    """Return a request with a body, which has a Content-Length unless `fields` frame it."""
    return get(target, *(fields or (f"Content-Length: {len(body)}",)), method="POST") + body


def chunked(body: bytes, *fields: str) -> bytes:
    """Return a request whose body is one chunk."""
    return post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked", *fields)


def body_of(answer: bytes) -> bytes:
    """Return the content behind the head, without its chunks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"\r\nTransfer-Encoding: chunked" not in head:
        return body
    content = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            assert body == b"\r\n"
            return content
        content += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]


async def until(event: threading.Event) -> None:
    """Wait for an event that a thread sets."""
    assert await asyncio.to_thread(event.wait, DEADLINE_S)
