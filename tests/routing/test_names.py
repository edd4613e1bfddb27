"""The names of routes, and the URLs that `url_for` returns for them."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from support.apps import hello

from microweb import App, Router
from microweb.routing.names import RouteNames
from microweb.routing.patterns import parse_pattern


def test_a_name_stands_for_one_pattern() -> None:
    names = RouteNames()
    names.add("user", parse_pattern("/u/{id:int}"))
    names.add("user", parse_pattern("/u/{id:int}"))
    assert names.url_for("user", {"id": 5, "tab": "a b"}) == "/u/5?tab=a+b"
    names.add("user", parse_pattern("/users/{id:int}"))
    with pytest.raises(LookupError, match="2 routes have the name 'user'"):
        names.url_for("user", {"id": 5})


class Color(Enum):
    RED = "red"


def test_url_for_names_and_query() -> None:
    app = App()

    @app.get("/u/{id}/{rest:path}")
    async def show(id: int, rest: str) -> str:
        return ""

    assert app.url_for("show", id=5, rest="a b/c") == "/u/5/a%20b/c"
    url = app.url_for("show", id=5, rest="a", page=2, q="ä&", flag=True, none=None, name="x")
    assert url == "/u/5/a?page=2&q=%C3%A4%26&flag=true&name=x"
    assert app.url_for("show", id=5, rest="a", color=Color.RED, tag=["a", 1]) == (
        "/u/5/a?color=red&tag=a&tag=1"
    )


@pytest.mark.parametrize(
    ("params", "error"),
    [({}, TypeError), ({"id": "x"}, ValueError), ({"id": None}, TypeError)],
)
def test_url_for_refuses_what_does_not_fit(params: dict[str, Any], error: type[Exception]) -> None:
    app = App()

    @app.get("/u/{id}")
    async def show(id: int) -> str:
        return ""

    with pytest.raises(error, match="id"):
        app.url_for("show", **params)


def test_url_for_of_an_unknown_or_ambiguous_name() -> None:
    app, router = App(), Router("/r", name="r")
    app.get("/a")(hello)
    app.get("/b")(hello)
    app.post("/a", name="one")(hello)
    app.get("/one", name="other")(hello)
    router.get("/x")(hello)
    app.include(router)
    assert app.url_for("r.hello") == "/r/x"
    app.freeze()
    assert app.url_for("one") == "/a"
    with pytest.raises(
        LookupError, match="2 routes have the name 'hello': give each its own name="
    ):
        app.url_for("hello")
    with pytest.raises(LookupError, match="got 'nobody': use one of "):
        app.url_for("nobody")
    with pytest.raises(LookupError, match=r"got 'helo': did you mean 'hello'\?$"):
        app.url_for("helo")
    with pytest.raises(LookupError, match=r"got 'hello': the application has no routes$"):
        App().url_for("hello")


def test_routes_of_one_name_and_one_path_are_one() -> None:
    app = App()
    app.get("/u/{id}", name="user")(hello)
    app.put("/u/{id}", name="user")(hello)
    assert app.url_for("user", id="a") == "/u/a"


def test_what_other_frameworks_pass_to_url_for_is_answered_with_ours() -> None:
    app = App()
    app.get("/a/{_external}", name="own")(hello)
    app.get("/a", name="a")(hello)
    assert app.url_for("own", _external="1") == "/a/1"
    for key in ("_external", "_scheme", "_anchor", "_method"):
        with pytest.raises(TypeError, match=rf"^url_for: leave {key} out: "):
            app.url_for("a", **{key: "x"})
