"""A user's function, through the decorators around it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import Enum
from typing import (  # noqa: F401 - some are named in texts
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Optional,
    Union,
    get_type_hints,
)

import pytest
from support.endpoints import Endpoint, app_with, get, refusal

from microweb import App, ConfigurationError, Request
from microweb.endpoints.signature import hints_of

if TYPE_CHECKING:
    from collections.abc import Hashable as OnlyForCheckers


class Color(Enum):
    RED = "red"
    BLUE = "blue"


async def test_request_by_an_annotation_for_checkers_alone() -> None:
    async def show(whatever: object) -> str:
        return str(isinstance(whatever, Request))

    show.__annotations__["whatever"] = "web.Request"
    assert (await get(show)).text == "True"


async def test_one_unknown_annotation_does_not_hide_the_others() -> None:
    async def show(id: int) -> OnlyForCheckers:
        return repr(id)

    assert (await get(show, "/5", "/{id}")).text == "5"


async def test_annotation_that_can_not_be_resolved_is_named() -> None:
    async def show(key: OnlyForCheckers) -> str:
        return ""

    assert "its annotation OnlyForCheckers can't be resolved: define" in await refusal(show)


@pytest.mark.parametrize("endpoint", [5, Color, None, "show"])
def test_endpoint_that_is_no_function(endpoint: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a function as endpoint, got"):
        App().get("/")(endpoint)


def opaque(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def opaque_def(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def login_required(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(request: Request, *args: Any, **kwargs: Any) -> Any:
        if request.query.get("user") is None:
            return "log in", 401
        return await function(request, *args, **kwargs)

    return wrapper


def unannotated(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(req, *args, **kwargs):  # type: ignore[no-untyped-def]
        assert isinstance(req, Request)
        return await function(req, *args, **kwargs)

    return wrapper


def first_of_args(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        assert isinstance(args[0], Request)
        return await function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "decorate", [opaque, opaque_def, login_required, unannotated, first_of_args]
)
async def test_decorator_around_request_path_and_query(
    decorate: Callable[[Endpoint], Endpoint],
) -> None:
    @decorate
    async def show(request: Request, id: int, user: str, page: int = 1) -> str:
        return f"{request.method} {id!r} {user} {page}"

    assert (await get(show, "/5?user=bob&page=2", "/{id}")).text == "GET 5 bob 2"


@pytest.mark.parametrize("decorate", [opaque, opaque_def])
async def test_decorator_around_an_endpoint_without_request(
    decorate: Callable[[Endpoint], Endpoint],
) -> None:
    @decorate
    async def show(id: int, page: int = 1) -> str:
        return f"{id!r} {page}"

    assert (await get(show, "/5?page=2", "/{id}")).text == "5 2"


async def test_decorators_stack() -> None:
    @opaque
    @login_required
    @opaque_def
    async def show(request: Request, id: int) -> str:
        return f"{request.method} {id}"

    async with app_with(show, "/{id}").test_client() as client:
        assert (await client.get("/5")).status_code == 401
        assert (await client.get("/5?user=bob")).text == "GET 5"


async def test_decorator_inside_another_wants_the_request_that_the_endpoint_does_not() -> None:
    def logged(function: Endpoint) -> Endpoint:
        @functools.wraps(function)
        async def wrapper(request: Request, *args: Any, **kwargs: Any) -> Any:
            return f"{request.method} {await function(*args, **kwargs)}"

        return wrapper

    @opaque
    @logged
    async def show(id: int) -> str:
        return str(id)

    assert (await get(show, "/5", "/{id}")).text == "GET 5"


async def test_request_that_is_not_first_goes_by_name() -> None:
    @opaque
    async def show(id: int, *, request: Request) -> str:
        return f"{id} {request.method}"

    assert (await get(show, "/5", "/{id}")).text == "5 GET"


async def test_positional_only_parameters_inside_a_decorator() -> None:
    @opaque
    async def show(request: Request, id: int, /) -> str:
        return f"{id} {request.method}"

    assert (await get(show, "/5", "/{id}")).text == "5 GET"


async def test_decorator_with_args_alone() -> None:
    def decorate(function: Endpoint) -> Endpoint:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    @decorate
    async def show(request: Request, id: int) -> str:
        return f"{id} {request.method}"

    assert (await get(show, "/5", "/{id}")).text == "5 GET"


async def test_decorator_takes_a_path_parameter_and_gives_something_else() -> None:
    def with_user(function: Endpoint) -> Endpoint:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, user={"id": kwargs.pop("id")}, **kwargs)

        return wrapper

    @with_user
    async def show(request: Request, user: dict[str, int]) -> object:
        return user

    assert (await get(show, "/5", "/{id:int}")).json() == {"id": 5}


async def test_decorator_with_a_parameter_of_its_own() -> None:
    def paged(function: Endpoint) -> Endpoint:
        async def wrapper(*args: Any, page: int = 1, **kwargs: Any) -> Any:
            return f"{page} {await function(*args, **kwargs)}"

        wrapper.__wrapped__ = function  # type: ignore[attr-defined]
        return wrapper

    @paged
    async def show(request: Request) -> str:
        return request.method

    assert (await get(show, "/?page=3")).text == "3 GET"


async def test_decorator_around_a_plain_def_runs_in_a_thread() -> None:
    import threading

    main = threading.get_ident()

    @opaque_def
    def show(id: int) -> str:
        return f"{id} {threading.get_ident() != main}"

    assert (await get(show, "/5", "/{id}")).text == "5 True"


def undecorated(
    a: int, b: None, c: str, d: list[int], e: dict[str, list[Color]], f: Any, g: float | None
) -> Color: ...


def with_names(a: int, b: Color, c: type[Color], d: None, e: NoSuchName) -> bytes: ...  # noqa: F821


@pytest.mark.parametrize("left_out", [(), ("g",), ("f", "g"), ("e", "f", "g")])
def test_the_hints_are_those_of_typing(left_out: tuple[str, ...]) -> None:
    def show() -> None: ...

    known = {name: hint for name, hint in undecorated.__annotations__.items()}
    show.__annotations__ = {name: hint for name, hint in known.items() if name not in left_out}
    assert hints_of(show) == get_type_hints(show, include_extras=True)
    assert hints_of(undecorated) == get_type_hints(undecorated, include_extras=True)


@pytest.mark.parametrize(
    "annotation",
    [
        "Annotated[int, 'a', Color]",
        "Annotated[int | None, None]",
        "Annotated['Color', 1]",
        "Annotated[list['Color'], 1]",
        "Optional[Color]",
        "Union[int, 'Color', None]",
        "Union[int, Literal['Color']]",
        "Literal['Color']",
        "list[Annotated[int, 1]]",
        "dict[str, Optional['Color']]",
        "tuple[int, ...]",
        "'Color'",
    ],
)
def test_the_hints_of_aliases_are_those_of_typing(annotation: str) -> None:
    def show(of: object) -> None: ...

    show.__annotations__["of"] = annotation
    found, expected = hints_of(show), get_type_hints(show, include_extras=True)
    assert found == expected
    assert repr(found) == repr(expected)  # unions in another order are equal


def test_the_hints_of_names_that_are_not_defined_are_texts() -> None:
    expected = {"a": int, "b": Color, "c": type[Color], "d": type(None), "return": bytes}
    assert hints_of(with_names) == {**expected, "e": "NoSuchName"}


def test_the_hints_of_a_decorated_function_are_from_its_own_module() -> None:
    @functools.wraps(with_names)
    def outer(*args: Any) -> Any: ...

    assert hints_of(outer)["b"] is Color
