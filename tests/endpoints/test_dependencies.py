"""The functions of dependencies: kinds, signatures, types."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import pytest

from microweb import ConfigurationError
from microweb.endpoints.dependencies import (
    Kind,
    check_type,
    dependencies_in,
    depends_in,
    inspect_dependency,
    key_of,
)
from microweb.endpoints.signature import inspect_endpoint
from microweb.typed import Depends


async def coroutine(a: int) -> int:
    return a


async def async_generator() -> AsyncIterator[int]:
    yield 1


def plain() -> int:
    return 1


def generator() -> Iterator[int]:
    yield 1


@asynccontextmanager
async def async_manager(a: int) -> AsyncIterator[str]:
    yield "a"


@contextmanager
def manager() -> Iterator[str]:
    yield "a"


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Plain:
    def __init__(self, size: int) -> None: ...


@dataclass
class Data:
    size: int


class Pair(NamedTuple):
    size: int


class Pool:
    async def session(self, a: int) -> AsyncIterator[int]:
        yield a

    @asynccontextmanager
    async def managed(self, a: int) -> AsyncIterator[int]:
        yield a

    async def __call__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (coroutine, Kind.ASYNC),
        (async_generator, Kind.ASYNC_GENERATOR),
        (plain, Kind.DEF),
        (lambda: 1, Kind.DEF),
        (generator, Kind.GENERATOR),
        (async_manager, Kind.ASYNC_GENERATOR),
        (manager, Kind.GENERATOR),
        (functools.partial(coroutine, a=1), Kind.ASYNC),
        (functools.partial(async_manager, a=1), Kind.ASYNC_GENERATOR),
        (decorated(coroutine), Kind.DECORATED),
        (decorated(plain), Kind.DEF),
        (Plain, Kind.CLASS),
        (Data, Kind.CLASS),
        (functools.partial(Plain, size=1), Kind.CLASS),
        (Pool().session, Kind.ASYNC_GENERATOR),
        (Pool().managed, Kind.ASYNC_GENERATOR),
        (Pool(), Kind.ASYNC),
    ],
)
def test_kind(function: Callable[..., object], kind: Kind) -> None:
    assert inspect_dependency(function).kind is kind


@pytest.mark.parametrize("function", [coroutine, async_manager, Plain, Data, Pair, Pool().managed])
def test_parameters_and_annotations(function: Callable[..., object]) -> None:
    [layer] = inspect_dependency(function).signature.layers
    [name] = layer.parameters
    assert layer.hints[name] is int


def test_arguments_of_a_partial_are_no_parameters() -> None:
    for function in (functools.partial(Plain, size=1), functools.partial(async_manager, a=1)):
        assert not inspect_dependency(function).signature.layers[0].parameters


def test_two_accesses_to_a_method_are_one_function() -> None:
    pool = Pool()
    assert key_of(pool.session) == key_of(pool.session)
    assert key_of(pool.session) != key_of(Pool().session)


def test_a_function_without_a_hash_has_a_key() -> None:
    @dataclass
    class Limit:
        size: int

        def __call__(self) -> int:
            return self.size

    one, other = Limit(1), Limit(1)
    assert key_of(one) == key_of(one) != key_of(other)


def test_a_value_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected a function or a class, got 5"):
        inspect_dependency(5)  # type: ignore[arg-type]


def test_two_markers_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected one Depends, got two"):
        depends_in(Annotated[int, Depends(plain), Depends(coroutine)])


def test_dependencies_are_found_however_deep() -> None:
    async def outer(a: Annotated[int, Depends(plain)]) -> int:
        return a

    async def show(
        a: Annotated[int, Depends(outer)], b: Annotated[int, Depends(plain)]
    ) -> None: ...

    found = [each.function for each in dependencies_in(inspect_endpoint(show))]
    assert found == [plain, outer]


# --- types ----------------------------------------------------------------------------


def awaiting() -> Awaitable[int]:
    return coroutine(1)


def untyped():  # type: ignore[no-untyped-def]
    return 1


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (coroutine, int),
        (async_generator, int),
        (generator, int),
        (async_manager, str),
        (awaiting, int),
        (untyped, str),
        (Plain, Plain),
        (Plain, object),
        (decorated(coroutine), str),
    ],
)
def test_a_type_that_matches(function: Callable[..., object], expected: object) -> None:
    check_type(inspect_dependency(function), expected)


@pytest.mark.parametrize(
    ("function", "expected", "given"),
    [
        (coroutine, str, "int"),
        (async_generator, str, "int"),
        (async_manager, int, "str"),
        (Plain, Data, "Plain"),
        (awaiting, str, "int"),
    ],
)
def test_another_type_than_the_annotation_is_refused(
    function: Callable[..., object], expected: type, given: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_type(inspect_dependency(function), expected)
    assert f"expected {expected.__name__} as annotated, but " in str(caught.value)
    assert f" gives {given}: make them agree" in str(caught.value)


def test_function_that_was_called_is_refused() -> None:
    async def number() -> int:
        return 1

    text = r"expected a function or a class, got <coroutine .*: pass number, without calling it$"
    with pytest.raises(ConfigurationError, match=text):
        inspect_dependency(number())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="got 5: pass the function itself, without "):
        inspect_dependency(5)  # type: ignore[arg-type]
