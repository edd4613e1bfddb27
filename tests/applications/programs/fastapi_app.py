"""What FastAPI's tutorial shows, in one application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
    status,
)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, StreamingResponse
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pydantic import BaseModel, Field

notified: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, list[str]]]:
    print("startup", flush=True)
    yield {"models": ["resnet"]}
    print("shutdown", flush=True)


app = FastAPI(lifespan=lifespan, title="The tutorial")
app.add_middleware(CORSMiddleware, allow_origins=["https://shop.test"], allow_methods=["*"])


@app.middleware("http")
async def add_process_time(request: Request, call_next):
    response = await call_next(request)
    response.headers["X-Process-Time"] = "0.1"
    return response


class Item(BaseModel):
    name: str = Field(max_length=20)
    price: float = Field(gt=0)
    tax: float | None = None
    tags: set[str] = set()


class Filter(BaseModel):
    limit: int = Field(100, gt=0, le=100)
    order: str = "created"


class UnicornException(Exception):
    pass


@app.exception_handler(UnicornException)
async def on_unicorn(request: Request, error: UnicornException) -> JSONResponse:
    return JSONResponse({"message": "oops"}, status_code=418)


@app.get("/")
async def root(request: Request) -> dict[str, object]:
    return {"message": "Hello World", "models": request.state.models}


@app.get("/items/{item_id}")
async def read_item(item_id: int, q: Annotated[str | None, Query(max_length=5)] = None):
    if item_id == 404:
        raise HTTPException(404, "Item not found", headers={"X-Error": "There goes my error"})
    return {"item_id": item_id, "q": q}


@app.get("/files/{file_path:path}")
async def read_path(file_path: str):
    return {"file_path": file_path}


@app.get("/filtered")
async def filtered(filters: Annotated[Filter, Query()]):
    return filters


@app.post("/items/", status_code=status.HTTP_201_CREATED)
async def create_item(item: Item) -> Item:
    return item


@app.get("/fields")
async def fields(
    user_agent: Annotated[str | None, Header()] = None, ads: Annotated[str | None, Cookie()] = None
):
    return {"User-Agent": user_agent, "ads": ads}


oauth2 = OAuth2PasswordBearer(tokenUrl="token")


async def connection() -> AsyncIterator[str]:
    yield "connection"
    notified.append("closed")


def current_user(
    token: Annotated[str, Depends(oauth2)], opened: Annotated[str, Depends(connection)]
):
    if token != "sesame":
        raise HTTPException(401, "Invalid", headers={"WWW-Authenticate": "Bearer"})
    return {"name": "ann", "by": opened}


@app.post("/token")
async def login(form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    return {"access_token": "sesame", "token_type": "bearer", "for": form.username}


@app.get("/users/me")
def me(user: Annotated[dict[str, str], Depends(current_user)]):
    return user


@app.post("/upload")
async def upload(file: UploadFile, small: Annotated[bytes, File()], token: Annotated[str, Form()]):
    return {
        "size": len(await file.read()),
        "name": file.filename,
        "small": len(small),
        "token": token,
    }


@app.post("/notify/{email}")
async def notify(email: str, tasks: BackgroundTasks):
    tasks.add_task(notified.append, email)
    return {"message": "sent in the background"}


@app.get("/notified")
async def get_notified():
    return notified


@app.get("/unicorn")
async def unicorn():
    raise UnicornException


@app.get("/typer")
async def typer():
    return RedirectResponse("/items/1")


@app.get("/stream")
async def stream():
    async def parts() -> AsyncIterator[bytes]:
        for number in range(10):
            yield b"part %d\n" % number

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/source")
async def source():
    return FileResponse(Path(__file__))


@app.websocket("/items/{item_id}/ws")
async def socket(websocket: WebSocket, item_id: str, token: str | None = None):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(f"{item_id} {token} {await websocket.receive_text()}")
    except WebSocketDisconnect:
        notified.append(f"{item_id} left")


@app.websocket("/broken/ws")
async def broken(websocket: WebSocket):
    raise HTTPException(403)
