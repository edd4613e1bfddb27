"""An application of Falcon, by ASGI."""

import asyncio
from pathlib import Path

import falcon
import falcon.asgi
from falcon import WebSocketDisconnected

events: list[str] = []


class Pool:
    async def process_startup(self, scope, event) -> None:
        events.append("started")

    async def process_shutdown(self, scope, event) -> None:
        print("stopped", flush=True)

    async def process_response(self, request, response, resource, succeeded) -> None:
        response.set_header("X-Succeeded", str(succeeded))


class Items:
    async def on_get(self, request, response, number=1) -> None:
        response.media = {"number": number, "url": request.uri, "root": request.root_path}
        response.set_cookie("seen", "yes", secure=False)

    async def on_put(self, request, response, number) -> None:
        response.media = await request.get_media()
        response.status = falcon.HTTP_201


class Forms:
    async def on_post(self, request, response) -> None:
        response.media = {
            part.name: len(await part.stream.read()) async for part in await request.get_media()
        }


class Body:
    async def on_post(self, request, response) -> None:
        size = 0
        async for piece in request.stream:
            size += len(piece)
        response.text = str(size)


class Ticks:
    async def on_get(self, request, response) -> None:
        async def lines():
            for number in range(3):
                yield b"%d\n" % number

        response.content_type = falcon.MEDIA_TEXT
        response.stream = lines()


class Events:
    async def on_get(self, request, response) -> None:
        async def made():
            try:
                while True:
                    yield falcon.asgi.SSEvent(text="tick")
                    await asyncio.sleep(0.01)
            finally:
                events.append("the events have ended")

        response.sse = made()


class Seen:
    async def on_get(self, request, response) -> None:
        response.media = events


class Work:
    async def on_get(self, request, response) -> None:
        async def later() -> None:
            events.append("worked")

        response.schedule(later)
        response.text = "begun"


class Echo:
    async def on_websocket(self, request, socket, name) -> None:
        if name == "nobody":
            raise falcon.HTTPForbidden()
        await socket.accept()
        try:
            while True:
                await socket.send_text(f"{name} {await socket.receive_text()}")
        except WebSocketDisconnected:
            events.append(f"{name} left")


app = falcon.asgi.App(middleware=[Pool()])
app.add_route("/items/{number:int}", Items())
app.add_route("/below/prefixed", Items())
app.add_route("/forms", Forms())
app.add_route("/body", Body())
app.add_route("/ticks", Ticks())
app.add_route("/sse", Events())
app.add_route("/seen", Seen())
app.add_route("/work", Work())
app.add_route("/echo/{name}", Echo())
app.add_static_route("/static", Path(__file__).parent / "static")
