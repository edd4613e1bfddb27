"""The document of an application: its routes, its bytes, and the request that gets it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from openapi_spec_validator import validate

from microweb import App, Handler, Request, Response, Router
from microweb.errors import ConfigurationError, NotFound, Unauthorized
from microweb.middleware.authentication import BasicAuth, BearerAuth
from microweb.openapi.documents import Info, document_of, encode
from microweb.typed import Json, Meta


@dataclass
class Note:
    text: Annotated[str, Meta(min_length=1)]


def notes() -> App:
    app = App()
    router = Router("/notes", tags=["notes"], use=[BearerAuth(["secret"])])

    @router.get("/{id}", raises=[NotFound])
    async def show(id: int) -> Note:
        """Show a note."""
        return Note(str(id))

    @router.post("")
    async def add(note: Json[Note], dry: bool = False) -> tuple[Note, int]:
        return note, 201

    app.include(router)
    return app


async def document_from(app: App, path: str = "/openapi.json") -> dict[str, Any]:
    async with app.test_client() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json()
    return found


async def test_the_document_is_valid_and_complete() -> None:
    app = notes()
    app.openapi(
        "Notes", "2.1", description="All *notes*.", tags={"notes": "Short texts"}, servers=["/v2"]
    )
    document = await document_from(app)
    validate(document)
    assert document["info"] == {"title": "Notes", "version": "2.1", "description": "All *notes*."}
    assert document["tags"] == [{"name": "notes", "description": "Short texts"}]
    assert document["servers"] == [{"url": "/v2"}]
    assert document["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer"}
    }
    assert {path: list(found) for path, found in document["paths"].items()} == {
        "/notes": ["post"],
        "/notes/{id}": ["get"],
    }


def test_static_folders_are_no_part_of_an_api(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    app = notes()
    app.static("/site", tmp_path)
    paths = document_of(app.level(), Info("Notes", "1"))["paths"]
    assert {*paths} == {"/notes", "/notes/{id}"}


def test_the_same_app_has_the_same_bytes() -> None:
    first, second = (encode(document_of(notes().level(), Info("N", "1"))) for _ in range(2))
    assert first == second
    assert first.endswith(b"}\n")
    assert list(json.loads(first)) == ["components", "info", "openapi", "paths", "servers"]


@pytest.mark.parametrize(
    ("path", "url"), [("/openapi.json", "."), ("/api/openapi.json", ".."), ("/a/b/c", "../..")]
)
async def test_the_server_is_relative_to_the_document(path: str, url: str) -> None:
    app = notes()
    app.openapi("Notes", "1", path=path)
    assert (await document_from(app, path))["servers"] == [{"url": url}]


async def test_nothing_is_served_if_it_is_not_called() -> None:
    async with notes().test_client() as client:
        assert (await client.get("/openapi.json")).status_code == 404
        assert (await client.get("/docs")).status_code == 404


async def test_the_page_can_be_left_out() -> None:
    app = notes()
    app.openapi("Notes", "1", docs=None)
    async with app.test_client() as client:
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 200


async def test_routes_that_are_registered_later_are_in_it() -> None:
    app = App()
    app.openapi("Notes", "1")

    @app.get("/later")
    async def later() -> str:
        return ""

    assert list((await document_from(app))["paths"]) == ["/later"]


async def test_a_route_that_is_not_documented_is_not_in_it() -> None:
    app = notes()
    app.openapi("Notes", "1")

    @app.get("/secret", documented=False)
    async def secret() -> str:
        return ""

    @app.route("/cache", methods=("PURGE",))
    async def purge() -> str:
        return ""

    document = await document_from(app)
    assert not {"/secret", "/cache", "/docs", "/openapi.json"} & set(document["paths"])


async def test_mounted_apps_are_in_it_unless_they_have_their_own() -> None:
    site, old, new = App(), notes(), notes()
    new.openapi("New notes", "2")
    site.openapi("Site", "1")
    site.mount("/v1", old, use=[BasicAuth({"a": "b"})])
    site.mount("/v2", new)
    document = await document_from(site)
    validate(document)
    assert sorted(document["paths"]) == ["/v1/notes", "/v1/notes/{id}"]
    security = document["paths"]["/v1/notes"]["post"]["security"]
    assert security == [{"basic": [], "bearer": []}]
    assert sorted((await document_from(site, "/v2/openapi.json"))["paths"]) == [
        "/notes",
        "/notes/{id}",
    ]


async def test_ids_are_names_and_differ() -> None:
    app = App()
    app.openapi("Notes", "1")

    @app.route("/both", methods=("GET", "PUT"))
    async def both() -> str:
        return ""

    for path in ("/a/{id}", "/b"):

        @app.get(path, name="same")
        async def same(**values: object) -> str:
            return ""

    paths = (await document_from(app))["paths"]
    ids = [found["operationId"] for each in paths.values() for found in each.values()]
    assert sorted(ids) == ["both_get_both", "both_put_both", "same_get_a_id", "same_get_b"]


async def test_middleware_of_the_document_is_around_both_routes() -> None:
    async def refuse(request: Request, call_next: Handler) -> Response:
        raise Unauthorized

    app = notes()
    app.openapi("Notes", "1", use=[refuse])
    async with app.test_client() as client:
        assert (await client.get("/openapi.json")).status_code == 401
        assert (await client.get("/docs")).status_code == 401
        bearer = {"Authorization": "Bearer secret"}
        assert (await client.get("/notes/1", headers=bearer)).status_code == 200


async def test_names_in_any_script_are_written_as_they_are() -> None:
    app = App()
    app.openapi("Zettel für Ännchen ✓", "1")
    async with app.test_client() as client:
        assert "Zettel für Ännchen ✓" in (await client.get("/openapi.json")).text


def test_registration_ends_when_the_app_is_frozen() -> None:
    app = notes()
    app.freeze()
    with pytest.raises(ConfigurationError, match="openapi"):
        app.openapi("Notes", "1")
