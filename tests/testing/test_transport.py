"""The transport in memory: a request raises the app's errors, and the server gets the options."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from support.tested_apps import Broken, with_lifespan

from microweb import App, ConfigurationError, Request, Response, abort
from microweb.testing.transport import MemoryTransport


async def test_memory_transport_is_for_any_httpx_client(app: App) -> None:
    transport = MemoryTransport(app, max_body=4)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        assert (await client.post("/echo", content=b"four")).text == "four"
        assert (await client.post("/echo", content=b"fifth")).status_code == 413


async def test_memory_transport_can_be_used_again() -> None:
    events: list[str] = []
    transport = MemoryTransport(with_lifespan(events))
    for _ in range(2):
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get("http://testserver/")
    assert events == ["enter", "request", "leave"] * 2


def test_unknown_option_is_a_configuration_error(app: App) -> None:
    with pytest.raises(ConfigurationError, match="max_bodies"):
        MemoryTransport(app, max_bodies=1)  # type: ignore[call-arg]


# --- errors


async def test_error_of_an_endpoint_comes_out_of_the_await(app: App) -> None:
    raised = Broken("this very one")

    @app.get("/raise")
    async def fail() -> None:
        raise raised

    async with app.test_client() as client:
        with pytest.raises(Broken) as caught:
            await client.get("/raise")
        assert (await client.get("/")).text == "hello"
    assert caught.value is raised
    assert "fail" in [entry.name for entry in caught.traceback]


async def test_error_of_a_middleware_comes_out_of_the_await(app: App) -> None:
    @app.middleware
    async def fail(request: Request, call_next: object) -> Response:
        raise Broken("in front")

    async with app.test_client() as client:
        with pytest.raises(Broken, match="in front"):
            await client.get("/")


async def test_without_raise_errors_it_is_a_500(app: App) -> None:
    async with app.test_client(raise_errors=False) as client:
        response = await client.get("/broken")
    assert response.status_code == 500
    assert "as told" not in response.text


async def test_error_that_a_handler_answers_is_not_raised(app: App) -> None:
    @app.errorhandler(Broken)
    async def mend(error: Broken) -> tuple[str, int]:
        return f"mended: {error}", 409

    async with app.test_client() as client:
        response = await client.get("/broken")
    assert (response.status_code, response.text) == (409, "mended: as told")


@pytest.mark.parametrize("status", [404, 500])
async def test_http_error_is_an_answer(app: App, status: int) -> None:
    @app.get("/abort")
    async def give_up() -> None:
        abort(status)

    async with app.test_client() as client:
        assert (await client.get("/abort")).status_code == status


async def test_returned_500_is_not_raised(app: App) -> None:
    @app.get("/returned")
    async def returned() -> tuple[str, int]:
        return "sorry", 500

    async with app.test_client() as client:
        assert (await client.get("/returned")).text == "sorry"


async def test_error_inside_a_stream_comes_out_of_its_iteration(app: App) -> None:
    @app.get("/cut")
    async def cut() -> AsyncIterator[str]:
        yield "begun"
        raise Broken("half-way")

    async with app.test_client() as client:
        with pytest.raises(Broken, match="half-way"):
            await client.get("/cut")
    async with app.test_client(raise_errors=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/cut")


async def test_answer_that_http_cannot_carry_is_raised(app: App) -> None:
    @app.get("/length")
    async def length() -> Response:
        return Response(b"four", headers={"Content-Length": "5"})

    async with app.test_client() as client:
        with pytest.raises(Exception, match="Content-Length"):
            await client.get("/length")
