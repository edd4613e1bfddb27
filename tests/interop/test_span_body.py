"""A part of an open file as a body."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.asgi_apps import ask, body_of, get
from support.serving import on_loopback

from microweb import App, Response
from microweb.bodies.open_file import OpenFile
from microweb.http.ranges import Span
from microweb.interop.span_body import SpanBody


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (3, 4), (9, 1), (0, 0)])
async def test_a_span_of_a_file_is_the_body(offset: int, length: int, tmp_path: Path) -> None:
    path = tmp_path / "digits"
    path.write_bytes(b"0123456789")
    app = App()

    @app.get("/")
    async def index() -> Response:
        body = SpanBody(OpenFile(path), Span(offset, length))
        path.unlink()  # the file is open
        return Response(body, 206, {"Content-Length": str(length), "ETag": '"mine"'})

    async with on_loopback(app) as server:
        answer = await ask(server, get("/", "If-None-Match: *", "Range: bytes=0-0"))
    assert answer.startswith(b"HTTP/1.1 206 ") and b'ETag: "mine"\r\n' in answer
    assert body_of(answer) == b"0123456789"[offset : offset + length]
