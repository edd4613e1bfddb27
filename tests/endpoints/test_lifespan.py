"""The life of an app: lifespans, on_startup and on_shutdown."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from support.apps import client_of, noted

from microweb import (
    App,
    ConfigurationError,
    Request,
)


async def test_a_hook_may_have_parameters_that_are_given_by_name_alone() -> None:
    seen: list[object] = []

    def by_name(*, number: int = 1) -> None:
        seen.append(number)

    async def with_options(**options: object) -> None:
        seen.append(options)

    app = App()
    app.on_startup(by_name)
    app.on_shutdown(with_options)
    async with app.test_client():
        assert seen == [1]
    assert seen == [1, {}]


def test_hooks_of_a_life_take_the_app_or_nothing() -> None:
    app = App()
    with pytest.raises(ConfigurationError, match=r"lifespan takes \(app\), this takes \(\)"):
        app.lifespan(lambda: None)
    for role in ("on_startup", "on_shutdown"):
        register = getattr(app, role)
        with pytest.raises(ConfigurationError, match=rf"{role} takes \(app\), this takes \(a, b\)"):
            register(lambda a, b: None)
        with pytest.raises(
            ConfigurationError, match=rf"^{role}: expected a function, got 'startup'"
        ):
            register("startup")
        for function in (lambda: None, lambda app: None, lambda *args: None):
            assert register(function) is function


async def test_lifespans_unwind_in_reverse_and_fill_the_state() -> None:
    app, log = App(), []
    app.lifespan(noted(log, "a"))
    app.on_startup(lambda: log.append("up"))

    @app.on_shutdown
    async def down() -> None:
        log.append("down")

    @app.lifespan
    @contextlib.asynccontextmanager
    async def last(app: App) -> AsyncIterator[None]:
        log.append("last")
        yield
        log.append("/last")

    @app.get("/")
    async def show(request: Request) -> list[bool]:
        return [request.app.state.a]

    async with client_of(app) as client:
        assert (await client.get("/")).json() == [True]
        assert log == ["a", "up", "last"]
    assert log == ["a", "up", "last", "/last", "down", "/a"]


async def test_hooks_may_take_the_app() -> None:
    app = App()

    @app.on_startup
    async def up(app: App) -> None:
        app.state.up = True

    async with app.life():
        assert app.state.up is True


async def test_lifespan_of_a_mounted_app_runs_inside_its_parents() -> None:
    log: list[str] = []
    app, inner = App(), App()
    inner.lifespan(noted(log, "inner"))
    app.mount("/m", inner)
    app.lifespan(noted(log, "app"))
    async with app.life():
        assert inner.state.inner is True
    assert log == ["app", "inner", "/inner", "/app"]


async def test_startup_that_fails_unwinds_what_was_entered() -> None:
    app, log = App(), []
    app.lifespan(noted(log, "a"))

    @app.on_startup
    def fail() -> None:
        raise ValueError("no database")

    app.on_shutdown(lambda: log.append("never"))
    with pytest.raises(ValueError, match="no database"):
        async with app.life():
            pytest.fail("the app must not start")
    assert log == ["a", "/a"]


async def test_shutdown_that_fails_does_not_stop_the_others() -> None:
    app, log = App(), []
    app.lifespan(noted(log, "a"))

    @app.on_shutdown
    async def fail() -> None:
        raise ValueError("no")

    app.on_shutdown(lambda: log.append("b"))
    with pytest.raises(ValueError, match="no"):
        async with app.life():
            pass
    assert log == ["a", "b", "/a"]


async def test_one_app_can_live_many_times() -> None:
    app, log = App(), []
    app.lifespan(noted(log, "a"))
    for _ in range(2):
        async with app.life():
            pass
    assert log == ["a", "/a"] * 2


async def test_lifespan_that_never_yields_is_refused() -> None:
    app = App()

    @app.lifespan
    async def up(app: App) -> None:
        pass

    refusal = r"up at test_lifespan.py:\d+: write a lifespan as"
    with pytest.raises(ConfigurationError, match=refusal):
        async with app.life():
            pass


async def test_lifespan_that_yields_no_dict_is_refused() -> None:
    app = App()

    @app.lifespan
    async def up(app: App) -> AsyncIterator[int]:
        yield 5

    with pytest.raises(ConfigurationError, match=r"yield a dict for app.state or nothing, got 5"):
        async with app.life():
            pass


def test_a_name_that_no_one_has_set_names_its_remedy() -> None:
    app = App()
    app.state.board = []
    assert vars(app.state) == {"board": []}
    assert not hasattr(app.state, "db")
    with pytest.raises(AttributeError, match=r"^app.state has no 'db': set it, or yield a dict"):
        app.state.db  # noqa: B018 - reading it is the test
