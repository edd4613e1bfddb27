"""The site of `python -m benchmarks` on Starlette, in which pydantic is not needed."""

import json
from uuid import uuid4

from jinja2 import Environment
from site_data import EVENTS, FOLDER, ITEMS, KEY, ORIGIN, PAGE, PIECE, PIECES
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

template = Environment(autoescape=True).from_string(PAGE)


class Fields:
    """A middleware that sets the fields of `SecurityHeaders` and of `RequestID`."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def with_fields(message):
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (b"x-request-id", uuid4().hex.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"x-frame-options", b"DENY"),
                    (b"referrer-policy", b"strict-origin-when-cross-origin"),
                ]
            await send(message)

        await self.app(scope, receive, with_fields)


async def index(request):
    return PlainTextResponse("Hello, World!")


async def user(request):
    return PlainTextResponse(f"user {request.path_params['id']}")


async def answer_json(request):
    return JSONResponse({"message": "Hello, World!"})


async def echo(request):
    return JSONResponse(await request.json())


async def sse100(request):
    async def events():
        for number in range(EVENTS):
            yield f"data: {json.dumps({'n': number})}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def multipart(request):
    async with request.form() as form:
        files = [value for value in form.values() if not isinstance(value, str)]
        return PlainTextResponse(f"{form['name']}: {len(files)}")


async def page(request):
    return HTMLResponse(template.render(title="Items & more", items=ITEMS))


async def stream(request):
    async def pieces():
        for _ in range(PIECES):
            yield PIECE

    return StreamingResponse(pieces())


async def login(request):
    request.session["user"] = request.query_params["user"]
    return PlainTextResponse("ok")


async def read(request):
    return PlainTextResponse(request.session["user"])


async def write(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return PlainTextResponse(request.session["user"])


async def items(request):
    number = int(request.query_params.get("page", 1))
    shop = request.path_params["shop"]
    user = request.session["user"]
    return JSONResponse({"user": user, "shop": shop, "page": number, "items": ITEMS})


async def create(request):
    return JSONResponse({"user": request.session["user"], "item": await request.json()}, 201)


sessions = Middleware(SessionMiddleware, secret_key=KEY)
with_session = Starlette(
    routes=[Route("/login", login), Route("/read", read), Route("/write", write)],
    middleware=[sessions],
)
real = Starlette(
    routes=[
        Route("/login", login),
        Route("/items/{shop:int}", items),
        Route("/items", create, methods=["POST"]),
    ],
    middleware=[
        Middleware(Fields),
        Middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_credentials=True),
        Middleware(GZipMiddleware, minimum_size=1024),
        sessions,
    ],
)
app = Starlette(
    routes=[
        Route("/", index),
        Route("/user/{id:int}", user),
        Route("/json", answer_json),
        Route("/echo", echo, methods=["POST"]),
        Route("/sse100", sse100),
        Route("/multipart", multipart, methods=["POST"]),
        Route("/page", page),
        Route("/stream", stream),
        Mount("/static", StaticFiles(directory=FOLDER)),
        Mount("/session", with_session),
        Mount("/real", real),
    ]
)
