"""Annotations that name classes local to a function, or names for type checkers only.

This module has `from __future__ import annotations`, so each annotation is a string.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest

from microweb import App, ConfigurationError, Request, WebSocket
from microweb.bodies.local_classes import _BESIDE
from microweb.typed import Depends, Json, Query

if TYPE_CHECKING:
    from microweb import Request as HiddenRequest


def make_app() -> App:
    app = App()

    @dataclass
    class Tag:
        name: str

    @dataclass
    class Note:
        title: str
        tags: list[Tag]

    class Page(TypedDict):
        notes: list[Note]
        tag: Tag

    @app.post("/note")
    async def note(request: Request) -> object:
        return (await request.json(Note)).tags

    @app.post("/notes")
    async def notes(request: Request) -> object:
        return (await request.json(list[Note]))[0].tags

    @app.post("/page")
    async def page(request: Request) -> object:
        return (await request.json(Page))["notes"]

    @app.get("/declared")
    async def declared() -> Note:
        return Note("a", [Tag("b")])

    return app


NOTE = {"title": "a", "tags": [{"name": "b"}]}


@pytest.mark.parametrize(
    ("path", "value", "answer"),
    [
        ("/note", NOTE, NOTE["tags"]),
        ("/notes", [NOTE], NOTE["tags"]),
        ("/page", {"notes": [NOTE], "tag": {"name": "c"}}, [NOTE]),
    ],
)
async def test_classes_beside_an_endpoint_may_name_one_another(
    path: str, value: object, answer: object
) -> None:
    async with make_app().test_client() as client:
        assert (await client.post(path, json=value)).json() == answer


async def test_an_answer_of_such_classes_is_written() -> None:
    async with make_app().test_client() as client:
        assert (await client.get("/declared")).json() == NOTE


async def test_two_apps_of_one_function_have_classes_of_their_own() -> None:
    first, second = make_app(), make_app()
    for app in (first, second, first):
        async with app.test_client() as client:
            assert (await client.post("/note", json=NOTE)).json() == NOTE["tags"]


async def test_classes_of_the_endpoint_itself() -> None:
    app = App()

    @app.post("/")
    async def show(request: Request) -> object:
        @dataclass
        class Tag:
            name: str

        @dataclass
        class Note:
            tags: list[Tag]

        note = await request.json(Note)
        assert isinstance(note.tags[0], Tag)
        return note.tags

    async with app.test_client() as client:
        for _ in range(2):
            assert (await client.post("/", json=NOTE)).json() == NOTE["tags"]


async def test_a_name_that_nobody_knows_is_an_error_that_names_it() -> None:
    @dataclass
    class Note:
        tags: list[Missing]  # type: ignore[name-defined]  # noqa: F821

    app = App()

    @app.post("/")
    async def show(request: Request) -> object:
        return await request.json(Note)

    async with app.test_client() as client:
        with pytest.raises(ConfigurationError, match="'Missing' is not defined"):
            await client.post("/", json=NOTE)


async def test_a_websocket_reads_such_classes() -> None:
    app = App()

    @app.websocket("/")
    async def echo(socket: WebSocket) -> None:
        @dataclass
        class Tag:
            name: str

        @dataclass
        class Note:
            tags: list[Tag]

        await socket.send_json((await socket.receive_json(Note)).tags)
        async for note in socket.iter_json(Note):
            await socket.send_json(note.tags)

    async with app.test_client() as client, client.websocket("/") as socket:
        for _ in range(2):
            await socket.send_json(NOTE)
            assert await socket.receive_json() == NOTE["tags"]


def test_nothing_is_kept_of_an_app_that_is_gone() -> None:
    app = make_app()
    app.freeze()
    gone = weakref.ref(app.routes[0].endpoint)
    before = len(_BESIDE)
    del app
    gc.collect()
    assert gone() is None
    assert len(_BESIDE) < before


@pytest.mark.parametrize("postponed", ["HiddenRequest", "'HiddenRequest'", '"HiddenRequest"'])
async def test_a_quoted_name_for_type_checkers_is_the_request(postponed: str) -> None:
    app = App()

    async def show(req: HiddenRequest, id: int) -> str:
        return f"{req.method} {id}"

    show.__annotations__["req"] = postponed.replace("Hidden", "")
    app.get("/{id}")(show)
    async with app.test_client() as client:
        assert (await client.get("/3")).text == "GET 3"


async def test_a_quoted_annotation_under_postponed_ones() -> None:
    app = App()

    @app.get("/")
    async def show(req: "Request", page: "int" = 1) -> "str":  # noqa: UP037
        return f"{req.method} {page}"

    async with app.test_client() as client:
        assert (await client.get("/?page=2")).text == "GET 2"
        assert (await client.get("/?page=x")).status_code == 400


# --- functions and aliases ------------------------------------------------------------


def app_with_dependencies() -> App:
    app = App()

    async def inner() -> str:
        return "inner"

    Inner = Annotated[str, Depends(inner)]

    async def outer(inner: Inner) -> str:
        return f"outer of {inner}"

    class Thing:
        def __init__(self) -> None:
            self.name = "thing"

    @app.get("/")
    async def show(
        outer: Annotated[str, Depends(outer)], thing: Annotated[Thing, Depends(Thing)]
    ) -> str:
        return f"{outer}, {thing.name}"

    return app


async def test_local_functions_and_aliases_are_found_however_deep() -> None:
    app = app_with_dependencies()
    gc.collect()
    async with app.test_client() as client:
        assert (await client.get("/")).text == "outer of inner, thing"


def test_an_app_with_local_dependencies_is_freed() -> None:
    app = weakref.ref(app_with_dependencies())
    gc.collect()
    assert app() is None


# --- registered by a function that the one with the names calls -------------------------


def add(app: App, path: str, endpoint: Callable[..., Any]) -> None:
    Note = "no class"
    app.post(path)(endpoint)
    assert Note


async def read(request: Request, kind: type[Any]) -> Any:
    return await request.json(kind)


def app_of_helpers() -> App:
    app = App()

    @dataclass
    class Tag:
        name: str

    @dataclass
    class Note:
        tags: list[Tag]

    async def count(note: Json[Note]) -> int:
        return len(note.tags)

    Counted = Annotated[int, Depends(count)]

    async def echo(note: Json[Note], count: Counted) -> list[Tag]:
        assert count == len(note.tags)
        return note.tags

    async def read_by_a_helper(request: Request) -> Any:
        return (await read(request, Note)).tags

    def inside() -> None:
        @dataclass
        class Page:
            notes: list[Note]

        async def notes(page: Json[Page]) -> list[Note]:
            return page.notes

        add(app, "/page", notes)

    add(app, "/echo", echo)
    add(app, "/read", read_by_a_helper)
    for _ in [add(app, f"/again/{name}", echo) for name in "ab"]:
        pass
    inside()
    return app


@pytest.mark.parametrize("path", ["/echo", "/read", "/again/a", "/again/b"])
async def test_names_around_an_endpoint_are_found_if_a_helper_registers_it(path: str) -> None:
    tags = [{"name": "b"}]
    async with app_of_helpers().test_client() as client:
        response = await client.post(path, json={"tags": tags})
    assert (response.status_code, response.json()) == (200, tags)


async def test_names_of_both_functions_around_an_endpoint() -> None:
    notes = [{"tags": [{"name": "b"}]}]
    async with app_of_helpers().test_client() as client:
        assert (await client.post("/page", json={"notes": notes})).json() == notes


async def test_classes_that_only_the_endpoint_knows_reach_a_helper() -> None:
    app = App()

    @app.post("/")
    async def show(request: Request) -> Any:
        @dataclass
        class Tag:
            name: str

        @dataclass
        class Note:
            tags: list[Tag]

        return (await read(request, Note)).tags

    async with app.test_client() as client:
        assert (await client.post("/", json=NOTE)).json() == NOTE["tags"]


def make_endpoint() -> Callable[..., Awaitable[object]]:
    @dataclass
    class Filters:
        page: int = 1

    async def show(filters: Query[Filters]) -> object:
        """Its class is local to a function that has returned."""

    return show


def make_endpoint_that_names_its_class() -> Callable[..., Awaitable[object]]:
    @dataclass
    class Filters:
        page: int = 1

    async def show(filters: Query[Filters]) -> object:
        assert isinstance(filters, Filters)
        return {"page": filters.page}

    return show


def test_a_class_of_a_function_that_has_returned_is_an_error_with_the_remedy() -> None:
    app = App()
    app.get("/")(make_endpoint())
    with pytest.raises(ConfigurationError) as caught:
        app.freeze()
    assert "show at test_local_classes.py:" in str(caught.value)
    assert (
        "parameter 'filters': its annotation Query[Filters] can't be resolved: define or import "
        "the names in it at the top level of the module, or register the endpoint in the function "
        "that defines them"
    ) in str(caught.value)


async def test_a_class_that_the_code_of_the_endpoint_names_is_known() -> None:
    app = App()
    app.get("/")(make_endpoint_that_names_its_class())
    async with app.test_client() as client:
        assert (await client.get("/?page=2")).json() == {"page": 2}
