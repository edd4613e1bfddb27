"""The app of the deployment kit, without a proxy. The proxies have tests of their own."""

from __future__ import annotations

import re
import runpy

import pytest
from support.deploying import KIT

from microweb import App


@pytest.fixture
def app() -> App:
    made: App = runpy.run_path(str(KIT / "app.py"))["app"]
    return made


def test_readme_maps_to_each_file() -> None:
    linked = set(re.findall(r"\]\(([^)]+)\)", (KIT / "README.md").read_text()))
    files = {str(path.relative_to(KIT)) for path in KIT.rglob("*") if path.is_file()}
    own = {name for name in files if "__pycache__" not in name} - {"README.md"}
    assert linked == {*own, "../../docs/how-to/deploy.md"}


async def test_page_and_probes(app: App) -> None:
    async with app.test_client() as client:
        assert "EventSource" in (await client.get("/")).text
        for path in ("/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200


async def test_file_is_hashed(app: App) -> None:
    async with app.test_client() as client:
        answer = await client.post("/uploads", files={"file": ("a", b"hello")})
        missing = await client.post("/uploads", data={"file": "text"})
    assert answer.json()["bytes"] == 5
    assert answer.json()["sha256"].startswith("2cf24dba")
    assert missing.status_code == 400


async def test_events_are_counted(app: App) -> None:
    async with app.test_client() as client, client.events("/ticks?pause_s=0") as events:
        assert [(await anext(events)).data for _ in range(2)] == ["1", "2"]


async def test_socket_echoes(app: App) -> None:
    async with app.test_client() as client, client.websocket("/echo") as socket:
        await socket.send("hello")
        assert await socket.receive() == "hello"
