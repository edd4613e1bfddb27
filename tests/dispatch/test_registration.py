"""Checks of a route at registration, and the converters that its dependencies name."""

from dataclasses import dataclass
from typing import Annotated, Any

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


@dataclass
class Unhashable:
    """Its objects have no hash, because they are compared by their fields."""

    prefix: str = ""

    def __call__(self, value: object) -> object:
        return self.prefix + str(value)


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


@pytest.mark.parametrize("value", ["1MB", -1, True, 1.5])
@pytest.mark.parametrize("name", ["max_body", "max_json", "max_json_values"])
def test_a_limit_that_is_no_number_is_refused(name: str, value: object) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=f"^App: {name}: expected an int of 0 or more"):
        App(**limits).freeze()
    with pytest.raises(ConfigurationError, match=f"^route path '/': {name}: expected an int"):
        App().post("/", **limits)(show)


@pytest.mark.parametrize("name", ["debug", "redirect_slashes"])
def test_a_text_does_not_turn_an_option_of_an_app_on(name: str) -> None:
    inner, app = App(), App()
    setattr(inner, name, "0")  # as from a variable of the environment
    app.mount("/inner", inner)
    with pytest.raises(ConfigurationError, match=f"^App: {name}: expected True or False, got '0'"):
        app.freeze()


@pytest.mark.parametrize("default", ["str", [], Unhashable()], ids=lambda each: type(each).__name__)
def test_a_json_default_is_a_function_with_a_hash(default: Any) -> None:
    app = App()
    app.json_default = default
    with pytest.raises(ConfigurationError, match=r"^App: json_default: expected a function"):
        app.freeze()
