"""Values that endpoints return, and the answers that they become."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from http import HTTPStatus
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple, NewType
from uuid import UUID

import attrs
import pytest
from support.endpoints import app_with, get

from microweb import App, Request, Response, html
from microweb.typed import Meta

ID = "6f1c3d1e-5b1a-4f61-9c55-1d2f3a4b5c6d"


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Note:
    title: str
    day: date


class Opaque:
    pass


def of_own_types(value: object) -> object:
    if isinstance(value, Opaque):
        return {"opaque": [True]}
    raise TypeError(f"not {value!r}")


async def test_json_default_is_asked_about_the_returned_value() -> None:
    app = App()
    app.json_default = of_own_types

    @app.get("/{kind}")
    async def show(kind: str) -> Any:
        return {
            "itself": Opaque(),
            "inside": [Opaque()],
            "status": (Opaque(), 201),
            "number": 5,
            "number with a status": (5, 201),
            "set": {1},
        }[kind]

    async with app.test_client() as client:
        for kind, status, value in (
            ("itself", 200, {"opaque": [True]}),
            ("inside", 200, [{"opaque": [True]}]),
            ("status", 201, {"opaque": [True]}),
        ):
            response = await client.get(f"/{kind}")
            assert (response.status_code, response.json()) == (status, value)
            assert response.headers["content-type"] == "application/json"
        for kind in ("number", "set", "number with a status"):
            with pytest.raises(TypeError, match=r"^show at .* returned (int|set)"):
                await client.get(f"/{kind}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((404, "x"), "(value, status)"),
        ((404, {"a": 1}), "(value, status)"),
        ((HTTPStatus.NOT_FOUND, {"a": 1}, {"X-A": "b"}), "(value, status, headers)"),
        ((404, {"X-A": "b"}, "x"), "(value, status, headers)"),
        (({"X-A": "b"}, "x"), "(value, headers)"),
    ],
)
async def test_a_value_that_does_not_come_first_is_told(value: Any, expected: str) -> None:
    app = App()

    @app.get("/")
    async def show() -> Any:
        return value

    async with app.test_client() as client:
        with pytest.raises(TypeError) as caught:
            await client.get("/")
    assert str(caught.value).startswith("show at test_results.py:")
    assert str(caught.value).endswith(f": the value comes first, expected {expected}")


OCTETS, TEXT = "application/octet-stream", "text/plain; charset=utf-8"


HTML, JSON = "text/html; charset=utf-8", "application/json"


class Markup:
    def __html__(self) -> str:
        return "<i>é</i>"


class Text(str):
    pass


class Table(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("value", "content_type", "body"),
    [
        ("é", TEXT, "é".encode()),
        (Text("a"), TEXT, b"a"),
        (html("<b>{}</b>", "<x>"), HTML, b"<b>&lt;x&gt;</b>"),
        (Markup(), HTML, "<i>é</i>".encode()),
        (b"\xff", OCTETS, b"\xff"),
        (bytearray(b"a"), OCTETS, b"a"),
        (memoryview(b"a"), OCTETS, b"a"),
        ({"a": 1}, JSON, b'{"a":1}'),
        (Table(a=1), JSON, b'{"a":1}'),
        ([1, None], JSON, b"[1,null]"),
        (Note("t", date(2026, 1, 2)), JSON, b'{"title":"t","day":"2026-01-02"}'),
        (
            [datetime(2026, 1, 2, tzinfo=UTC), UUID(ID), Decimal("1.10"), Color.RED],
            JSON,
            b'["2026-01-02T00:00:00+00:00","%b","1.10","red"]' % ID.encode(),
        ),
    ],
)
async def test_returned_value(value: object, content_type: str, body: bytes) -> None:
    async def show() -> object:
        return value

    response = await get(show)
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert response.content == body


async def test_none_is_204() -> None:
    async def show() -> None:
        return None

    response = await get(show)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers


async def test_async_generator_is_a_stream() -> None:
    async def show(request: Request) -> AsyncIterator[str]:
        yield "a"
        yield request.method

    response = await get(show)
    assert response.headers["transfer-encoding"] == "chunked"
    assert (response.text, response.headers["content-type"]) == ("aGET", TEXT)


async def test_plain_generator_is_a_stream_made_in_a_thread() -> None:
    import threading

    main = threading.get_ident()

    def show(n: int) -> Iterator[bytes]:
        for _ in range(n):
            yield str(threading.get_ident() != main).encode()

    response = await get(show, "/?n=2")
    assert (response.text, response.headers["content-type"]) == ("TrueTrue", OCTETS)


async def test_returned_generator_is_a_stream() -> None:
    async def show() -> object:
        return (piece for piece in ("a", "b"))

    assert (await get(show)).text == "ab"


@pytest.mark.parametrize(
    ("value", "status", "header", "body"),
    [
        (("a", 201), 201, None, b"a"),
        (({"a": 1}, 201), 201, None, b'{"a":1}'),
        (("a", {"X-A": "1"}), 200, "1", b"a"),
        (("a", [("X-A", "1"), ("X-A", "2")]), 200, "1, 2", b"a"),
        (("a", 202, {"X-A": "1"}), 202, "1", b"a"),
        ((None, 404), 404, None, b""),
        ((None, {"X-A": "1"}), 204, "1", b""),
        (([1], 200, [("X-A", "1")]), 200, "1", b"[1]"),
    ],
)
async def test_returned_tuple(value: object, status: int, header: str | None, body: bytes) -> None:
    async def show() -> object:
        return value

    response = await get(show)
    assert (response.status_code, response.content) == (status, body)
    assert response.headers.get("x-a") == header


async def test_header_of_a_tuple_replaces_that_of_its_response() -> None:
    async def show() -> object:
        return Response("a", headers={"X-A": "1"}), 203, {"X-A": "2", "content-type": "text/css"}

    response = await get(show)
    assert (response.status_code, response.headers["x-a"]) == (203, "2")
    assert response.headers["content-type"] == "text/css"


async def test_response_is_sent_as_it_is() -> None:
    async def show() -> Response:
        return Response.json({"a": 1}, 202, {"X-A": "1"})

    response = await get(show)
    assert (response.status_code, response.json()) == (202, {"a": 1})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (5, "int"),
        (True, "bool"),
        ({1, 2}, "set"),
        (object(), "object"),
        (("a", "b"), "tuple"),
        ((), "tuple"),
        (("a", 200, {}, 1), "tuple"),
        (Note, "type"),
        (range(2), "range"),
        (NotImplemented, "NotImplementedType"),
    ],
)
async def test_value_of_another_kind_is_a_type_error_that_names_the_endpoint(
    value: object, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def show() -> object:
        return value

    async with app_with(show).test_client(raise_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (500, "Internal Server Error\n")
    assert "show at test_results.py:" in caplog.text
    assert f"returned {kind}: expected str, bytes" in caplog.text


async def test_forgotten_await_is_told() -> None:
    async def load() -> str:
        return ""

    async def show() -> object:
        return load()

    with pytest.raises(TypeError, match=r"show at .* returned a coroutine: did you forget await\?"):
        await get(show)


async def test_json_that_can_not_be_written_names_the_endpoint() -> None:
    async def show() -> object:
        return {"a": object()}

    with pytest.raises(
        TypeError, match=r"show at .*: expected a value that JSON can hold, got 'object'"
    ):
        await get(show)


async def test_json_default_of_the_app() -> None:
    app = App()
    app.json_default = lambda value: sorted(value)  # type: ignore[call-overload]

    @app.get("/value")
    async def value() -> object:
        return {"a": {2, 1}}

    @app.get("/response")
    async def response() -> object:
        return Response.json({2, 1})

    async with app.test_client() as client:
        assert (await client.get("/value")).json() == {"a": [1, 2]}
        assert (await client.get("/response")).json() == [1, 2]


async def test_json_default_may_be_set_at_startup() -> None:
    app = App()

    @app.on_startup
    def configure() -> None:
        app.json_default = str

    @app.get("/")
    async def value() -> object:
        return [SimpleNamespace()]

    async with app.test_client() as client:
        assert (await client.get("/")).json() == ["namespace()"]


# --- answers by the annotation --------------------------------------------------------


class Two(NamedTuple):
    first: int
    second: str


@attrs.define
class Spot:
    x: int


@dataclass
class Declared:
    id: int
    inner: Spot | None = None


class Row:
    """An object of a database, with more attributes than an answer has."""

    def __init__(self, **values: object) -> None:
        vars(self).update(values)


@pytest.mark.parametrize(
    ("hint", "value", "body"),
    [
        (Two, Two(1, "a"), b'[1,"a"]'),
        (object, Two(1, "a"), b'[1,"a"]'),
        (Spot, Spot(1), b'{"x":1}'),
        (object, Spot(1), b'{"x":1}'),
        (set[int], {1}, b"[1]"),
        (Declared, Row(id=1, inner=Row(x=2, secret=3), secret=4), b'{"id":1,"inner":{"x":2}}'),
        (Declared, {"id": 1, "inner": None, "secret": 2}, b'{"id":1,"inner":null}'),
        (list[Declared], [Row(id=1, inner=None, secret=2)], b'[{"id":1,"inner":null}]'),
        (tuple[Declared, Literal[201]], (Declared(1), 201), b'{"id":1,"inner":null}'),
        (tuple[Declared | None, Literal[200]], (None, 200), b"null"),
        (tuple[Declared | None, int], (None, 200), b""),
        (Declared | None, None, b""),
    ],
)
async def test_annotation_decides_the_json(hint: object, value: object, body: bytes) -> None:
    async def endpoint() -> object:
        return value

    endpoint.__annotations__["return"] = hint
    assert (await get(endpoint)).content == body


async def test_json_default_never_writes_more_than_the_declared_members() -> None:
    async def endpoint() -> Declared:
        return Row(id=1, inner=None, secret=2)  # type: ignore[return-value]

    app = app_with(endpoint)
    app.json_default = vars
    async with app.test_client() as client:
        assert (await client.get("/")).content == b'{"id":1,"inner":null}'


async def test_object_without_a_declared_member_is_an_error() -> None:
    async def endpoint() -> Declared:
        return Row(name="a")  # type: ignore[return-value]

    with pytest.raises(TypeError, match=r"endpoint at .*expected Declared, or an object with 'id'"):
        await get(endpoint)


class Level(IntEnum):
    HIGH = 2


class Size(StrEnum):
    SMALL = "s"


@pytest.mark.parametrize(
    ("hint", "value", "content_type", "body"),
    [
        (int, 5, JSON, b"5"),
        (int, 0, JSON, b"0"),
        (bool, False, JSON, b"false"),
        (float, 1.5, JSON, b"1.5"),
        (float, 2, JSON, b"2"),
        (Decimal, Decimal("1.10"), JSON, b'"1.10"'),
        (UUID, UUID(ID), JSON, b'"%b"' % ID.encode()),
        (date, date(2026, 1, 2), JSON, b'"2026-01-02"'),
        (timedelta, timedelta(minutes=90), JSON, b'"PT1H30M"'),
        (Color, Color.RED, JSON, b'"red"'),
        (Level, Level.HIGH, JSON, b"2"),
        (Size, Size.SMALL, TEXT, b"s"),
        (Literal[1, 2], 2, JSON, b"2"),
        (Literal["a"], "a", TEXT, b"a"),
        (int | str, 1, JSON, b"1"),
        (int | str, "a", TEXT, b"a"),
        (Annotated[int, Meta(ge=1)], 1, JSON, b"1"),
        (NewType("Key", int), 1, JSON, b"1"),
        (tuple[int, Literal[200]], (5, 200), JSON, b"5"),
        (tuple[int, int], (5, 200), JSON, b"5"),
        (tuple[int, dict[str, str]], (5, {"X-A": "1"}), JSON, b"5"),
        (tuple[int, Literal[200], dict[str, str]], (5, 200, {"X-A": "1"}), JSON, b"5"),
        (deque[int], deque([1, 2]), JSON, b"[1,2]"),
    ],
)
async def test_scalar_is_json_if_the_annotation_declares_it(
    hint: object, value: object, content_type: str, body: bytes
) -> None:
    async def endpoint() -> object:
        return value

    endpoint.__annotations__["return"] = hint
    response = await get(endpoint)
    assert (response.headers["content-type"], response.content) == (content_type, body)


async def test_status_of_a_declared_scalar() -> None:
    async def endpoint() -> tuple[int, Literal[201]]:
        return 7, 201

    response = await get(endpoint)
    assert (response.status_code, response.json()) == (201, 7)


async def test_scalar_of_none_is_204() -> None:
    async def endpoint(is_there: bool) -> int | None:
        return 7 if is_there else None

    assert (await get(endpoint, "/?is_there=no")).status_code == 204
    assert (await get(endpoint, "/?is_there=yes")).json() == 7


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (tuple[dict[str, str], int], (404, {"a": "b"})),
        (tuple[int, Literal[404]], (404, {"a": "b"})),
        (object, (404, "x")),
    ],
)
async def test_status_in_the_place_of_the_value_is_told(hint: object, value: object) -> None:
    async def endpoint() -> object:
        return value

    endpoint.__annotations__["return"] = hint
    with pytest.raises(TypeError, match="the value comes first, expected"):
        await get(endpoint)


@dataclass
class Linked:
    next: Linked | None = None


@pytest.mark.parametrize("hint", [Linked, dict[str, object], list[float]])
async def test_value_that_json_cannot_hold_names_the_endpoint(hint: object) -> None:
    linked, values = Linked(), dict[str, object]()
    linked.next, values["a"] = linked, values
    value = {Linked: linked, dict[str, object]: values}.get(hint, [float("nan")])  # type: ignore[call-overload]

    async def endpoint() -> object:
        return value

    endpoint.__annotations__["return"] = hint
    with pytest.raises(ValueError, match=r"endpoint at test_results.py:\d+: "):
        await get(endpoint)
