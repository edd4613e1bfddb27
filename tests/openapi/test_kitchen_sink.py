"""The kitchen sink has each type, source and status, and its document is valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate
from support.kitchen_sink import app

from microweb.openapi import document

DOCUMENT: dict[str, Any] = document(app)
METHODS = {"get", "put", "post", "delete", "patch"}


def operations() -> Iterator[dict[str, Any]]:
    for path in DOCUMENT["paths"].values():
        yield from (operation for method, operation in path.items() if method in METHODS)


def everything_in(value: object) -> Iterator[dict[str, Any]]:
    """Yield all objects of the document."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from everything_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from everything_in(each)


OBJECTS = list(everything_in(DOCUMENT))


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


@pytest.mark.parametrize(
    "kind", ["string", "integer", "number", "boolean", "null", "object", "array"]
)
def test_each_type_of_json_is_there(kind: str) -> None:
    assert any(kind == each.get("type") for each in OBJECTS)


@pytest.mark.parametrize("name", ["int64", "uuid", "date-time", "date", "time", "duration"])
def test_each_format_is_there(name: str) -> None:
    assert any(name == each.get("format") for each in OBJECTS)


@pytest.mark.parametrize(
    "keyword",
    "enum anyOf prefixItems items additionalProperties required readOnly default examples pattern"
    " minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems"
    " contentEncoding contentMediaType description deprecated".split(),
)
def test_each_keyword_is_there(keyword: str) -> None:
    assert any(keyword in each for each in OBJECTS)


@pytest.mark.parametrize(
    "name",
    "Scalars Choices Containers Tree Page_Item Circle Square Closed Item Struct Model Changes"
    " Point Access Color Level Filters Login Busy Problem Fault".split(),
)
def test_each_class_is_one_schema(name: str) -> None:
    assert name in DOCUMENT["components"]["schemas"]


def test_each_source_is_there() -> None:
    places = {each["in"] for found in operations() for each in found.get("parameters", ())}
    assert places == {"path", "query", "header", "cookie"}
    bodies = {
        media_type
        for found in operations()
        for media_type in found.get("requestBody", {}).get("content", ())
    }
    assert bodies == {
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    }


def test_each_status_is_there() -> None:
    statuses = {int(status) for found in operations() for status in found["responses"]}
    answers, errors = {200, 201, 202, 204}, {400, 401, 403, 404, 409, 413, 415, 421, 422, 429, 503}
    assert statuses == answers | errors


def test_each_content_of_answers_is_there() -> None:
    contents = {
        media_type
        for found in operations()
        for answer in found["responses"].values()
        for media_type in answer.get("content", ())
    }
    assert contents == {
        "*/*",
        "application/json",
        "application/octet-stream",
        "application/problem+json",
        "image/png",
        "text/event-stream",
        "text/plain",
    }


def test_no_default_is_null_and_each_format_of_a_string_has_an_example() -> None:
    for each in OBJECTS:
        assert "default" not in each or each["default"] is not None
        if each.get("type") == "string" and "format" in each:
            assert each["examples"]


async def test_its_answers_are_those_of_the_document() -> None:
    async with app.test_client() as client:
        assert (await client.get("/openapi.json")).json() == json.loads(json.dumps(DOCUMENT))
        added = await client.post("/types/closed", json={"name": "tea"})
        assert (added.status_code, added.json()) == (200, {"name": "tea"})
        refused = await client.post("/types/closed", json={"name": "tea", "x": 1})
        assert refused.status_code == 422
        events = await client.get("/answers/events")
        assert events.headers["content-type"].startswith("text/event-stream")
