"""Descriptions of inputs: everything that a document needs, without a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Annotated, Any, Literal

import pytest

from microweb.bodies.annotations import metadata_of
from microweb.endpoints.arguments import Binding
from microweb.endpoints.inputs import MISSING, Input, marked_input
from microweb.endpoints.signature import REQUEST, inspect_endpoint
from microweb.errors import ConfigurationError
from microweb.request import Request
from microweb.typed import Cookie, Depends, FormData, Header, Json, Meta, Query


@dataclass
class Page:
    limit: Annotated[int, Meta(ge=1, name="max")] = 10
    tags: list[str] = field(default_factory=list)
    after: str | None = None


@dataclass
class Filters:
    token: Header[str]
    page: Query[int] = 1


def inputs_of(endpoint: Callable[..., Any], **path: str) -> list[Input]:
    return Binding(inspect_endpoint(endpoint), path, REQUEST, ("POST",)).inputs


def test_each_value_of_the_client_is_described() -> None:
    async def put(
        request: Request,
        id: int,
        note: Json[dict[str, int]],
        dry: bool = False,
        x_api_key: Header[str | None] = None,
        seen: Cookie[int] = 0,
        q: Query[str] = "",
    ) -> None:
        """Not called."""

    found = inputs_of(put, id="int")
    assert [(each.source, each.name, each.is_required, each.default) for each in found] == [
        ("path", "id", True, MISSING),
        ("json", "note", True, MISSING),
        ("query", "dry", False, False),
        ("header", "x-api-key", False, None),
        ("cookie", "seen", False, 0),
        ("query", "q", False, ""),
    ]
    assert [each.kind for each in found][:4] == [int, dict[str, int], bool, str | None]
    assert [each.is_body for each in found] == [False, True, *[False] * 4]


def test_metadata_stays_and_the_marker_goes() -> None:
    hint = Query[Annotated[int, Meta(ge=1), "a comment"]]
    described = marked_input("limit", hint, 5)
    assert described is not None
    assert metadata_of(described.kind) == (Meta(ge=1), "a comment")


def test_fields_of_a_dataclass_are_inputs() -> None:
    described = marked_input("page", Query[Page], MISSING)
    assert described is not None and described.leaves == described.fields
    assert [(each.parameter, each.name) for each in described.fields] == [
        ("limit", "max"),
        ("tags", "tags"),
        ("after", "after"),
    ]
    assert [each.is_required for each in described.fields] == [False] * 3
    assert [each.default for each in described.fields] == [10, MISSING, None]


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (Query[int], "x_page"),
        (Header[int], "x-page"),
        (Cookie[int], "x_page"),
        (Query[Annotated[int, Meta(name="Page")]], "Page"),
        (Header[Annotated[int, Meta(name="X-Page")]], "x-page"),
    ],
)
def test_name_on_the_wire(hint: Any, name: str) -> None:
    described = marked_input("x_page", hint, MISSING)
    assert described is not None and described.name == name


def test_parameter_without_a_marker_is_no_marked_input() -> None:
    assert marked_input("x", Annotated[int, Meta(ge=1)], MISSING) is None


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (Json[int] | None, r"Json stands inside the annotation: put it outside, as in Json\[T | N"),
        (list[Query[int]], r"Query stands inside the annotation: .* or Query\[list\[T\]\]"),
        (Json[Query[int]], "expected one source, got two markers: keep one"),
    ],
)
def test_marker_in_the_wrong_place_is_a_configuration_error(hint: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        marked_input("x", hint, MISSING)


OWN: Any = Header[Annotated[str, Meta(name="x-token")]]


@pytest.mark.parametrize(
    ("hint", "remedy"),
    [
        (Annotated[str, Header], r"write Header\[str\] in place of Annotated\[str, Header\]$"),
        (Annotated[str | None, Cookie], r"write Cookie\[str \| None\] in place of "),
        (Annotated[int, Query, Meta(ge=1)], r"write Query\[int\] in place of "),
        (Annotated[Page, Json], r"write Json\[Page\] in place of Annotated\[Page, Json\]$"),
        (Annotated[Page, FormData], r"write FormData\[Page\] in place of "),
        (Annotated[str, Header[str]], r"write Header\[str\] in place of .*, Header\[str\]\]$"),
        (Annotated[str, OWN], r"write Header\[str\] in place of "),
        (Annotated[str, Depends], r"write Annotated\[str, Depends\(function\)\]"),
        (Header, r"Header has no type here: write Header\[T\]$"),
        (list[Query], r"Query has no type here: write Query\[T\]$"),  # type: ignore[valid-type]
        (list[Annotated[str, Query]], r"write Query\[str\] in place of "),
    ],
)
def test_marker_without_its_type_is_refused(hint: Any, remedy: str) -> None:
    async def show(authorization):  # type: ignore[no-untyped-def]
        """Not called."""

    show.__annotations__ = {"authorization": hint}
    with pytest.raises(ConfigurationError, match=f"parameter 'authorization': {remedy}"):
        inputs_of(show)


def test_field_with_another_source_than_its_class_is_refused() -> None:
    async def show(filters: Query[Filters]) -> None:
        """Not called."""

    with pytest.raises(ConfigurationError, match="the field 'token' has the source of its class"):
        inputs_of(show)


def test_other_metadata_is_no_marker() -> None:
    async def show(limit: Annotated[int, "a comment", Meta(ge=1), str, Page]) -> None:
        """Not called."""

    assert [each.source for each in inputs_of(show)] == ["query"]


class Level(int):
    pass


DEFAULTS: list[tuple[Any, object]] = [
    (int, 1),
    (int, None),
    (int | None, None),
    (int | None, 1),
    (int, True),
    (int, Level(1)),
    (float, 1),
    (Annotated[float, Meta(ge=0)], 1),
    (Query[int], 1),
    (Query[Annotated[int, Meta(ge=1)]], 1),
    (Query[list[str]], ()),
    (Query[Page], Page()),
    (Json[dict[str, int]], {}),
    (Json[Any], 1),
    (Json[object], 1),
    (Literal["a", "b"], "a"),
]


@pytest.mark.parametrize(("hint", "default"), DEFAULTS)
def test_default_that_fits_its_annotation_is_taken(hint: Any, default: object) -> None:
    assert inputs_of(function_with(hint, default))[0].default == default


@pytest.mark.parametrize(
    ("hint", "default", "kind"),
    [
        (int, "a", "int"),
        (int, 1.5, "int"),
        (int, ..., "int"),
        (str, 1, "str"),
        (int | None, "a", r"int \| None"),
        (Annotated[int, Meta(ge=1)], "1", "int"),
        (Query[int], "1", "int"),
        (Query[Page], {}, "Page"),
        (Json[Page], {}, "Page"),
    ],
)
def test_default_of_another_type_is_refused(hint: Any, default: object, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the default of 'd' is .* says {kind}: make "):
        inputs_of(function_with(hint, default))


@dataclass
class Wrong:
    limit: int = "a"  # type: ignore[assignment]


def test_default_of_another_type_in_a_dataclass_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the default of 'limit' is 'a'"):
        inputs_of(function_with(Query[Wrong], Parameter.empty))


def function_with(hint: Any, default: Any) -> Callable[..., Any]:
    async def show(d=default):  # type: ignore[no-untyped-def]
        """Not called."""

    if default is Parameter.empty:
        show.__defaults__ = None
    show.__annotations__ = {"d": hint}
    return show
