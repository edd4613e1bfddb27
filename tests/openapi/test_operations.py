"""One route as an operation: its texts, parameters, body, answers and security."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal

import pytest

from microweb import App, ConfigurationError, Handler, Request, Response, UploadFile
from microweb.endpoints.described import Described
from microweb.errors import Conflict, Forbidden, NotFound
from microweb.markup import HTMLText
from microweb.middleware.authentication import BearerAuth
from microweb.openapi.documents import Info, document_of
from microweb.typed import Content, Cookie, Depends, FormData, Header, Json, Meta, Query


@dataclass
class Note:
    text: str


@dataclass
class Busy:
    until: int


@dataclass
class Filters:
    tag: list[str] = field(default_factory=list)
    limit: Annotated[int, Meta(ge=1, description="How many")] = 20


def operation(app: App, path: str, method: str = "get") -> dict[str, Any]:
    document = document_of(app.level(), Info("Notes", "1"))
    found: dict[str, Any] = document["paths"][path][method]
    return found


def parameters(app: App, path: str) -> dict[tuple[str, str], dict[str, Any]]:
    return parameters_of(operation(app, path))


def parameters_of(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["in"], each["name"]): each for each in found["parameters"]}


def test_texts_are_those_of_the_docstring_and_the_route() -> None:
    app = App()

    @app.get("/", tags=["a", "b"], deprecated=True)
    async def show() -> str:
        """Show
        a note.

        It is the first.
        """
        return ""

    found = operation(app, "/")
    assert (found["summary"], found["description"]) == ("Show a note.", "It is the first.")
    assert (found["tags"], found["deprecated"], found["operationId"]) == (["a", "b"], True, "show")


def test_parameters_have_their_place_type_and_default() -> None:
    app = App()

    @app.get("/notes/{id}/{part:int}/{rest}")
    async def show(
        id: int,
        part: int,
        rest: str,
        q: str = "",
        x_key: Header[str | None] = None,
        seen: Cookie[bool] = False,
        old: Annotated[int, Meta(deprecated=True, name="Old")] = 0,
    ) -> str:
        return ""

    found = parameters(app, "/notes/{id}/{part}/{rest}")
    assert {key: each["required"] for key, each in found.items()} == {
        ("path", "id"): True,
        ("path", "part"): True,
        ("path", "rest"): True,
        ("query", "q"): False,
        ("header", "x-key"): False,
        ("cookie", "seen"): False,
        ("query", "Old"): False,
    }
    assert found["path", "id"]["schema"]["type"] == "integer"
    assert found["query", "q"]["schema"] == {"type": "string", "default": ""}
    assert found["query", "Old"]["deprecated"] is True


def test_a_path_parameter_without_a_type_has_that_of_its_converter() -> None:
    app = App()

    @app.get("/{a:int}/{b:uuid}/{c}")
    async def show(**values: object) -> str:
        return ""

    found = parameters(app, "/{a}/{b}/{c}")
    assert found["path", "a"]["schema"]["type"] == "integer"
    assert found["path", "b"]["schema"]["format"] == "uuid"
    assert found["path", "c"]["schema"] == {"type": "string"}


def test_a_dataclass_in_the_query_is_its_fields() -> None:
    app = App()

    @app.get("/")
    async def find(filters: Query[Filters]) -> str:
        return ""

    found = parameters(app, "/")
    assert found["query", "tag"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert found["query", "limit"]["schema"]["minimum"] == 1
    assert found["query", "limit"]["description"] == "How many"


def test_inputs_of_dependencies_are_those_of_the_route() -> None:
    app = App()

    async def key(x_key: Header[str]) -> str:
        return x_key

    @app.get("/")
    async def show(key: Annotated[str, Depends(key)]) -> str:
        return key

    assert parameters(app, "/")["header", "x-key"]["required"] is True
    assert "400" in operation(app, "/")["responses"]


def test_a_body_has_its_media_type_and_its_faults() -> None:
    app = App()

    @app.post("/json")
    async def add(note: Json[Note]) -> Note:
        return note

    @app.post("/optional")
    async def maybe(note: Json[Note | None] = None) -> Note:
        return note or Note("")

    found = operation(app, "/json", "post")
    assert found["requestBody"]["required"] is True
    assert list(found["requestBody"]["content"]) == ["application/json"]
    assert sorted(found["responses"]) == ["200", "400", "413", "415", "422"]
    problem = found["responses"]["422"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}
    assert operation(app, "/optional", "post")["requestBody"]["required"] is False


def test_a_form_with_files_is_multipart() -> None:
    @dataclass
    class Picture:
        title: str
        file: UploadFile
        more: list[UploadFile] = field(default_factory=list)
        is_public: bool = True

    @dataclass
    class Login:
        name: str
        remember: bool

    app = App()

    @app.post("/pictures")
    async def keep(picture: FormData[Picture]) -> str:
        return ""

    @app.post("/login")
    async def log_in(login: FormData[Login]) -> str:
        return ""

    content = operation(app, "/pictures", "post")["requestBody"]["content"]
    assert list(content) == ["multipart/form-data"]
    schema = content["multipart/form-data"]["schema"]
    assert schema["required"] == ["file", "title"]
    assert schema["properties"]["file"]["contentMediaType"] == "application/octet-stream"
    assert schema["properties"]["more"]["type"] == "array"
    content = operation(app, "/login", "post")["requestBody"]["content"]
    assert list(content) == ["application/x-www-form-urlencoded"]
    assert content["application/x-www-form-urlencoded"]["schema"]["required"] == ["name"]


def test_answers_are_those_of_the_annotation() -> None:
    app = App()

    @app.post("/")
    async def add() -> tuple[Note, Literal[201]] | tuple[Busy, Literal[409]] | None:
        return None

    @app.get("/html")
    async def page() -> HTMLText:
        return HTMLText()

    @app.get("/stream")
    async def stream() -> AsyncIterator[str]:
        yield ""

    @app.get("/bytes")
    async def data() -> bytes:
        return b""

    found = operation(app, "/", "post")["responses"]
    assert sorted(found) == ["201", "204", "409"]
    assert "content" not in found["204"]
    schema = found["409"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Busy"}
    assert list(operation(app, "/html")["responses"]["200"]["content"]) == ["text/html"]
    assert operation(app, "/stream")["responses"]["200"]["content"] == {
        "text/plain": {"schema": {"type": "string"}}
    }
    assert list(operation(app, "/bytes")["responses"]["200"]["content"]) == [
        "application/octet-stream"
    ]


BOOL = {"type": "boolean"}
OCTETS = {"type": "string", "contentMediaType": "application/octet-stream"}


class Color(Enum):
    RED = "red"


class Size(StrEnum):
    SMALL = "s"


class Opaque:
    """No type of JSON."""


@pytest.mark.parametrize(
    ("hint", "content"),
    [
        (object, {"*/*": {}}),
        (Response, {"*/*": {}}),
        (AsyncIterator[bytes], {"application/octet-stream": OCTETS}),
        (AsyncIterator[object], {"*/*": {}}),
        (bool, {"application/json": {"type": "boolean"}}),
        (bool | float, {"application/json": {"anyOf": [BOOL, {"type": "number"}]}}),
        (Literal[1, 2], {"application/json": {"type": "integer", "enum": [1, 2]}}),
        (Literal["a"], {"text/plain": {"type": "string", "enum": ["a"]}}),
        (
            tuple[Literal["a", 1], Literal[200]],
            {
                "text/plain": {"type": "string", "enum": ["a"]},
                "application/json": {"type": "integer", "enum": [1]},
            },
        ),
        (tuple[bool | str, int], {"application/json": BOOL, "text/plain": {"type": "string"}}),
        (Color, {"application/json": {"$ref": "#/components/schemas/Color"}}),
        (Size, {"text/plain": {"$ref": "#/components/schemas/Size"}}),
        (
            Annotated[list[bool], Meta(max_length=2)],
            {"application/json": {"type": "array", "items": BOOL, "maxItems": 2}},
        ),
        (
            tuple[str | bool | None, Literal[200]],
            {
                "text/plain": {"type": "string"},
                "application/json": {"type": ["boolean", "null"]},
            },
        ),
    ],
)
def test_content_is_that_of_the_annotation(hint: object, content: dict[str, Any]) -> None:
    app = App()

    async def show() -> Any:
        """Not called."""

    show.__annotations__["return"] = hint
    app.get("/")(show)
    expected = {name: {"schema": each} if each else {} for name, each in content.items()}
    assert operation(app, "/")["responses"]["200"]["content"] == expected


def test_class_that_json_has_not_needs_json_default() -> None:
    def app_returning_opaque() -> App:
        app = App()

        @app.get("/")
        async def show() -> list[Opaque]:
            return []

        return app

    with pytest.raises(ConfigurationError, match=r"show at .*Opaque.*set app.json_default"):
        operation(app_returning_opaque(), "/")
    app = app_returning_opaque()
    app.json_default = str
    assert operation(app, "/")["responses"]["200"]["content"] == {
        "application/json": {"schema": {"type": "array", "items": {}}}
    }


def test_two_answers_of_one_status_are_one_schema() -> None:
    app = App()

    @app.get("/")
    async def show() -> Note | list[Busy]:
        return Note("")

    schema = operation(app, "/")["responses"]["200"]["content"]["application/json"]["schema"]
    assert len(schema["anyOf"]) == 2


def test_errors_of_the_endpoint_and_of_middleware_are_answers() -> None:
    class Paid:
        async def __call__(self, request: Request, call_next: Handler) -> Response:
            return await call_next(request)

        def described(self) -> Described:
            return Described(responses={402: "Nothing is paid"})

    app = App()
    app.use(Paid())

    @app.get("/", raises=[NotFound, Conflict], use=[BearerAuth(["secret"])])
    async def show() -> Note:
        return Note("")

    found = operation(app, "/")
    assert sorted(found["responses"]) == ["200", "400", "401", "402", "404", "409"]
    assert found["responses"]["402"]["description"] == "Nothing is paid"
    assert found["security"] == [{"bearer": []}]


def test_the_annotation_describes_the_content_of_a_response() -> None:
    app = App()

    @app.get("/picture")
    async def picture() -> Annotated[Response, Content("image/png")]:
        return Response(b"")

    @app.get("/events")
    async def events() -> tuple[
        Annotated[Response, Content("text/event-stream; charset=utf-8", Note)], Literal[200]
    ]:
        return Response(b""), 200

    @app.get("/text")
    async def text() -> Annotated[Response, Content("text/csv")]:
        return Response(b"")

    assert operation(app, "/picture")["responses"]["200"]["content"] == {
        "image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}}
    }
    events_content = operation(app, "/events")["responses"]["200"]["content"]["text/event-stream"]
    assert events_content["schema"]["properties"]["data"] == {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": "#/components/schemas/Note"},
    }
    assert operation(app, "/text")["responses"]["200"]["content"] == {
        "text/csv": {"schema": {"type": "string"}}
    }


def test_errors_are_texts_too_where_no_json_is_expected() -> None:
    app = App()

    @app.get("/text/{id}", raises=[Conflict])
    async def text(id: int) -> str:
        return ""

    @app.get("/json/{id}", raises=[Conflict])
    async def json(id: int) -> Note:
        return Note("")

    both, one = ["application/problem+json", "text/plain"], ["application/problem+json"]
    found = operation(app, "/text/{id}")["responses"]
    assert [list(found[status]["content"]) for status in ("404", "409")] == [both, both]
    found = operation(app, "/json/{id}")["responses"]  # no route has the path /json/x
    assert [list(found[status]["content"]) for status in ("404", "409")] == [both, one]


def test_none_is_an_absent_parameter_and_no_null() -> None:
    @dataclass
    class Form:
        note: str | None
        age: Annotated[Decimal | None, Meta(description="In years")] = None

    app = App()

    @app.post("/")
    async def show(form: FormData[Form], visit: Cookie[Literal["a"] | None] = None) -> str:
        return ""

    assert parameters_of(operation(app, "/", "post"))["cookie", "visit"]["schema"] == {
        "type": "string",
        "enum": ["a"],
    }
    (content,) = operation(app, "/", "post")["requestBody"]["content"].values()
    schema = content["schema"]
    assert schema["properties"]["note"] == {"type": "string"}
    age = schema["properties"]["age"]
    assert (age["type"], age["description"]) == (["string", "number"], "In years")


def test_names_in_a_form_with_files_have_no_control_characters() -> None:
    @dataclass
    class Form:
        file: UploadFile

    app = App()

    @app.post("/")
    async def show(form: FormData[Form]) -> str:
        return ""

    (content,) = operation(app, "/", "post")["requestBody"]["content"].values()
    schema = content["schema"]
    pattern = schema["propertyNames"]["pattern"]
    assert re.search(pattern, "note é")
    assert not re.search(pattern, "a\tb")


def test_errors_are_those_that_their_handlers_declare() -> None:
    app = App()

    @app.errorhandler(404)
    async def missing() -> Busy:
        return Busy(1)

    @app.errorhandler(Conflict)
    async def conflict() -> tuple[Note, Literal[410]]:
        return Note(""), 410

    @app.get("/{id}", raises=[Conflict, Forbidden])
    async def show(id: int) -> Note:
        return Note("")

    found = operation(app, "/{id}")["responses"]
    assert {status: list(answer["content"].items()) for status, answer in found.items()} == {
        "200": [("application/json", {"schema": {"$ref": "#/components/schemas/Note"}})],
        "403": [("application/problem+json", {"schema": {"$ref": "#/components/schemas/Problem"}})],
        "404": [("application/json", {"schema": {"$ref": "#/components/schemas/Busy"}})],
        "410": [("application/json", {"schema": {"$ref": "#/components/schemas/Note"}})],
    }
