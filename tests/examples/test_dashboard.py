"""The dashboard of the examples: its numbers by a raw client, its charts in a browser."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from support import browser
from support.processes import DEADLINE_S, ROOT

from microweb.testing import Misbehaving, live_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

NO_BROWSER = browser.why_not()


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, imported anew; it measures every 50 ms."""
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "examples" / "dashboard.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dashboard", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE_S", 0.05)
    module.app.post("/cut")(module.numbers.close)
    return module


async def test_numbers_are_told_and_resumed(dashboard: ModuleType) -> None:
    async with asyncio.timeout(DEADLINE_S), dashboard.app.test_client() as client:
        async with client.events("/numbers") as events:
            assert (await anext(events)).event == "gap"
            seen = [await anext(events) for _ in range(3)]
        for event in seen:
            assert event.json().keys() == {"cpu", "late", "readers"}
        async with client.events("/numbers", last_event_id=seen[0].id) as events:
            assert [await anext(events) for _ in range(2)] == seen[1:]


async def test_numbers_are_told_to_a_raw_client(dashboard: ModuleType) -> None:
    with live_server(dashboard.app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.send(b"GET /numbers HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await peer.read_until(b'"readers":1}\n\n')
    assert b"\r\nContent-Type: text/event-stream\r\n" in answer
    assert b"event: gap\n" in answer
    assert b"\nid: " in answer or b"\r\nid: " in answer


@pytest.fixture
def page(dashboard: ModuleType) -> Iterator[Page]:
    """The page in a browser; an error in the browser fails the test."""
    faults: list[str] = []
    with live_server(dashboard.app) as server, browser.chromium() as started:
        page = started.new_page(base_url=server.url, viewport={"width": 1000, "height": 500})
        page.set_default_timeout(10_000)
        page.on("console", lambda said: faults.append(said.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        page.close()
    assert faults == []


def count_pixels(page: Page, chart: str) -> int:
    """Return how many pixels of a chart have the colour of its line."""
    count = page.evaluate(
        """(name) => {
            const chart = document.getElementById(name), {width, height} = chart;
            const copy = new OffscreenCanvas(width, height);
            const context = copy.getContext("2d", {willReadFrequently: true});
            context.drawImage(chart, 0, 0);
            const style = getComputedStyle(document.documentElement);
            context.fillStyle = style.getPropertyValue("--" + name);
            const wanted = parseInt(context.fillStyle.slice(1), 16);
            const data = context.getImageData(0, 0, width, height).data;
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                count += data[i + 3] == 255
                    && (data[i] << 16 | data[i + 1] << 8 | data[i + 2]) == wanted;
            }
            return count;
        }""",
        chart,
    )
    assert isinstance(count, int)
    return count


def wait_for_line(page: Page, chart: str, pixels: int = 30) -> None:
    page.wait_for_function(f"points.length > 20 && document.getElementById('{chart}').width > 0")
    for _ in range(100):
        if count_pixels(page, chart) > pixels:
            return
        page.evaluate("new Promise(requestAnimationFrame)")
    raise AssertionError("nothing is drawn")


@pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")
def test_charts_are_drawn_in_a_browser(page: Page) -> None:
    page.goto("/")
    page.get_by_text("live").wait_for()
    for chart in ("cpu", "late"):
        wait_for_line(page, chart)
        assert page.locator(f"#{chart}-now").inner_text()[-1] in "%s"
    assert page.locator("#readers").inner_text() == "1"
    page.emulate_media(color_scheme="dark")
    wait_for_line(page, "cpu")
    page.set_viewport_size({"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    wait_for_line(page, "late")


@pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")
def test_page_goes_on_where_its_stream_ended(page: Page) -> None:
    page.goto("/")
    page.wait_for_function("points.length > 5")
    page.evaluate(
        """() => {
            window.ids = [];
            source.addEventListener("gap", () => ids.push("gap"));
            source.addEventListener("message", (event) => ids.push(event.lastEventId));
        }"""
    )
    page.wait_for_function("ids.length > 2")
    page.request.post("/cut")
    page.get_by_text("reconnecting").wait_for()
    before = page.evaluate("ids.length")
    page.get_by_text("live").wait_for()
    page.wait_for_function(f"ids.length > {before + 2}")
    numbers = [int(id.rpartition("-")[2]) for id in page.evaluate("ids")]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
