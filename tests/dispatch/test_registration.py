"""Checks of a route at registration, and the converters that its dependencies name."""

from typing import Annotated

import pytest

from microweb import App, ConfigurationError
from microweb.dispatch.registration import errors_are_json, pattern_of
from microweb.router import Route
from microweb.routing.patterns import BUILT_IN
from microweb.typed import Depends, Json


async def tenant(tenant_id: int) -> int:
    return tenant_id


async def total(numbers: Json[list[int]]) -> int:
    return sum(numbers)


async def show(tenant: Annotated[int, Depends(tenant)]) -> str:
    return ""


async def add(total: Annotated[int, Depends(total)]) -> str:
    return ""


def test_the_annotation_of_a_dependency_is_a_converter() -> None:
    route = Route("/{tenant_id}", ("GET",), show, "show")
    assert pattern_of(route, BUILT_IN).parameters == {"tenant_id": "int"}


def test_errors_are_json_if_a_dependency_takes_json() -> None:
    assert errors_are_json(Route("/", ("POST",), add, "add"))
    assert not errors_are_json(Route("/", ("GET",), show, "show"))


def test_a_wrong_dependency_is_refused_at_registration() -> None:
    app = App()
    with pytest.raises(ConfigurationError, match=r"path has no \{tenant_id\}"):
        app.get("/")(show)
    with pytest.raises(ConfigurationError, match="GET has no body"):
        app.get("/total")(add)
