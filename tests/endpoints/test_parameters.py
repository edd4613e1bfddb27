"""Parameters of the query, the header section, cookies and the path: values, defaults, faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from support.endpoints import app_with, get, refusal

from microweb.typed import Cookie, Header, Meta, Query

Tag = Annotated[str, Meta(min_length=2)]


@dataclass
class Outer:
    page: Page


@dataclass
class Page:
    limit: Annotated[int, Meta(ge=1, name="max")] = 10
    tags: list[str] = field(default_factory=list)
    after: str | None = None

    def __post_init__(self) -> None:
        if self.after == self.limit:
            raise TypeError
        if self.after == "never":
            raise ValueError("never is too late")


async def test_query_header_and_cookie() -> None:
    async def show(
        q: Query[str], x_count: Header[int], seen: Cookie[bool], tag: Query[list[int]]
    ) -> str:
        return f"{q} {x_count} {seen} {tag}"

    async with app_with(show).test_client() as client:
        fields = {"X-Count": "3", "Cookie": "seen=yes"}
        assert (await client.get("/?q=a&tag=1&tag=2", headers=fields)).text == "a 3 True [1, 2]"


async def test_all_faults_of_parameters_are_named_together() -> None:
    async def show(
        q: Query[int], x_count: Header[int], seen: Cookie[bool], tag: list[int], page: int = 1
    ) -> str:
        return f"{q} {x_count} {seen} {tag} {page}"

    async with app_with(show).test_client() as client:
        fields = {"Cookie": "seen=perhaps", "Accept": "application/json"}
        response = await client.get("/?q=x&tag=1&page=y", headers=fields)
    assert response.status_code == 400
    assert response.json() == {
        "status": 400,
        "title": "Bad Request",
        "detail": "4 parameters at fault",
        "errors": [
            {"in": "query", "name": "q", "detail": "expected an integer, got 'x'"},
            {"in": "header", "name": "x-count", "detail": "missing"},
            {"in": "cookie", "name": "seen", "detail": "expected true or false, got 'perhaps'"},
            {"in": "query", "name": "page", "detail": "expected an integer, got 'y'"},
        ],
    }


async def test_dataclass_takes_its_fields_from_the_query() -> None:
    async def show(page: Query[Page]) -> str:
        return repr(page)

    assert (await get(show)).text == "Page(limit=10, tags=[], after=None)"
    assert (await get(show, "/?max=3&tags=a&tags=b&after=x")).text == (
        "Page(limit=3, tags=['a', 'b'], after='x')"
    )
    wrong = await get(show, "/?max=0&limit=7")
    assert (wrong.status_code, wrong.text) == (
        400,
        "Bad Request\nquery parameter 'max': expected at least 1, got 0\n",
    )
    late = await get(show, "/?after=never")
    assert (late.status_code, late.text) == (
        400,
        "Bad Request\nquery parameter 'max, tags, after': never is too late\n",
    )


async def test_constraints_of_parameters_without_a_marker_are_checked() -> None:
    async def show(id: Annotated[int, Meta(ge=10)], size: Annotated[int, Meta(le=5)] = 1) -> str:
        return f"{id} {size}"

    assert (await get(show, "/10?size=5", "/{id}")).text == "10 5"
    wrong = await get(show, "/9?size=6", "/{id}")
    assert (wrong.status_code, wrong.text) == (
        400,
        "Bad Request\npath parameter 'id': expected at least 10, got 9\n"
        "query parameter 'size': expected at most 5, got 6\n",
    )


async def test_constraint_of_a_path_parameter_alone_is_checked() -> None:
    async def show(name: Annotated[str, Meta(max_length=3)]) -> str:
        return name

    assert (await get(show, "/abc", "/{name}")).text == "abc"
    assert (await get(show, "/abcd", "/{name}")).status_code == 400


async def test_constraint_of_a_list_and_of_its_items() -> None:
    async def show(tag: Query[Annotated[list[Tag], Meta(max_length=2)]]) -> str:
        return repr(tag)

    assert (await get(show, "/?tag=ab&tag=cd")).text == "['ab', 'cd']"
    assert "expected a length of at least 2, got 'a'" in (await get(show, "/?tag=ab&tag=a")).text
    assert (
        "expected a length of at most 2, got 3" in (await get(show, "/?tag=ab&tag=cd&tag=ef")).text
    )


async def test_list_of_a_header_is_separated_by_commas() -> None:
    async def show(x_id: Header[list[int]] = []) -> str:  # noqa: B006
        return repr(x_id)

    async with app_with(show).test_client() as client:
        response = await client.get("/", headers=[("X-Id", "1, 2"), ("X-Id", "3")])
        assert response.text == "[1, 2, 3]"
        assert (await client.get("/")).text == "[]"


async def test_list_of_a_header_has_as_many_members_as_a_form() -> None:
    async def show(x_id: Header[list[int]]) -> str:
        return str(len(x_id))

    async with app_with(show).test_client() as client:
        assert (await client.get("/", headers={"X-Id": ",".join(["1"] * 1000)})).text == "1000"
        response = await client.get("/", headers={"X-Id": ",".join(["1"] * 1001)})
        assert (response.status_code, "at most 1000 members of x-id" in response.text) == (
            400,
            True,
        )


async def test_default_that_can_change_is_copied_for_each_request() -> None:
    async def show(page: Query[list[int]] = [1], x: Header[Any] = None) -> str:  # noqa: B006
        page.append(2)
        return repr(page)

    async def show_list(page: Query[list[int]] = [1]) -> str:  # noqa: B006
        page.append(2)
        return repr(page)

    async with app_with(show_list).test_client() as client:
        assert (await client.get("/")).text == "[1, 2]"
        assert (await client.get("/")).text == "[1, 2]"
    assert "a header holds texts: annotate it with str" in await refusal(show)


async def test_absent_optional_parameter_is_none() -> None:
    async def show(a: Query[int | None], b: Header[int | None], c: Cookie[int | None]) -> str:
        return f"{a} {b} {c}"

    assert (await get(show)).text == "None None None"


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (Query[dict[str, int]], "a query holds texts: annotate it with str"),
        (Query[int | str], "a query holds texts"),
        (Cookie[list[int]], "a cookie has one value, not a list"),
        (Query[Annotated[str, Meta(ge=1)]], "the constraint ge=1 is for numbers"),
    ],
)
async def test_type_that_a_parameter_cannot_have(hint: Any, text: str) -> None:
    async def show(x: object) -> str:
        return repr(x)

    show.__annotations__["x"] = hint
    said = await refusal(show)
    assert "show at test_parameters.py:" in said
    assert f"parameter 'x': {text}" in said


async def test_nested_dataclass_in_a_query_is_a_configuration_error() -> None:
    async def show(outer: Query[Outer]) -> str:
        return repr(outer)

    assert "the field 'page' is no scalar or list of scalars, so a query can't" in (
        await refusal(show)
    )


async def test_one_name_for_two_parameters_is_a_configuration_error() -> None:
    async def show(page: Query[Page], after: str = "") -> str:
        return repr(page)

    assert "'after' and 'page' both read 'after' from the query: rename one" in await refusal(show)
