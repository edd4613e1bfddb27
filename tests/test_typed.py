"""The markers are aliases of Annotated, so type checkers see the type itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Annotated, Any, get_args

import pytest
from support import typed_app
from support.checkers import CHECKERS, wrong_lines_of

from microweb.errors import ConfigurationError
from microweb.openapi import document
from microweb.typed import Cookie, FormData, From, Header, Json, Meta, Query


@pytest.mark.parametrize(
    ("marker", "source"),
    [
        (Json, "json"),
        (FormData, "form"),
        (Query, "query"),
        (Header, "header"),
        (Cookie, "cookie"),
    ],
)
def test_marker_is_an_alias_of_annotated(marker: Any, source: Any) -> None:
    assert get_args(marker[int]) == (int, From(source))
    assert get_args(marker[int | None]) == (int | None, From(source))
    assert marker[int] == marker[int]


@pytest.mark.parametrize("marker", [Json, FormData, Query, Header, Cookie])
def test_marker_that_is_called_names_the_remedy(marker: Any) -> None:
    name = repr(marker).removeprefix("microweb.typed.")
    for arguments, keywords in (((), {}), ((1,), {}), ((None,), {}), ((), {"ge": 1})):
        with pytest.raises(ConfigurationError) as caught:
            marker(*arguments, **keywords)
        assert str(caught.value) == (
            f"{name} is not called: write `name: {name}[T]`, with a default as in "
            "`limit: Query[int] = 1`, and constraints as `Annotated[int, Meta(ge=1)]`"
        )


def test_metadata_may_stand_inside_and_outside_a_marker() -> None:
    inside: Any = Query[Annotated[int, Meta(ge=1)]]
    outside: Any = Annotated[Query[int], Meta(ge=1)]
    assert set(get_args(inside)) == set(get_args(outside))


def test_meta_is_hashable_and_equal_by_value() -> None:
    assert {Meta(ge=1), Meta(ge=1), Meta(ge=2)} == {Meta(ge=1), Meta(ge=2)}


def test_meta_takes_only_keywords() -> None:
    with pytest.raises(TypeError):
        Meta(1)  # type: ignore[call-arg]


def show(note: Json[dict[str, int]], limit: Query[int] = 3) -> str:
    """A call of an endpoint is checked: mypy refuses a wrong one in tests of users."""
    return f"{note['a'] + limit}"


def test_endpoint_can_be_called_directly() -> None:
    assert show({"a": 1}) == "4"
    assert show({"a": 1}, limit=1) == "2"


@pytest.mark.parametrize("check", CHECKERS)
def test_a_type_checker_sees_the_type_of_each_marker(
    check: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    path = Path(copy(typed_app.__file__, tmp_path))
    expected = wrong_lines_of(path)
    assert len(expected) == 8
    assert check(path) == expected


def test_the_endpoints_that_type_checkers_see_are_registered() -> None:
    assert set(document(typed_app.app)["paths"]) == {
        "/orders",
        "/r",
        "/r/{id}",
        "/r/pictures",
        "/r/point",
        "/r/events",
        "/r/wrong",
    }
