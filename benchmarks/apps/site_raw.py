"""The site of `python -m benchmarks` as an ASGI application without a framework."""

import json

from site_data import EVENTS, FOLDER, PIECE, PIECES

TEXT, JSON, EVENT_STREAM = b"text/plain; charset=utf-8", b"application/json", b"text/event-stream"


async def app(scope, receive, send):
    path = scope["path"]
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif path == "/":
        await answer(send, b"Hello, World!", TEXT)
    elif path.startswith("/user/"):
        await answer(send, b"user %b" % path[6:].encode(), TEXT)
    elif path == "/json":
        await answer(send, json.dumps({"message": "Hello, World!"}).encode(), JSON)
    elif path == "/echo":
        body, has_more = b"", True
        while has_more:
            message = await receive()
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        await answer(send, json.dumps(json.loads(body)).encode(), JSON)
    elif path == "/sse100":
        events = (b'data: {"n":%d}\n\n' % number for number in range(EVENTS))
        await answer_with(send, events, EVENT_STREAM)
    elif path == "/stream":
        await answer_with(send, (PIECE for _ in range(PIECES)), b"application/octet-stream")
    elif path.startswith("/static/") and (FOLDER / path[8:]).is_file():
        await answer(send, (FOLDER / path[8:]).read_bytes(), b"text/css")
    else:
        await answer(send, b"Not Found", TEXT, 404)


async def answer(send, body, content_type, status=200):
    fields = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def answer_with(send, pieces, content_type):
    fields = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
