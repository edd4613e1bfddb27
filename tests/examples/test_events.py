"""The examples of server-sent events: by the test client, on a socket, and in a browser."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from support import browser
from support.processes import ROOT
from support.serving import DEADLINE_S, get, on_loopback, peer_of, post

from microweb.testing.live import live_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NO_BROWSER = browser.why_not()
in_a_browser = pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("clock", monkeypatch)
    monkeypatch.setattr(module, "TICK_S", 0.01)
    return module


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("tokens", monkeypatch)
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    return module


@pytest.mark.parametrize(
    ("last", "first"), [(None, "1"), ("41", "42"), ("x", "1"), ("9" * 99, "1")]
)
async def test_clock_goes_on_where_the_client_was(
    clock: ModuleType, last: str | None, first: str
) -> None:
    client = clock.app.test_client()
    async with client, client.events("/ticks", last_event_id=last) as events:
        tick = await anext(events)
        assert (tick.id, tick.retry, list(tick.json())) == (first, 1000, ["time"])
        assert int((await anext(events)).id) == int(first) + 1


async def test_tokens_are_computed_for_a_reader_alone(tokens: ModuleType) -> None:
    async with tokens.app.test_client() as client:
        async with client.events("/answer", method="POST", content=" why? ") as events:
            words = [(await anext(events)).json()["word"] for _ in range(3)]
            assert words == ["You ask: why?", "A", "stream"]
            assert (await client.get("/work")).json()["readers"] == 1
        assert (await client.get("/work")).json()["readers"] == 0


async def test_clients_on_sockets_are_served_and_their_leaving_is_seen(
    clock: ModuleType, tokens: ModuleType
) -> None:
    async with on_loopback(clock.app) as server, peer_of(server) as peer:
        await peer.send(get("/ticks", "Last-Event-ID: 6"))
        assert b"id: 7\nretry: 1000\ndata: {" in await peer.read_until(b"}\n\n")
    async with on_loopback(tokens.app) as server:
        async with peer_of(server) as peer:
            await peer.send(post("/answer", b"why?"))
            await peer.read_until(b"You ask: why?")
        async with asyncio.timeout(DEADLINE_S):
            while tokens.app.state.readers:
                await asyncio.sleep(0.01)


# In a browser


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 800, "height": 600})
    page = context.new_page()
    page.set_default_timeout(10_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []


@in_a_browser
def test_page_of_the_clock_comes_again_and_goes_on(clock: ModuleType, page: Page) -> None:
    with live_server(clock.app) as server:
        page.goto(server.url)
        page.wait_for_function("/tick [5-9]/.test(document.body.innerText)")
        assert page.locator("time").inner_text().count(":") == 2
        page.evaluate("window.isSame = true")
    page.get_by_text("connection lost, reconnecting").wait_for()
    told = page.evaluate("source.readyState")
    assert told == 0  # it is connecting
    clock.TICK_S = 3600.0  # so the next tick is the first of the new stream
    with live_server(clock.app, port=server.port):
        page.wait_for_function("/tick [0-9]+/.test(document.body.innerText)")
        assert int(page.locator("output").inner_text().removeprefix("tick ")) >= 6
        assert page.evaluate("window.isSame")


@in_a_browser
def test_stop_button_stops_the_computing(tokens: ModuleType, page: Page) -> None:
    with live_server(tokens.app) as server:
        page.goto(server.url)
        page.get_by_role("button", name="Ask").click()
        page.get_by_text("You ask: Why stop? A stream ends with its reader.").wait_for()
        page.get_by_text("words computed, computing").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("words computed, stopped").wait_for()
        assert tokens.app.state.readers == 0
        made = tokens.app.state.made
        assert page.locator("#work").inner_text() == f"{made} words computed, stopped"
    page.get_by_text("the server is gone").wait_for()


@in_a_browser
@pytest.mark.parametrize("name", ["clock", "tokens"])
def test_pages_fit_a_phone_and_the_dark(
    name: str, request: pytest.FixtureRequest, page: Page
) -> None:
    with live_server(request.getfixturevalue(name).app) as server:
        page.goto(server.url)
        colour = "getComputedStyle(document.body).color"
        light = page.evaluate(colour)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(colour) != light
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == 320
