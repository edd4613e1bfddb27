"""The site of `python -m benchmarks` on microweb."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from site_data import EVENTS, FOLDER, ITEMS, KEY, ORIGIN, PAGE, PIECE, PIECES

from microweb import App, Request, Response
from microweb.middleware.compression import Compression
from microweb.middleware.cors import CORS
from microweb.middleware.request_id import RequestID
from microweb.middleware.security import SecurityHeaders
from microweb.middleware.sessions import Sessions
from microweb.templating import Templates


@dataclass
class Item:
    id: int
    name: str
    price: float
    tags: list[str]


app = App()
app.static("/static", FOLDER)
pages = TemporaryDirectory()
Path(pages.name, "page.html").write_text(PAGE)
app.templates = Templates(pages.name)


@app.get("/")
async def index() -> str:
    return "Hello, World!"


@app.get("/user/{id:int}")
async def user(id: int) -> str:
    return f"user {id}"


@app.get("/json")
async def json() -> dict[str, str]:
    return {"message": "Hello, World!"}


@app.post("/echo")
async def echo(request: Request) -> object:
    return await request.json()


@app.post("/typed")
async def typed(request: Request) -> Item:
    return await request.json(Item)


@app.get("/sse100")
async def sse100() -> Response:
    async def events() -> AsyncIterator[dict[str, int]]:
        for number in range(EVENTS):
            yield {"n": number}

    return Response.events(events())


@app.post("/multipart")
async def multipart(request: Request) -> str:
    form = await request.form()
    return f"{form['name']}: {len(form.files)}"


@app.get("/page")
async def page() -> Response:
    return app.templates.render("page.html", title="Items & more", items=ITEMS)


@app.get("/stream")
async def stream() -> AsyncIterator[bytes]:
    for _ in range(PIECES):
        yield PIECE


sessions = App()
sessions.use(Sessions(KEY))


@sessions.get("/login")
async def login(request: Request, user: str) -> str:
    request.session["user"] = user
    return "ok"


@sessions.get("/read")
async def read(request: Request) -> str:
    return str(request.session["user"])


@sessions.get("/write")
async def write(request: Request) -> str:
    request.session["n"] = request.session.get("n", 0) + 1
    return str(request.session["user"])


app.mount("/session", sessions)

real = App()
real.use(RequestID())
real.use(SecurityHeaders())
real.use(CORS(ORIGIN, credentials=True))
real.use(Compression(codings=["gzip"]))
real.use(Sessions(KEY))


@real.get("/login")
async def log_in(request: Request, user: str) -> str:
    request.session["user"] = user
    return "ok"


@real.get("/items/{shop:int}")
async def items(request: Request, shop: int, page: int = 1) -> dict[str, object]:
    return {"user": request.session["user"], "shop": shop, "page": page, "items": ITEMS}


@real.post("/items")
async def create(request: Request) -> tuple[dict[str, object], int]:
    item = await request.json(Item)
    return {"user": request.session["user"], "item": item}, 201


app.mount("/real", real)
