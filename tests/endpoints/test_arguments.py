"""Arguments of an endpoint: the request, parameters of the path and of the query."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import pytest
from support.endpoints import app_with, get, refusal

from microweb import App, ConfigurationError, Request, UploadFile

ID = "6f1c3d1e-5b1a-4f61-9c55-1d2f3a4b5c6d"


class Color(Enum):
    RED = "red"
    BLUE = "blue"


async def test_request_by_name() -> None:
    async def show(request):  # type: ignore[no-untyped-def]
        return request.method

    assert (await get(show)).text == "GET"


async def test_request_by_annotation() -> None:
    async def show(whatever: Request) -> str:
        return whatever.method

    assert (await get(show)).text == "GET"


async def test_endpoint_without_parameters() -> None:
    async def show() -> str:
        return "hi"

    assert (await get(show)).text == "hi"


async def test_request_may_stand_behind_other_parameters() -> None:
    async def show(id: int, request: Request, page: int = 1) -> str:
        return f"{id} {request.method} {page}"

    assert (await get(show, "/5?page=2", "/{id}")).text == "5 GET 2"


async def test_positional_only_and_keyword_only_parameters() -> None:
    async def show(request: Request, id: int, /, page: int, *, q: str = "-") -> str:
        return f"{request.method} {id} {page} {q}"

    assert (await get(show, "/5?page=2&q=x", "/{id}")).text == "GET 5 2 x"


@pytest.mark.parametrize(
    ("kind", "sent", "shown"),
    [(int, "5", "5"), (float, "1.5", "1.5"), (UUID, ID, f"UUID('{ID}')"), (str, "5", "'5'")],
)
async def test_path_parameter_by_annotation(kind: type, sent: str, shown: str) -> None:
    async def show(id: object) -> str:
        return repr(id)

    show.__annotations__["id"] = kind
    assert (await get(show, f"/u/{sent}", "/u/{id}")).text == shown


async def test_path_parameter_that_does_not_fit_its_annotation_is_404() -> None:
    async def show(id: int) -> str:
        return str(id)

    assert (await get(show, "/u/x", "/u/{id}")).status_code == 404


async def test_path_parameter_without_annotation_is_a_str() -> None:
    async def show(id):  # type: ignore[no-untyped-def]
        return repr(id)

    assert (await get(show, "/u/5", "/u/{id}")).text == "'5'"


async def test_rest_of_the_path() -> None:
    async def show(rest: str) -> str:
        return rest

    assert (await get(show, "/f/a/b%2Fc", "/f/{rest:path}")).text == "a/b/c"


async def test_path_and_annotation_that_disagree() -> None:
    async def show(id: str) -> str:
        return id

    text = await refusal(show, "/u/{id:int}")
    assert "show at test_arguments.py:" in text
    assert "'id' is str in its annotation but int in the path: make them agree" in text


@pytest.mark.parametrize("kind", [bool, date, list[int], Color])
async def test_annotation_that_no_path_parameter_has(kind: object) -> None:
    async def show(id: object) -> str:
        return repr(id)

    show.__annotations__["id"] = kind
    assert "annotate it with str, int, float or UUID" in await refusal(show, "/{id}")


async def test_own_converter_has_any_annotation() -> None:
    async def show(day: date) -> str:
        return repr(day)

    app = App()
    app.converter("date", r"\d{4}-\d\d-\d\d", date.fromisoformat, date.isoformat)
    app.get("/{day:date}")(show)
    async with app.test_client() as client:
        assert (await client.get("/2026-02-03")).text == "datetime.date(2026, 2, 3)"
        assert (await client.get("/2026-99-03")).status_code == 404


async def test_path_parameter_that_the_endpoint_lacks() -> None:
    async def show() -> str:
        return ""

    assert "the path has {id}, add a parameter 'id'" in await refusal(show, "/u/{id}")


@pytest.mark.parametrize(
    ("kind", "query", "shown"),
    [
        (str, "x=a%20b", "'a b'"),
        (int, "x=-5", "-5"),
        (float, "x=1e3", "1000.0"),
        (bool, "x=yes", "True"),
        (bool, "x=false", "False"),
        (UUID, f"x={ID}", f"UUID('{ID}')"),
        (Color, "x=red", "<Color.RED: 'red'>"),
        (list[int], "x=1&y=0&x=2", "[1, 2]"),
        (list[Color], "x=red", "[<Color.RED: 'red'>]"),
        (list, "x=1", "['1']"),
        (int | None, "x=1", "1"),
        (int | None, "", "None"),
        (list[int] | None, "x=1", "[1]"),
        (list[int] | None, "", "None"),
        (Annotated[int, "said"], "x=1", "1"),
        (Annotated[int | None, "said"], "", "None"),
        (str, "x=", "''"),
        (int, "x=1&x=2", "1"),
    ],
)
async def test_query_parameter(kind: object, query: str, shown: str) -> None:
    async def show(x: object) -> str:
        return repr(x)

    show.__annotations__["x"] = kind
    assert (await get(show, f"/?{query}")).text == shown


@pytest.mark.parametrize(
    ("kind", "query", "said"),
    [
        (int, "", "query parameter 'x': missing"),
        (list[int], "", "query parameter 'x': missing"),
        (int, "x=", "query parameter 'x': expected an integer, got ''"),
        (int, "x=1.0", "query parameter 'x': expected an integer, got '1.0'"),
        (int, "x=1_0", "query parameter 'x': expected an integer, got '1_0'"),
        (int, "x=" + "9" * 5000, "query parameter 'x': expected an integer, got '9999"),
        (int, f"x={2**63}", f"query parameter 'x': expected an integer of 64 bits, got '{2**63}'"),
        (float, "x=nan", "query parameter 'x': expected a number, got 'nan'"),
        (float, "x=a", "query parameter 'x': expected a number, got 'a'"),
        (bool, "x=maybe", "query parameter 'x': expected true or false, got 'maybe'"),
        (UUID, "x=1", "query parameter 'x': expected a UUID, got '1'"),
        (Color, "x=RED", "query parameter 'x': expected one of red, blue, got 'RED'"),
        (list[int], "x=1&x=b", "query parameter 'x': expected an integer, got 'b'"),
        (int | None, "x=b", "query parameter 'x': expected an integer, got 'b'"),
    ],
)
async def test_bad_query_parameter_is_a_400_that_names_it(
    kind: object, query: str, said: str
) -> None:
    async def show(x: object) -> str:
        return repr(x)

    show.__annotations__["x"] = kind
    response = await get(show, f"/?{query}")
    assert response.status_code == 400
    assert said in response.text


async def test_default_of_a_query_parameter() -> None:
    async def show(page: int = 1, tags: list[str] = []) -> str:  # noqa: B006
        tags.append("seen")
        return f"{page} {tags}"

    async with app_with(show).test_client() as client:
        assert (await client.get("/")).text == "1 ['seen']"
        assert (await client.get("/")).text == "1 ['seen']"


@pytest.mark.parametrize("kind", [complex, dict, int | str, object, list[list[int]]])
async def test_parameter_without_a_source(kind: object) -> None:
    async def show(when: object) -> str:
        return repr(when)

    show.__annotations__["when"] = kind
    text = await refusal(show)
    assert "show at test_arguments.py:" in text
    assert "'when' has no source: mark it `Json[" in text
    assert "to read it from the body, give it the name of a path parameter or 'request'" in text


async def test_parameter_without_annotation_has_no_source() -> None:
    async def show(page=1):  # type: ignore[no-untyped-def]
        return str(page)

    assert "parameter 'page' has no source" in await refusal(show)


def test_parameter_without_a_source_is_refused_at_registration() -> None:
    app = App()
    with pytest.raises(ConfigurationError, match="'unknown' has no source"):

        @app.get("/")
        async def show(unknown: dict[str, str]) -> str:
            return ""

    assert app.routes == []


async def test_args_and_kwargs_get_request_and_path_parameters() -> None:
    async def show(*args: Any, **kwargs: Any) -> str:
        (request,) = args
        return f"{request.method} {kwargs}"

    assert (await get(show, "/5?x=1", "/{id:int}")).text == "GET {'id': 5}"


async def test_named_request_is_not_in_args_again() -> None:
    async def show(request: Request, id: int, *args: Any, **kwargs: Any) -> str:
        return f"{request.method} {id} {args} {kwargs}"

    assert (await get(show, "/5/a", "/{id}/{rest}")).text == "GET 5 () {'rest': 'a'}"


@pytest.mark.parametrize("hint", [UploadFile, UploadFile | None, list[UploadFile]])
def test_file_as_a_parameter_is_pointed_to_forms(hint: Any) -> None:
    async def keep(file):  # type: ignore[no-untyped-def]
        """Not called."""

    keep.__annotations__ = {"file": hint}
    with pytest.raises(ConfigurationError, match=r"put it into a dataclass, .* FormData\[T\]$"):
        App().post("/")(keep)
