"""The chat of the examples: by test clients, by raw frames, and by two pages in a browser."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from support import browser
from support.processes import DEADLINE_S, ROOT

from microweb.testing import Misbehaving, TestClient, live_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NO_BROWSER = browser.why_not()

HANDSHAKE = (
    b"GET /rooms/tea/posts?name=Raw HTTP/1.1\r\nHost: a\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GAP = {"gap": True, "missed": None}


@pytest.fixture
async def client(chat: ModuleType) -> AsyncIterator[TestClient]:
    async with asyncio.timeout(DEADLINE_S), chat.app.test_client() as client:
        yield client


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, imported anew."""
    spec = importlib.util.spec_from_file_location("chat", ROOT / "examples" / "chat.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chat", module)
    spec.loader.exec_module(module)
    return module


async def until_people(client: TestClient, room: str, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while (await client.get(f"/rooms/{room}/people")).json() != {"people": count}:
            await asyncio.sleep(0.001)


async def test_what_is_said_reaches_all_in_the_room(client: TestClient) -> None:
    async with client.websocket("/rooms/tea/posts?name=Ada") as ada:
        assert [await ada.receive_json() for _ in range(2)] == [
            GAP,
            {"name": "Ada", "event": "came"},
        ]
        async with client.websocket("/rooms/tea/posts?name=Grace") as grace:
            seen = [await grace.receive_json() for _ in range(3)]
            assert seen[1:] == [
                {"name": "Ada", "event": "came"},
                {"name": "Grace", "event": "came"},
            ]
            await grace.send_json({"text": " <b>hello</b> "})
            await grace.send_json({"text": "  "})
            said = {"name": "Grace", "text": "<b>hello</b>"}
            assert await grace.receive_json() == said
            assert [await ada.receive_json() for _ in range(2)][1] == said
        assert await ada.receive_json() == {"name": "Grace", "event": "left"}


async def test_rooms_are_apart_and_forgotten(client: TestClient) -> None:
    async with (
        client.websocket("/rooms/tea/posts?name=Ada") as ada,
        client.websocket("/rooms/cake/posts?name=Eve") as eve,
    ):
        await eve.send_json({"text": "cake"})
        assert [await eve.receive_json() for _ in range(3)][2] == {
            "name": "Eve",
            "text": "cake",
        }
        assert [await ada.receive_json() for _ in range(2)][1]["name"] == "Ada"
        await until_people(client, "tea", 1)
    await until_people(client, "tea", 0)


async def test_what_is_no_post_closes_its_socket_alone(client: TestClient) -> None:
    async with client.websocket("/rooms/tea/posts?name=Ada") as ada:
        async with client.websocket("/rooms/tea/posts?name=Eve") as eve:
            await eve.send("no json")
            assert [message async for message in eve]  # ends at the close
            assert eve.close_code == 1007
        assert [await ada.receive_json() for _ in range(4)][3] == {
            "name": "Eve",
            "event": "left",
        }


async def test_a_raw_client_takes_part(chat: ModuleType) -> None:
    with live_server(chat.app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            text = b'{"text":"by hand"}'
            await peer.send(HANDSHAKE + b"\x81" + bytes((0x80 | len(text), 0, 0, 0, 0)) + text)
            answer = await peer.read_until(b'"by hand"}')
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b'{"name":"Raw","text":"by hand"}')


# --- in a browser


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


def new_page(chromium: Browser, url: str, name: str, faults: list[Any]) -> Page:
    page = chromium.new_context(viewport={"width": 500, "height": 600}).new_page()
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{url}/rooms/tea%20house")
    page.locator("#state", has_text="connected").wait_for()
    page.fill("#name", name)
    page.press("#name", "Tab")
    page.locator("#posts", has_text=f"{name} came").wait_for()
    page.locator("#send:enabled").wait_for()
    return page


def say(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


@pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")
def test_two_pages_talk(chat: ModuleType, chromium: Browser) -> None:
    faults: list[Any] = []
    with live_server(chat.app) as server:
        ada = new_page(chromium, server.url, "Ada", faults)
        grace = new_page(chromium, server.url, "Grace", faults)
        say(ada, "hello <i>all</i>")
        grace.locator("li:not(.mine)", has_text="hello <i>all</i>").wait_for()
        say(grace, "good evening")
        ada.locator("li:not(.mine)", has_text="good evening").wait_for()
        assert ada.locator("li.mine").inner_text() == "Ada\nhello <i>all</i>"
        assert ada.locator("h1").inner_text() == "tea house"
        grace.close()
        ada.locator("li.event", has_text="Grace left").wait_for()
        ada.set_viewport_size({"width": 320, "height": 600})
        assert ada.evaluate("document.documentElement.scrollWidth") == 320
    assert faults == []


@pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")
def test_page_reconnects_and_shows_each_post_once(chat: ModuleType, chromium: Browser) -> None:
    faults: list[Any] = []
    with live_server(chat.app) as server:
        page = new_page(chromium, server.url, "Ada", faults)
        say(page, "before")
        page.locator("li.mine", has_text="before").wait_for()
        port = server.port
    page.locator("#state", has_text="reconnecting").wait_for()
    assert page.locator("#send").is_disabled()
    with live_server(chat.app, port=port):
        page.locator("#state", has_text="connected").wait_for()
        say(page, "after")
        page.locator("li.mine", has_text="after").wait_for()
        assert page.locator("li.mine").all_inner_texts()[-1] == "Ada\nafter"
        assert page.locator("li.mine", has_text="before").count() <= 1
    assert faults == []
