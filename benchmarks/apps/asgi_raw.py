"""An ASGI application without a framework: answers, an echo of JSON, an echo of messages."""

import json

TEXT, JSON = b"text/plain; charset=utf-8", b"application/json"


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    elif scope["path"] == "/json":
        await answer(send, json.dumps({"message": "Hello, World!"}).encode(), JSON)
    elif scope["path"] == "/echo":
        body, has_more = b"", True
        while has_more:
            message = await receive()
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        await answer(send, json.dumps(json.loads(body)).encode(), JSON)
    else:
        await answer(send, b"Hello, World!", TEXT)


async def answer(send, body, content_type):
    length = str(len(body)).encode()
    fields = [(b"content-type", content_type), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
