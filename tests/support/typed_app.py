# pyright: strict
"""Each marker of `microweb.typed`, for type checkers: `tests/test_typed.py` runs them.

They find an error in the lines that end with `# wrong`, and in no other.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, TypedDict, assert_type
from uuid import UUID

from microweb import App, Request, Response, Router, UploadFile, WebSocket
from microweb.errors import NotFound
from microweb.typed import Content, Cookie, Depends, FormData, Header, Json, Meta, Query

app = App()
router = Router("/r", tags=["r"])


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int = 0


@Meta(closed=True)
@dataclass
class Draft:
    item: Annotated[str, Meta(min_length=1, max_length=40, pattern="^[a-z]+$", examples=("tea",))]
    amount: Annotated[int, Meta(ge=1, le=100, multiple_of=2)] = 2
    price: Annotated[Decimal, Meta(gt=Decimal("0.5"))] = Decimal(1)
    due: Annotated[date | None, Meta(ge=date(2026, 1, 1))] = None
    wait: Annotated[timedelta, Meta(lt=timedelta(1))] = timedelta(0)
    tags: list[str] = field(default_factory=list[str])


class Changes(TypedDict, total=False):
    item: str
    price: Decimal | None


@dataclass
class Filters:
    tag: list[str] = field(default_factory=list[str])
    color: Color | None = None
    until: date | None = None
    least: Decimal = Decimal("1.50")
    side: Literal["a", "b"] = "a"
    limit: Annotated[int, Meta(ge=1)] = 20


@dataclass
class Picture:
    title: str
    file: UploadFile
    more: list[UploadFile] = field(default_factory=list[UploadFile])


class Session:
    async def close(self) -> None:
        """End the session."""


async def session() -> AsyncIterator[Session]:
    opened = Session()
    yield opened
    await opened.close()


def tenant(x_tenant: Header[str] = "none") -> Iterator[str]:
    yield x_tenant


Db = Annotated[Session, Depends(session)]


@app.post("/orders", raises=[NotFound], tags=["orders"], deprecated=True)
async def order(
    draft: Json[Draft],
    db: Db,
    tenant: Annotated[str, Depends(tenant)],
    dry: bool = False,
    key: Header[UUID | None] = None,
    ids: Header[list[int]] = [],  # noqa: B006, a copy for each request
    visit: Cookie[int | None] = None,
) -> tuple[Draft, Literal[201]] | tuple[Changes, Literal[409]]:
    assert_type(draft, Draft)
    assert_type(db, Session)
    assert_type(tenant, str)
    assert_type(key, UUID | None)
    assert_type(ids, list[int])
    assert_type(visit, int | None)
    if dry:
        return Changes(item=draft.item), 409
    return draft, 201


@router.patch("/{id}")
async def change(id: int, changes: Json[Changes]) -> Changes | None:
    assert_type(changes, Changes)
    return changes if "price" not in changes else None


@router.get("")
async def find(
    filters: Query[Filters],
    kind: Query[Literal["a", "b"]] = "a",
    since: Query[date | None] = None,
    price: Query[Annotated[Decimal, Meta(ge=1)]] = Decimal(1),
    colors: Query[list[Color]] = [],  # noqa: B006
) -> list[Draft]:
    assert_type(filters, Filters)
    assert_type(kind, Literal["a", "b"])
    assert_type(since, date | None)
    assert_type(price, Decimal)
    assert_type(colors, list[Color])
    return []


@router.post("/pictures")
async def picture(form: FormData[Picture]) -> int:
    assert_type(form, Picture)
    assert_type(form.more, list[UploadFile])
    return form.file.size


@router.get("/point")
async def point() -> Point:
    return Point(1)


@router.get("/events")
async def events(request: Request) -> Annotated[Response, Content("text/event-stream", Draft)]:
    assert_type(await request.json(Draft), Draft)
    assert_type(await request.json(list[int]), list[int])
    assert_type(await request.json(dict[str, list[Draft]]), dict[str, list[Draft]])
    assert_type(await request.json(Changes), Changes)
    return Response.json({})


@app.websocket("/ws")
async def chat(socket: WebSocket, db: Db, room: Query[str] = "all") -> None:
    assert_type(await socket.receive_json(Draft), Draft)
    assert_type(await socket.receive_json(list[Draft]), list[Draft])
    async for each in socket.iter_json(Draft):
        assert_type(each, Draft)


async def direct_calls() -> None:
    found = await find(Filters())
    assert_type(found, list[Draft])
    created = await order(Draft("tea"), Session(), "t")
    if created[1] == 201:
        assert_type(created[0], Draft)
    await order(Changes(), Session(), "t")  # wrong
    await find(Filters(), kind="c")  # wrong
    await find(Filters(), since="2026-01-01")  # wrong
    await change("1", {})  # wrong
    await picture(Draft("tea"))  # wrong
    await order(Draft("tea"), Session(), "t", visit="x")  # wrong
    Meta(ge="1")  # wrong
    app.override({session: Session})


@router.get("/wrong")
async def wrong() -> tuple[Draft, Literal[201]]:
    return Draft("tea"), 200  # wrong


app.include(router)
app.openapi("Orders", "1.0", tags={"orders": "Orders"})
