"""A chat over WebSocket: rooms, the people in them, the latest messages. Its page is chat.html.

Open http://localhost:5000/rooms/tea in two windows, then stop the server and start it again.

$ python examples/chat.py
"""

from dataclasses import dataclass
from pathlib import Path

from microweb import App, Response, WebSocket
from microweb.channels import Channels

PAGE = Path(__file__).with_name("chat.html")
MAX_NAME, MAX_TEXT = 40, 1000

app = App()
channels = Channels(history=100)


@dataclass
class Post:
    text: str


@app.get("/")
async def lobby() -> Response:
    return Response.redirect("/rooms/tea")


@app.get("/rooms/{room}")
async def page(room: str) -> Response:
    return Response.file(PAGE)


@app.websocket("/rooms/{room}/posts")
async def chat(socket: WebSocket, room: str, name: str) -> None:
    """A new socket gets a gap message, which clears the page, and then the kept messages."""
    channel = channels[room]
    name = name.strip()[:MAX_NAME] or "somebody"
    async with channel.forward(socket, last_event_id=""):
        await channel.publish({"name": name, "event": "came"})
        try:
            async for post in socket.iter_json(Post):
                if text := post.text.strip()[:MAX_TEXT]:
                    await channel.publish({"name": name, "text": text})
        finally:
            await channel.publish({"name": name, "event": "left"})


@app.get("/rooms/{room}/people")
async def people(room: str) -> dict[str, int]:
    return {"people": len(channels[room])}


if __name__ == "__main__":
    app.run()
