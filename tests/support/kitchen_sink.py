"""An app with each type, source and status that a document can have. It only echoes.

`tests/openapi/test_kitchen_sink.py` counts them. Programs that read documents are tried with it:
$ python tests/support/kitchen_sink.py 8000
"""

from __future__ import annotations

import enum
import sys
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
from annotated_types import Ge

from microweb import App, Request, Response, Router, UploadFile
from microweb.errors import Conflict, NotFound
from microweb.middleware.authentication import BasicAuth, BearerAuth
from microweb.middleware.csrf import CSRFProtection
from microweb.middleware.hosts import AllowedHosts
from microweb.middleware.rate_limit import RateLimit
from microweb.middleware.timeout import Timeout
from microweb.sse import ServerEvent
from microweb.typed import Content, Cookie, Depends, FormData, Header, Json, Meta, Query

T = TypeVar("T")

app = App()


# --- types ----------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int = 0


class Changes(TypedDict, total=False):
    title: Annotated[str, Meta(min_length=1)]
    price: Decimal | None


@dataclass
class Scalars:
    text: Annotated[str, Meta(min_length=1, max_length=40, pattern="^[a-z]+$", examples=("tea",))]
    count: Annotated[int, Meta(ge=1, le=1000, multiple_of=2)]
    ratio: Annotated[float, Meta(gt=0, lt=1)]
    flag: bool
    nothing: None
    code: UUID
    price: Decimal
    at: datetime
    day: date
    hour: time
    span: timedelta
    data: bytes
    positive: Annotated[int, Ge(1)]
    large: int = 0


@dataclass
class Choices:
    kind: Literal["a", "b", 1]
    color: Color
    level: Level = Level.LOW
    maybe: str | None = None
    either: int | str = 0


@dataclass
class Containers:
    names: Annotated[list[str], Meta(max_length=5)]
    numbers: set[int]
    fixed: frozenset[str]
    pair: tuple[int, str]
    many: tuple[int, ...]
    sequence: Sequence[bool]
    mapping: Mapping[str, int]
    nested: dict[str, list[Point]]
    queue: deque[int]
    ordered: OrderedDict[str, int]
    access: Access
    anything: object = None
    plain: dict = field(default_factory=dict)  # type: ignore[type-arg]


@dataclass
class Tree:
    name: Annotated[str, Meta(name="Name", description="In one line", deprecated=True)]
    children: list[Tree] = field(default_factory=list)
    size: int = field(default=0, init=False)


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: str | None = None


@dataclass
class Circle:
    shape: Literal["circle"]
    radius: float


@dataclass
class Square:
    shape: Literal["square"]
    side: float


@Meta(closed=True, description="Only a name")
@dataclass
class Closed:
    name: str


@attrs.define
class Item:
    name: str
    amount: int = 1


class Struct(msgspec.Struct):
    name: str
    tags: list[str] = []


class Model(pydantic.BaseModel):
    name: str
    amount: Annotated[int, pydantic.Field(ge=1)] = 1


# --- JSON in and out: each type is echoed -----------------------------------------------

types = Router("/types", tags=["types"])


@types.post("/scalars")
async def scalars(value: Json[Scalars]) -> tuple[Scalars, Literal[201]]:
    """Echo scalars."""
    return value, 201


@types.post("/choices")
async def choices(value: Json[Choices]) -> Choices:
    """Echo choices."""
    return value


@types.post("/containers")
async def containers(value: Json[Containers]) -> Containers:
    """Echo containers."""
    return value


@types.post("/tree")
async def tree(value: Json[Tree]) -> Tree:
    """Echo a tree."""
    return value


@types.post("/page")
async def page(value: Json[Page[Item]]) -> Page[Item]:
    """Echo a page of attrs objects."""
    return value


@types.post("/shapes")
async def shapes(value: Json[list[Circle | Square]]) -> list[Circle | Square]:
    """Echo a union of dataclasses."""
    return value


@types.post("/closed")
async def closed(value: Json[Closed]) -> Closed:
    """Echo a class without other keys."""
    return value


@types.patch("/changes")
async def change(changes: Json[Changes]) -> Changes:
    """Echo the keys that were sent."""
    return changes


@types.post("/struct")
async def struct(value: Json[Struct]) -> Struct:
    """Echo a class of msgspec."""
    return value


@types.post("/model")
async def model(value: Json[Model]) -> Model:
    """Echo a class of pydantic."""
    return value


@types.post("/optional")
async def optional(value: Json[Item | None] = None) -> Item | None:
    """Echo an optional body."""
    return value


# --- sources ----------------------------------------------------------------------------

sources = Router("/sources", tags=["sources"])


@dataclass
class Filters:
    tag: list[str] = field(default_factory=list)
    color: Color | None = None
    since: date | None = None
    price: Decimal = Decimal("1.50")
    limit: Annotated[int, Meta(ge=1, le=100, description="How many")] = 20


@dataclass
class Login:
    name: Annotated[str, Meta(min_length=1)]
    age: int | None = None
    remember: bool = False


@dataclass
class Upload:
    title: str
    file: UploadFile
    more: list[UploadFile] = field(default_factory=list)


def tenant(x_tenant: Header[Annotated[str, Meta(max_length=20)]] = "none") -> Iterator[str]:
    yield x_tenant


@sources.get("/path/{number:int}/{name}/{key:uuid}")
async def path(number: int, name: str, key: UUID) -> dict[str, str]:
    """Echo values of the path."""
    return {"number": str(number), "name": name, "key": str(key)}


@sources.get("/query")
async def query(filters: Query[Filters], kind: Literal["a", "b"] = "a") -> Filters:
    """Echo values of the query."""
    return filters


@sources.get("/fields")
async def fields(
    tenant: Annotated[str, Depends(tenant)],
    visit: Cookie[int | None] = None,
    dry: bool = False,
    x_ids: Header[list[int]] = [],  # noqa: B006, a copy for each request
) -> dict[str, str]:
    """Echo a field, a cookie, and the field of a dependency."""
    return {"tenant": tenant, "visit": str(visit), "ids": str(x_ids)}


@sources.post("/form")
async def form(login: FormData[Login]) -> Login:
    """Echo a form."""
    return login


@sources.post("/upload")
async def upload(upload: FormData[Upload]) -> dict[str, int]:
    """Return the sizes of files."""
    return {"size": upload.file.size, "more": len(upload.more)}


# --- answers ----------------------------------------------------------------------------

answers = Router("/answers", tags=["answers"])


@dataclass
class Busy:
    until: datetime


@answers.put("/items/{id:int}", raises=[NotFound, Conflict])
async def put(
    id: int, item: Json[Item]
) -> tuple[Item, Literal[200, 201], dict[str, str]] | tuple[Busy, Literal[202]]:
    """Answer with one of several statuses."""
    if id == 0:
        raise NotFound("there is no item 0")
    if id == 1:
        raise Conflict("the item is locked")
    return item, 201, {"Location": f"/answers/items/{id}"}


@answers.delete("/items/{id:int}", deprecated=True)
async def delete(id: int) -> None:
    """Answer with no content."""


@answers.get("/null")
async def null() -> tuple[Item | None, Literal[200]]:
    """Answer with null."""
    return None, 200


@answers.get("/point")
async def point() -> Point:
    """Answer with a NamedTuple, which is an array."""
    return Point(1, 2)


@answers.get("/count")
async def count() -> Annotated[int, Meta(ge=0)]:
    """Answer with a number."""
    return 3


@answers.post("/price")
async def price(price: Json[Decimal]) -> tuple[Decimal, Literal[201]]:
    """Answer with a scalar and a status."""
    return price, 201


@answers.get("/color")
async def color(day: date | None = None) -> Color | date:
    """Answer with an Enum, or with a date."""
    return day or Color.RED


@answers.get("/word")
async def word(number: bool = False) -> Literal["one", 1]:
    """Answer with a text, or with a number."""
    return 1 if number else "one"


@answers.get("/anything")
async def anything() -> object:
    """Answer with anything."""
    return {"any": "thing"}


@answers.get("/text")
async def text() -> str:
    """Answer with a text."""
    return "text"


@answers.get("/bytes")
async def octets() -> bytes:
    """Answer with bytes."""
    return b"\x00\xff"


@answers.get("/picture")
async def picture() -> Annotated[Response, Content("image/png")]:
    """Answer with a file."""
    return Response(b"\x89PNG\r\n\x1a\n", content_type="image/png")


@answers.get("/stream")
async def stream() -> AsyncIterator[str]:
    """Answer with a stream."""
    for each in ("one\n", "two\n"):
        yield each


@answers.get("/pieces")
def pieces() -> Iterator[bytes]:
    """Answer with a stream of bytes."""
    yield b"\x00"
    yield b"\xff"


@answers.get("/events")
async def events(request: Request) -> Annotated[Response, Content("text/event-stream", Item)]:
    """Answer with events."""

    async def ticks() -> AsyncIterator[ServerEvent]:
        yield ServerEvent({"name": "tea", "amount": 2})

    return Response.events(ticks())


# --- middleware ---------------------------------------------------------------------------

bearer = Router("/bearer", tags=["guarded"], use=[BearerAuth({"sesame": "ada"})])
basic = Router("/basic", tags=["guarded"], use=[BasicAuth({"ada": "secret"})])
limited = Router(
    "/limited",
    tags=["guarded"],
    use=[
        AllowedHosts(["127.0.0.1", "testserver"]),
        CSRFProtection(),
        RateLimit(10**6, 1),
        Timeout(9),
    ],
)


@bearer.get("")
@basic.get("")
@limited.get("")
async def guarded() -> str:
    """Answer behind middleware."""
    return "in"


@app.get("/hidden", documented=False)
async def hidden() -> str:
    return "hidden"


for router in (types, sources, answers, bearer, basic, limited):
    app.include(router)
app.openapi("Kitchen sink", "1.0", description="Everything.", tags={"types": "Each type"})

if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))
