"""Tests of an app: without a socket, with raw bytes, and over a real socket.

$ pytest examples/testing_an_app.py
"""

import urllib.request
from collections.abc import AsyncIterator

import pytest

from microweb import App
from microweb.testing import live_server

app = App()


@app.lifespan
async def open_shop(app: App) -> AsyncIterator[dict[str, object]]:
    """Fill the shelves before the first request. The yielded dict is merged into `app.state`."""
    yield {"shelves": {"tea": 3}}


@app.get("/stock/{item}")
async def stock(item: str) -> dict[str, int]:
    """Return the number that is left."""
    return {item: app.state.shelves[item]}


@pytest.mark.asyncio
async def test_stock_is_returned() -> None:
    """The client is an httpx.AsyncClient; `async with` runs the lifespan."""
    async with app.test_client() as client:
        assert (await client.get("/stock/tea")).json() == {"tea": 3}


@pytest.mark.asyncio
async def test_error_is_raised_by_the_client() -> None:
    """A test then shows the endpoint's traceback. `raise_errors=False` returns the 500 instead."""
    async with app.test_client() as client:
        with pytest.raises(KeyError, match="coffee"):
            await client.get("/stock/coffee")


@pytest.mark.asyncio
async def test_request_without_host_is_refused() -> None:
    """The bytes go through the same parser as bytes from a socket."""
    async with app.test_client() as client:
        answer = await client.raw(b"GET /stock/tea HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_real_socket() -> None:
    """Test with a browser, curl or another HTTP client that needs a real socket."""
    with live_server(app) as server, urllib.request.urlopen(f"{server.url}/stock/tea") as answer:
        assert answer.read() == b'{"tea":3}'
