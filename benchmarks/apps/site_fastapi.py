"""The routes of JSON of `python -m benchmarks` on FastAPI."""

from typing import Annotated, Any

from fastapi import Body, FastAPI
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    id: int
    name: str
    price: float
    tags: list[str]


@app.get("/", response_class=PlainTextResponse)
async def index():
    return "Hello, World!"


@app.get("/user/{id}", response_class=PlainTextResponse)
async def user(id: int):
    return f"user {id}"


@app.get("/json")
async def json():
    return {"message": "Hello, World!"}


@app.post("/echo")
async def echo(value: Annotated[Any, Body()]):
    return value


@app.post("/typed")
async def typed(item: Item) -> Item:
    return item
