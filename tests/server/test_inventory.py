"""The connections of a worker as `microweb ps` shows them: one of each state, and many."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.controlling import ask, controlled
from support.processes import DEADLINE_S
from support.serving import GET, get, in_memory, post, read_until, settle
from support.supervising import until

from microweb import Request, Response
from microweb.server.inventory import STATES, Inventory
from microweb.server.questions import Question

supervised_only = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")

APP = """
import asyncio
from microweb import Response, WebSocket

@app.get("/wait/{name}")
async def wait(name: str) -> str:
    await asyncio.sleep(600)
    return name

@app.get("/large")
async def large() -> bytes:
    return bytes(64 << 20)

@app.get("/stream")
async def stream() -> Response:
    async def pieces():
        yield b"first"
        await asyncio.sleep(600)
    return Response.stream(pieces())

@app.get("/events")
async def events() -> Response:
    async def endless():
        yield "first"
        await asyncio.sleep(600)
    return Response.events(endless())

@app.websocket("/socket/{room}")
async def talk(socket: WebSocket, room: str) -> None:
    async for message in socket:
        await socket.send(message)
"""

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

# The bytes that a client sends -> the state and the route of its connection.
CLIENTS = {
    "fresh": (b"", "idle", None),
    "kept": (get("/"), "idle", None),
    "head": (b"GET / HTTP/1.1\r\nHo", "head", None),
    "second head": (get("/") + b"GET /w", "head", None),
    "handler": (get("/wait/me"), "handler", "/wait/{name}"),
    "body": (post("/", b"x" * 10, "Content-Length: 1000"), "body", "/"),
    "large": (get("/large"), "writing", "/large"),
    "stream": (get("/stream"), "writing", "/stream"),
    "events": (get("/events"), "events", "/events"),
    "websocket": (get("/socket/tea", *UPGRADE), "websocket", "/socket/{room}"),
    "closing": (b"no HTTP\r\n\r\n", "closing", None),
}


@supervised_only
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_connection_of_each_state(tmp_path: Path, loop: str) -> None:
    options = f"loop={loop!r}, grace_s=0.5, head_timeout_s=600"
    with (
        ExitStack() as stack,
        controlled(tmp_path, workers=1, options=options, more=APP) as (program, url, path),
    ):
        server = urlsplit(url)
        peers = {}
        for name, (data, _, _) in CLIENTS.items():
            client = socket.create_connection((server.hostname, server.port), DEADLINE_S)
            stack.enter_context(client).sendall(data)
            peers["{}:{}".format(*client.getsockname())] = name
        rows: dict[str, dict[str, Any]] = {}

        def are_in_their_states() -> bool:
            answer = ask(path, command="ps")
            assert answer["more"] == 0
            rows.update({peers[row["peer"]]: row for row in answer["connections"]})
            states = {name: (row["state"], row.get("route")) for name, row in rows.items()}
            return states == {name: (state, route) for name, (_, state, route) in CLIENTS.items()}

        until(are_in_their_states)
        assert rows["handler"]["path"] == "/wait/me" and rows["handler"]["method"] == "GET"
        assert {each["state"] for each in rows.values()} == set(STATES)
        if sys.platform == "linux":
            sizes = {name: row["received"] for name, row in rows.items()}
            assert sizes == {name: len(data) for name, (data, _, _) in CLIENTS.items()}
            assert rows["fresh"]["sent"] == 0 and rows["large"]["sent"] > 0
        program.stop(status=0)


@supervised_only
def test_age_is_that_of_the_request_or_of_the_state(tmp_path: Path) -> None:
    with (
        ExitStack() as stack,
        controlled(tmp_path, workers=1, options="grace_s=0.5, head_timeout_s=600", more=APP) as (
            program,
            url,
            path,
        ),
    ):
        server = urlsplit(url)
        for name in ("handler", "fresh", "kept", "head"):
            client = socket.create_connection((server.hostname, server.port), DEADLINE_S)
            stack.enter_context(client).sendall(CLIENTS[name][0])
        ages: list[list[float]] = []

        def have_aged() -> bool:
            found = ask(path, command="ps")["connections"]
            ages.append([row["age_s"] for row in found])
            return len(found) == 4 and min(ages[-1]) > 2

        until(have_aged)
        program.stop()


# --- in memory


async def test_inventory_of_many_is_bounded_and_counts_all() -> None:
    async def handle(request: Request) -> Response:
        return Response("x")

    async with in_memory(handle) as house:
        for _ in range(30):
            house.connect()
        inventory = Inventory(house.server.connections, lambda: house.now)
        frames = [frame async for frame in inventory.answer(Question(1, 12, 0.0))]
        assert frames[0] == {}
        rows: list[Any] = [row for frame in frames[1:-1] for row in frame["rows"]]  # type: ignore[attr-defined]
        assert len(rows) == 12 and {row["state"] for row in rows} == {"idle"}
        assert frames[-1] == {"counts": {"idle": 30}, "more": 18}


async def test_busy_connections_come_first() -> None:
    forever = asyncio.Event()

    async def handle(request: Request) -> Response:
        await forever.wait()
        return Response("x")

    async with in_memory(handle) as house:
        ends = [house.connect() for _ in range(30)]
        await ends[17].write(GET)
        await settle()
        inventory = Inventory(house.server.connections, lambda: house.now)
        frames = [frame async for frame in inventory.answer(Question(1, 1, 0.0))]
        (row,) = frames[1]["rows"]  # type: ignore[misc]
        assert row["state"] == "handler"
        assert frames[-1] == {"counts": {"idle": 29, "handler": 1}, "more": 29}
        forever.set()
        await settle()


async def test_texts_of_a_client_are_cut() -> None:
    seen: list[Any] = []

    async def handle(request: Request) -> Response:
        frames = [frame async for frame in inventory.answer(Question(1, 1, 0.0))]
        seen.extend(frames[1]["rows"])  # type: ignore[arg-type]
        return Response("x")

    async with in_memory(handle) as house:
        inventory = Inventory(house.server.connections, lambda: house.now)
        end = house.connect()
        await end.write(get(f"/{'x' * 5000}?secret=1"))
        await read_until(end, b"x")
    assert seen[0]["path"] == f"/{'x' * 199}"
    assert (seen[0]["received"], seen[0]["sent"]) == (None, None)
