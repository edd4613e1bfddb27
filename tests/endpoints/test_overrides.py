"""`app.override`: other functions in place of dependencies, for a time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import pytest

from microweb import App, ConfigurationError, WebSocket
from microweb.testing import live_server
from microweb.typed import Depends, Query


async def session() -> str:
    return "real"


async def user(session: Annotated[str, Depends(session)]) -> str:
    return f"user of {session}"


Session = Annotated[str, Depends(session)]
User = Annotated[str, Depends(user)]


async def show(user: User) -> str:
    return user


def app_of(endpoint: Any = show) -> App:
    app = App()
    app.get("/")(endpoint)
    return app


async def fake() -> str:
    return "fake"


async def other() -> str:
    return "other"


async def text(client: Any, path: str = "/") -> str:
    return str((await client.get(path)).text)


async def test_an_override_holds_inside_the_with() -> None:
    app = app_of()
    async with app.test_client() as client:
        with app.override({session: fake}):
            assert await text(client) == "user of fake"
        assert await text(client) == "user of real"


async def test_an_override_needs_no_other_dependencies() -> None:
    app = app_of()
    async with app.test_client() as client:
        with app.override({user: lambda: "me"}):
            assert await text(client) == "me"


async def test_it_ends_with_an_exception() -> None:
    app = app_of()
    async with app.test_client() as client:
        with pytest.raises(KeyError), app.override({session: fake}):
            raise KeyError
        assert await text(client) == "user of real"


async def test_overlapping_overrides_do_not_restore_each_other() -> None:
    app = app_of()
    first, second = app.override({session: fake}), app.override({session: other})
    async with app.test_client() as client:
        with first:
            second.__enter__()
            assert await text(client) == "user of other"
        assert await text(client) == "user of other"
        second.__exit__(None, None, None)
        assert await text(client) == "user of real"


async def test_a_request_under_way_keeps_its_functions() -> None:
    entered, goes_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        entered.set()
        await goes_on.wait()
        yield "slow"

    async def second(session: Session) -> str:
        return session

    async def both(first: Annotated[str, Depends(slow)], session: Session) -> str:
        return f"{first} {session}"

    app = app_of(both)
    async with app.test_client() as client:
        request = asyncio.ensure_future(text(client))
        await entered.wait()
        with app.override({session: fake}):
            goes_on.set()
            assert await request == "slow real"
            assert await text(client) == "slow fake"


async def test_an_override_has_parameters_of_its_own() -> None:
    async def from_query(name: Query[str], user: User) -> str:
        return name

    async def fake_user(name: Query[str]) -> str:
        return f"user {name}"

    app = app_of()
    async with app.test_client() as client:
        with app.override({user: fake_user}):
            assert (await client.get("/")).status_code == 400
            assert await text(client, "/?name=ann") == "user ann"
        with (
            pytest.raises(ConfigurationError, match="form a circle"),
            app.override({user: from_query}),
        ):
            pass
        assert await text(client) == "user of real"


async def test_it_holds_for_mounted_apps() -> None:
    inner, outer = app_of(), App()
    outer.mount("/inner", inner)
    async with outer.test_client() as client:
        with outer.override({session: fake}):
            assert await text(client, "/inner/") == "user of fake"
            with inner.override({session: other}):
                assert await text(client, "/inner/") == "user of other"
        assert await text(client, "/inner/") == "user of real"


async def test_it_holds_for_a_real_server() -> None:
    app = app_of()
    with live_server(app) as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            with app.override({session: fake}):
                assert await text(client) == "user of fake"
            assert await text(client) == "user of real"


async def test_it_holds_for_websockets() -> None:
    app = App()

    @app.websocket("/")
    async def talk(socket: WebSocket, session: Session) -> None:
        await socket.send(session)

    async with app.test_client() as client:
        with app.override({session: fake}):
            async with client.websocket("/") as socket:
                assert await socket.receive() == "fake"


async def test_methods_are_overridden() -> None:
    class Pool:
        async def session(self) -> str:
            return "pool"

    pool = Pool()

    async def show(session: Annotated[str, Depends(pool.session)]) -> str:
        return session

    app = app_of(show)
    async with app.test_client() as client:
        with app.override({pool.session: fake}):
            assert await text(client) == "fake"


def test_a_function_that_no_route_depends_on_is_refused() -> None:
    override = app_of().override({fake: other})
    with pytest.raises(ConfigurationError, match="override: no route depends on fake at"), override:
        pass


def test_a_value_in_place_of_a_function_is_refused() -> None:
    override = app_of().override({session: 5})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match="got 5: write `lambda: value`"), override:
        pass


async def test_an_object_that_is_called_is_overridden() -> None:
    @dataclass(eq=False)
    class Limit:
        size: int

        def __call__(self) -> int:
            return self.size

    limit = Limit(3)

    async def show(limit: Annotated[int, Depends(limit)]) -> str:
        return str(limit)

    app = app_of(show)
    async with app.test_client() as client:
        with app.override({limit: Limit(4)}):
            assert await text(client) == "4"
        assert await text(client) == "3"
