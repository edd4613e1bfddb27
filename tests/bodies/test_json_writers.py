"""A response has the members that the endpoint's annotation declares, and no others."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import wraps
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    TypedDict,
    TypeVar,
)

import attrs
import pytest

from microweb import App, HTTPError, Request, Response, html
from microweb.bodies.json import encode_json
from microweb.bodies.json_writers import writer_for
from microweb.endpoints.handler import Handler
from microweb.typed import Meta

if TYPE_CHECKING:
    from test_typing_only import Hidden  # type: ignore[import-not-found]

T = TypeVar("T")

SECRET = "s3cret"


@dataclass
class User:
    name: str


@dataclass
class Account(User):
    password_hash: str = SECRET


class Admin(Account):
    """A subclass of a dataclass that is not decorated itself."""


@dataclass
class Dog:
    barks: bool = True


@dataclass
class Puppy(Dog):
    age: int = 1
    chip: str = SECRET


@dataclass
class Whelp(Puppy):
    born: str = SECRET


class Seat(NamedTuple):
    number: int
    user: User
    beside: tuple[Seat, ...] = ()


Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Team:
    lead: User
    members: list[User] = field(default_factory=list)
    by_role: dict[str, User] = field(default_factory=dict)
    pair: tuple[User, int] | None = None
    anything: Any = None


@dataclass
class Node:
    user: User
    children: list[Node] = field(default_factory=list)


class Row(TypedDict):
    name: str


class FullRow(Row):
    mail: str


class Tree(TypedDict, total=False):
    row: Row
    below: list[Tree]


class Cat(TypedDict):
    kind: Literal["cat"]
    lives: int


class Bird(TypedDict):
    kind: Literal["bird"]
    wings: int


@dataclass
class Page(Generic[T]):
    items: list[T]


@dataclass
class UserPage(Page[User]):
    total: int = 1


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Filled(Enum):
    USER = {"password": SECRET}  # noqa: RUF012


class Opaque:
    """A class that only `json_default` can convert."""

    def __init__(self) -> None:
        self.password = SECRET


@dataclass
class Painted:
    colour: Colour
    at: datetime
    user: User


Name = NewType("Name", str)
UserAlias = Annotated[User, "anything"]

ADA: dict[str, object] = {"name": "ada"}
FULL = {"name": "ada", "password_hash": SECRET}
ROW = {"name": "ada", "secret": SECRET}


def ada() -> Account:
    return Account("ada")


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (User, User("ada"), ADA),
        (User, ada(), ADA),
        (User, Admin("ada"), ADA),
        (Account, Admin("ada"), FULL),
        (UserAlias, ada(), ADA),
        (list[User], [ada(), User("bob")], [ADA, {"name": "bob"}]),
        (Sequence[User], [ada()], [ADA]),
        (dict[str, User], {"a": ada()}, {"a": ADA}),
        (Mapping[str, list[User]], {"a": [ada()]}, {"a": [ADA]}),
        (list[tuple[User, int]], [(ada(), 1)], [[ADA, 1]]),
        (list[tuple[User, ...]], [(ada(), ada())], [[ADA, ADA]]),
        (User | None, ada(), ADA),
        (None | list[User | None], [ada(), None], [ADA, None]),
        (Team, Team(ada()), {"lead": ADA, "members": [], "by_role": {}, "pair": None}),
        (
            Team,
            Team(ada(), [ada()], {"x": ada()}, (ada(), 2)),
            {"lead": ADA, "members": [ADA], "by_role": {"x": ADA}, "pair": [ADA, 2]},
        ),
        (
            Node,
            Node(ada(), [Node(ada())]),
            {"user": ADA, "children": [{"user": ADA, "children": []}]},
        ),
        (Row, ROW, ADA),
        (list[Row], [ROW], [ADA]),
        (FullRow, {**ROW, "mail": "m"}, {"name": "ada", "mail": "m"}),
        (Row | FullRow, {**ROW, "mail": "m"}, {"name": "ada", "mail": "m"}),
        (Row | FullRow, ROW, ADA),
        (Cat | Bird, {"kind": "bird", "wings": 2, "x": SECRET}, {"kind": "bird", "wings": 2}),
        (Cat | Bird, {"kind": "cat", "lives": 9, "x": SECRET}, {"kind": "cat", "lives": 9}),
        (
            Tree,
            {"row": ROW, "below": [{"row": ROW}], "x": 1},
            {"row": ADA, "below": [{"row": ADA}]},
        ),
        (User | Dog, ada(), ADA),
        (Dog | Puppy, Whelp(), {"barks": True, "age": 1, "chip": SECRET}),
        (Puppy | Dog, Dog(), {"barks": True}),
        (User | str, ada(), ADA),
        (User | dict[str, User], {"a": ada()}, {"a": ADA}),
        (list[User] | list[str], [ada()], [ADA]),
        (list[User] | list[str], ["a"], ["a"]),
        (list[str] | list[Dog], [Puppy()], [{"barks": True}]),
        (User | object, ada(), ADA),
        (Page[User], Page([ada()]), {"items": [ADA]}),
        (Page[Page[User]], Page([Page([ada()])]), {"items": [{"items": [ADA]}]}),
        (UserPage, UserPage([ada()]), {"items": [ADA], "total": 1}),
        (tuple[User, int], ada(), ADA),  # a value and a status
        (tuple[list[User], int, dict[str, str]] | User, [ada()], [ADA]),
        (Awaitable[User], ada(), ADA),
        (Response | User, ada(), ADA),
        (list[Seat], [Seat(1, ada(), (Seat(2, ada()),))], [[1, ADA, [[2, ADA, []]]]]),
        (dict[str, Seat | None], {"a": Seat(1, ada()), "b": None}, {"a": [1, ADA, []], "b": None}),
        (list[Seat | User], [ada(), Seat(1, ada())], [ADA, [1, ADA, []]]),
        (list[Seat] | list[User], [Seat(1, ada())], [[1, ADA, []]]),
        (list[Pair], [Pair(1, "b")], [[1, "b"]]),
    ],
)
def test_declared_members_are_written_and_no_others(
    kind: object, value: object, sent: object
) -> None:
    write = writer_for(kind)
    assert write is not None
    written = write(value)
    if isinstance(written, dict):
        written.pop("anything", None)
    assert written == sent


@pytest.mark.parametrize(
    "kind", [object, Any, tuple, tuple[Any, ...], Awaitable, int | Any, tuple[object, int]]
)
def test_type_that_declares_nothing_has_no_writer(kind: object) -> None:
    assert writer_for(kind) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dict, {"a": User("ada")}),
        (list, [User("ada")]),
        (dict[str, object], {"a": User("ada")}),
        (list[Any], [User("ada")]),
        (dict[str, Any] | None, {"a": User("ada")}),
        (list[int], [1, 2, True, None]),
        (list[float], [1, Decimal(2)]),
        (list[str], ["a", Colour.RED]),
        (list[Colour], [Colour.RED, Colour.BLUE]),
        (dict[str, int], {"a": 1}),
        (dict[str, list[str]], {"a": ["b"]}),
        (list[int | str], [1, "a"]),
        (list[dict[str, Any]], [{"a": User("ada")}]),
        (list[list[int]], [[1], [2, 3]]),
        (list[tuple[int, str]], [(1, "a")]),
        (tuple[dict[str, object], int], {"a": 1}),
        (Mapping[str, int], {"a": 1}),
        (Iterable[int], [1]),
    ],
)
def test_value_as_declared_is_sent_as_it_is(kind: object, value: object) -> None:
    write = writer_for(kind)
    assert write is not None
    assert write(value) == value


def test_members_that_are_no_dataclass_are_as_they_were() -> None:
    now = datetime(2026, 1, 1)
    write = writer_for(Painted)
    assert write is not None
    assert write(Painted(Colour.RED, now, ada())) == {"colour": Colour.RED, "at": now, "user": ADA}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (User, Dog()),
        (User, [ada()]),
        (User | None, Dog()),
        (User | Dog, [1]),
        (Row, ada()),
        (list[User], {"a": ada()}),
        (list[Seat], [(1, ada(), ())]),
        (dict[str, User], [ada()]),
        (Team, Team(lead=Dog())),  # type: ignore[arg-type]
        (Painted, Painted(ada(), datetime(2026, 1, 1), ada())),  # type: ignore[arg-type]
        (str, User("ada")),
        (int, User("ada")),
        (int, [1]),
        (bytes, {"a": 1}),
        (None, {"a": 1}),
        (Name, User("ada")),
        (Colour, User("ada")),
        (Response, {"a": 1}),
        (Response | str, {"a": 1}),
        (AsyncIterator[str], [1]),
        (int | str, User("ada")),
        (str | None, [1]),
        (dict, [1]),
        (dict, User("ada")),
        (list, {"a": 1}),
        (list[int], {"a": 1}),
        (list[int], [1, User("ada")]),
        (list[int], [1, {"a": 1}]),
        (list[int | str], [User("ada")]),
        (list[str], [Filled.USER]),
        (list[list[int]], [[User("ada")]]),
        (list[User], [Dog()]),
        (list[User | None], [User("ada"), Dog()]),
        (dict[str, int], {"a": User("ada")}),
        (dict[str, str] | list[str], {"a": User("ada")}),
        (tuple[str, int], User("ada")),
        (list[tuple[int, int]], [(1, User("ada"))]),
        (Literal["a"], User("ada")),
        (list[str], [Opaque()]),
    ],
)
def test_value_that_is_not_declared_is_refused(kind: object, value: object) -> None:
    write = writer_for(kind)
    assert write is not None
    with pytest.raises(TypeError, match=r"expected .* as annotated, got .*: return a value of"):
        write(value)


def test_value_that_holds_itself_is_refused() -> None:
    node = Node(ada())
    node.children.append(node)
    write = writer_for(Node)
    assert write is not None
    with pytest.raises(ValueError, match="circular"):
        write(node)


# --- endpoints


async def text_of(app: App, path: str = "/") -> str:
    async with app.test_client() as client:
        answer = await client.get(path)
        assert SECRET not in str(answer.headers)
        return str(answer.text)


async def test_endpoint_that_returns_a_subclass_sends_the_declared_fields() -> None:
    app = App()

    @app.get("/")
    async def me() -> User:
        return ada()

    @app.get("/status")
    async def status() -> tuple[User, int]:
        return ada(), 201

    @app.get("/bare")
    async def bare() -> User:
        return ada(), 201  # type: ignore[return-value]

    @app.get("/plain")
    def plain() -> list[User]:
        return [ada()]

    assert json.loads(await text_of(app)) == ADA
    for path in ("/status", "/bare"):
        assert json.loads(await text_of(app, path)) == ADA
    assert json.loads(await text_of(app, "/plain")) == [ADA]


@pytest.mark.parametrize("kind", ["Any", "object", "none"])
async def test_without_a_declaration_the_class_of_the_value_decides(kind: str) -> None:
    app = App()

    async def any_() -> Any:
        return ada()

    async def object_() -> object:
        return ada()

    async def none():  # type: ignore[no-untyped-def]
        return ada()

    app.get("/")({"Any": any_, "object": object_, "none": none}[kind])
    assert json.loads(await text_of(app)) == FULL


async def test_middleware_hooks_and_error_handlers_are_held_to_theirs() -> None:
    app = App()

    @app.errorhandler(HTTPError)
    async def explain(error: HTTPError) -> User:
        return ada()

    @app.before_request
    async def early(request: Request) -> User | None:
        return ada() if request.path == "/early" else None

    @app.middleware
    async def other(request: Request, call_next: Handler) -> Response | User:
        return ada() if request.path == "/other" else await call_next(request)

    for path in ("/missing", "/early", "/other"):
        assert json.loads(await text_of(app, path)) == ADA


async def test_decorated_endpoint_is_held_to_the_annotation() -> None:
    def logged(function: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        @wraps(function)
        async def call(*args: object, **kwargs: object) -> object:
            return await function(*args, **kwargs)

        return call

    app = App()

    @app.get("/")
    @logged
    async def me() -> User:
        return ada()

    assert json.loads(await text_of(app)) == ADA


async def test_wrong_value_is_a_fault_that_names_endpoint_and_remedy() -> None:
    app = App()

    @app.get("/")
    async def me() -> User:
        return {"age": 3}  # type: ignore[return-value]

    async with app.test_client() as client:
        with pytest.raises(TypeError, match=r"me at test_json_writers.py:\d+: expected User, or"):
            await client.get("/")


@pytest.mark.parametrize("kind", [str, int, None, list[int], dict[str, int], User | None, Response])
@pytest.mark.parametrize("value", [Dog(), [Dog()], {"a": Dog()}, Opaque(), (Dog(), 201)])
async def test_wrong_kind_is_never_sent(kind: object, value: object) -> None:
    app = App()
    app.json_default = vars

    async def endpoint() -> object:
        return value

    endpoint.__annotations__["return"] = kind
    app.get("/")(endpoint)
    async with app.test_client() as client:
        with pytest.raises(TypeError, match=r"expected .* as annotated, got .*: return a value of"):
            await client.get("/")
    async with app.test_client(raise_errors=False) as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert SECRET not in answer.text


async def test_object_of_its_annotation_is_left_to_json_default() -> None:
    app = App()
    app.json_default = lambda value: type(value).__name__

    @app.get("/")
    async def one() -> Opaque:
        return Opaque()

    @app.get("/all")
    async def all_() -> list[Opaque]:
        return [Opaque()]

    assert json.loads(await text_of(app)) == "Opaque"
    assert json.loads(await text_of(app, "/all")) == ["Opaque"]


async def test_app_writes_what_the_declared_members_hold() -> None:
    @dataclass
    class Complex:
        number: complex
        user: User

    app = App()
    app.json_default = str

    @app.get("/")
    async def number() -> Complex:
        return Complex(1j, ada())

    assert json.loads(await text_of(app)) == {"number": "1j", "user": ADA}


async def test_page_stays_a_page() -> None:
    @dataclass
    class Card:
        title: str

        def __html__(self) -> str:
            return html("<b>{}</b>", self.title)

    app = App()

    @app.get("/")
    async def card() -> Card:
        return Card("a")

    assert await text_of(app) == "<b>a</b>"


# --- annotations that are not known at runtime


async def test_local_class_is_found_by_its_use_or_by_its_name() -> None:
    @dataclass
    class Local:
        name: str

    @dataclass
    class Sub(Local):
        secret: str = SECRET

    app = App()

    @app.get("/used")
    async def used() -> list[Local]:
        assert Local
        return [Sub("ada")]

    @app.get("/named")
    async def named() -> Local:
        return Sub("ada")

    assert json.loads(await text_of(app, "/used")) == [ADA]
    assert json.loads(await text_of(app, "/named")) == ADA


async def test_nothing_is_sent_by_an_annotation_that_cannot_be_resolved() -> None:
    app = App()

    @app.get("/value")
    async def value() -> Hidden:
        return ada()

    @app.get("/list")
    async def list_() -> list[Hidden]:
        return [ada()]

    @app.get("/stream")
    async def stream() -> AsyncIterator[Hidden]:
        yield "a"

    @app.get("/text")
    async def text() -> Hidden:
        return "a"

    async with app.test_client() as client:
        for path in ("/value", "/list"):
            with pytest.raises(TypeError, match=r"Hidden.* can't be resolved.*TYPE_CHECKING"):
                await client.get(path)
        for path in ("/stream", "/text"):
            assert (await client.get(path)).text == "a"


# --- aliases --------------------------------------------------------------------------


def alias(statement: str) -> object:
    """Return the type alias `A` that a statement defines, which Python 3.11 can't parse."""
    if sys.version_info < (3, 12):
        pytest.skip("the statement `type` came with Python 3.12")
    names = dict(globals())
    exec(statement, names)
    return names["A"]


@pytest.mark.parametrize(
    ("statement", "value", "expected"),
    [
        ("type A = list[User]", [Account("ada")], [{"name": "ada"}]),
        ("type A = User | None", Account("ada"), {"name": "ada"}),
        ("type A = tuple[User, int]", Account("ada"), {"name": "ada"}),
        ("type A = User | list[A]", [[Account("ada")], []], [[{"name": "ada"}], []]),
        (
            "type A = dict[str, A | None] | User",
            {"a": {"b": Account("c")}},
            {"a": {"b": {"name": "c"}}},
        ),
        (
            "type Pet = Dog | User\ntype A = list[Pet | Puppy]",
            [Puppy()],
            [vars(Puppy())],
        ),
        ("type List[T] = list[T]\ntype A = List[User]", [Account("ada")], [{"name": "ada"}]),
        (
            "type Tree[T] = T | list[Tree[T]]\ntype A = Tree[User]",
            [[Account("a")]],
            [[{"name": "a"}]],
        ),
    ],
)
def test_alias_declares_the_members_of_its_type(
    statement: str, value: object, expected: object
) -> None:
    write = writer_for(alias(statement))
    assert write is not None
    assert write(value) == expected


JSON = "type A = dict[str, A] | list[A] | str | int | float | bool | None"


def test_alias_of_all_json_writes_any_json() -> None:
    write = writer_for(alias(JSON))
    assert write is not None
    value = {"a": [1, {"b": None}], "c": "d"}
    assert write(value) == value


def test_value_that_an_alias_does_not_declare_is_refused() -> None:
    write = writer_for(alias(JSON))
    assert write is not None
    with pytest.raises(TypeError, match="expected a dict of A"):
        write({"a": [User("ada")]})


def test_value_nested_too_deeply_for_an_alias_is_refused() -> None:
    write = writer_for(alias(JSON))
    assert write is not None
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="circular"):
        write(value)


# --- names on the wire, and other classes ---------------------------------------------


@dataclass
class Titled:
    title: Annotated[str, Meta(name="Title")]
    data: bytes = b"\x00\xff"
    seen: set[int] = field(default_factory=set)
    wait: timedelta = timedelta(minutes=90)


@attrs.define
class Spot:
    x: int
    _y: int = 0
    inner: Titled | None = None


@attrs.define
class SecretSpot(Spot):
    secret: str = "hidden"


class Named(TypedDict):
    title: Annotated[str, Meta(name="Title")]


TITLED = Titled("a", seen={1})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (object, TITLED),
        (Titled, TITLED),
        (list[Titled], [TITLED]),
        (dict[str, Titled | None], {"a": TITLED}),
    ],
)
def test_names_of_meta_are_written_under_any_annotation(kind: object, value: object) -> None:
    written = encode(kind, value)
    assert b'{"Title":"a","data":"AP8=","seen":[1],"wait":"PT1H30M"}' in written


def test_typed_dict_is_written_by_its_names() -> None:
    assert encode(Named, {"title": "a", "other": 1}) == b'{"Title":"a"}'


def test_attrs_class_is_written_by_its_declared_members() -> None:
    written = b'{"x":1,"y":2,"inner":{"Title":"a","data":"","seen":[],"wait":"PT0S"}}'
    value = SecretSpot(1, 2, Titled("a", b"", wait=timedelta(0)))
    assert encode(Spot, value) == written
    assert encode(list[Spot | None], [value, None]) == b"[" + written + b",null]"
    assert b'"secret":"hidden"' in encode(object, value)
    with pytest.raises(TypeError, match="expected str as annotated, got SecretSpot"):
        encode(str, value)


def encode(kind: object, value: object) -> bytes:
    write = writer_for(kind)
    return encode_json(value if write is None else write(value))
