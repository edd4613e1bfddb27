"""An application of Litestar."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from litestar import (
    Litestar,
    MediaType,
    Request,
    WebSocket,
    get,
    post,
    websocket,
    websocket_listener,
)
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency, Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException
from litestar.params import Body
from litestar.response import File, Redirect, ServerSentEvent, Stream
from litestar.static_files import create_static_files_router


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
    app.state.pool = "open"
    yield
    print("closed", flush=True)


@dataclass
class Item:
    name: str
    price: float


async def page_size(limit: int = 10) -> int:
    return limit


@get("/")
async def index(state: State) -> dict[str, str]:
    return {"pool": state.pool}


@get("/items/{number:int}", dependencies={"page_size": Provide(page_size)})
async def item(number: int, page_size: NamedDependency[int]) -> dict[str, int]:
    return {"number": number, "limit": page_size}


@post("/items")
async def make(data: Item) -> Item:
    return data


@post("/upload")
async def upload(
    data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, int]:
    return {data.filename: len(await data.read())}


@get("/stream", media_type=MediaType.TEXT)
async def stream() -> Stream:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}\n"

    return Stream(parts())


@get("/events")
async def events() -> ServerSentEvent:
    async def made() -> AsyncGenerator[str, None]:
        for number in range(3):
            yield str(number)

    return ServerSentEvent(made())


@get("/file")
async def file() -> File:
    return File(path=Path(__file__), filename="a.py")


@get("/old")
async def old() -> Redirect:
    return Redirect("/items/1")


@get("/secret")
async def secret(request: Request) -> None:
    raise NotAuthorizedException("no")


@websocket_listener("/echo")
async def echo(data: dict[str, int]) -> dict[str, int]:
    return {name: value + 1 for name, value in data.items()}


@websocket("/raw")
async def raw(socket: WebSocket) -> None:
    await socket.accept(headers={"X-Raw": "yes"})
    async for data in socket.iter_data("binary"):
        await socket.send_bytes(data)


app = Litestar(
    [
        *(index, item, make, upload, stream, events, file, old, secret, echo, raw),
        create_static_files_router("/static", [Path(__file__).parent / "static"]),
    ],
    lifespan=[lifespan],
)
