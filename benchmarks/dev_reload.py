"""Measure the time from a saved file to the new answer, of `microweb dev` and of other servers.

    PYTHONPATH=tests python benchmarks/dev_reload.py --peers DIRECTORY/bin [--saves 10] [SERVER ...]

An EventSource and, if the framework has it, a WebSocket are open, and connect again if they are
closed, as a page does. A client asks every 50 ms by a new connection. For each save: the time until
the new version is answered. Then a syntax error is saved: the time until it is in an answer with
status 500, and after its mend the time until the app answers again. Prints a table.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from servers import free_port

LIMIT_S = 15.0  # for one save
PAUSE_S = 2.0  # between saves
ASK_S = 0.05

_CLOSE = b"\x88"  # the first byte of a close frame
_MASKED_CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"

MICROWEB = """
import asyncio
from microweb import App, Response, WebSocket
from microweb.sse import ServerEvent

app = App()

@app.get("/")
async def index() -> str:
    return "version VERSION"

@app.get("/events")
async def events() -> Response:
    return Response.events(ticks())

async def ticks():
    while True:
        yield ServerEvent("tick")
        await asyncio.sleep(0.2)

@app.websocket("/socket")
async def talk(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)
"""

FLASK = """
import time
from flask import Flask, Response

app = Flask(__name__)

@app.get("/")
def index():
    return "version VERSION"

@app.get("/events")
def events():
    def ticks():
        while True:
            yield "data: tick\\n\\n"
            time.sleep(0.2)
    return Response(ticks(), mimetype="text/event-stream")
"""

STARLETTE = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

async def index(request):
    return PlainTextResponse("version VERSION")

async def ticks():
    while True:
        yield "data: tick\\n\\n"
        await asyncio.sleep(0.2)

async def events(request):
    return StreamingResponse(ticks(), media_type="text/event-stream")

async def talk(socket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)

app = Starlette(debug=True, routes=[
    Route("/", index), Route("/events", events), WebSocketRoute("/socket", talk)
])
"""

SANIC = """
import asyncio
from sanic import Sanic
from sanic.response import text

app = Sanic("measured")

@app.get("/")
async def index(request):
    return text("version VERSION")

@app.get("/events")
async def events(request):
    response = await request.respond(content_type="text/event-stream")
    while True:
        await response.send("data: tick\\n\\n")
        await asyncio.sleep(0.2)

@app.websocket("/socket")
async def talk(request, socket):
    async for message in socket:
        await socket.send(message)
"""

QUART = """
import asyncio
from quart import Quart, websocket

app = Quart(__name__)

@app.get("/")
async def index():
    return "version VERSION"

@app.get("/events")
async def events():
    async def ticks():
        while True:
            yield b"data: tick\\n\\n"
            await asyncio.sleep(0.2)
    return ticks(), {"Content-Type": "text/event-stream"}

@app.websocket("/socket")
async def talk():
    while True:
        await websocket.send(await websocket.receive())
"""


class Peer(NamedTuple):
    """A server: the source of its app, and its command. `{bin}` and `{port}` are filled in."""

    source: str
    command: str
    has_socket: bool = True


SERVERS = {
    "microweb": Peer(MICROWEB, f"{sys.executable} -m microweb dev app.py --port {{port}}"),
    "flask": Peer(FLASK, "{bin}/flask --app app run --debug --port {port}", False),
    "uvicorn": Peer(STARLETTE, "{bin}/uvicorn app:app --reload --port {port}"),
    "sanic": Peer(SANIC, "{bin}/sanic app:app --dev --port {port}"),
    "quart": Peer(QUART, "{bin}/quart --app app run --reload --port {port}"),
}


def ask(port: int) -> tuple[int, str]:
    """Return status and text of `/`, by a new connection. Raises: OSError, HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request("GET", "/", headers={"Accept": "text/html", "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


class Page:
    """An open page: an EventSource, a WebSocket, and a client that asks every 50 ms."""

    def __init__(self, port: int, *, has_socket: bool) -> None:
        self.failed: Counter[str] = Counter()
        self.answered = 0
        self.counts = False  # failures
        self._port = port
        self._is_over = False
        heads = ["GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"]
        if has_socket:
            heads.append(
                "GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
        self._threads = [threading.Thread(target=self._hold, args=(head,)) for head in heads]
        self._threads.append(threading.Thread(target=self._ask_often))

    def __enter__(self) -> Page:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()

    def _hold(self, head: str) -> None:
        """Keep a connection open; connect again if it ends."""
        while not self._is_over:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as held:
                held.sendall(head.encode())
                held.settimeout(0.2)
                while not self._is_over:
                    with suppress(TimeoutError):
                        data = held.recv(65536)
                        if data[:1] == _CLOSE:
                            held.sendall(_MASKED_CLOSE)
                        if not data:
                            break
            time.sleep(0.1)

    def _ask_often(self) -> None:
        while not self._is_over:
            counts = self.counts
            try:
                status, _ = ask(self._port)
                failure = "" if status < 500 else str(status)
            except (OSError, http.client.HTTPException) as error:
                failure = type(error).__name__
            if counts and self.counts:
                self.answered += not failure
                self.failed.update([failure] if failure else [])
            time.sleep(ASK_S)


def until(port: int, expected: str, status: int = 200) -> float:
    """Return the seconds until an answer has a text and a status, `inf` if it never does."""
    begun = time.monotonic()
    while time.monotonic() - begun < LIMIT_S:
        with suppress(OSError, http.client.HTTPException):
            found, text = ask(port)
            if expected in text and found == status:
                return time.monotonic() - begun
        time.sleep(0.01)
    return float("inf")


def save(file: Path, text: str) -> None:
    """Save as editors do: write another file, and rename it."""
    other = file.with_name(".app.py.swp")
    other.write_text(text)
    other.replace(file)


def measure(name: str, programs: str, saves: int) -> list[str]:
    """Return the cells of one row."""
    peer, port = SERVERS[name], free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "app.py"
        save(file, peer.source.replace("VERSION", "first"))
        command = peer.command.format(bin=programs, port=port).split()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until(port, "version first")
            with Page(port, has_socket=peer.has_socket) as page:
                return _measured(page, port, file, peer.source, saves)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _measured(page: Page, port: int, file: Path, source: str, saves: int) -> list[str]:
    times = []
    page.counts = True
    for number in range(saves):
        time.sleep(PAUSE_S)
        save(file, source.replace("VERSION", f"number {number}"))
        times.append(until(port, f"version number {number}"))
    page.counts = False
    time.sleep(PAUSE_S)
    save(file, source + "def broken(:\n")
    shown = until(port, "SyntaxError", 500)
    time.sleep(PAUSE_S)
    save(file, source.replace("VERSION", "last"))
    mended = until(port, "version last")
    asked = page.answered + page.failed.total()
    failed = f"{page.failed.total()} of {asked}"
    return [_s(median(times)), _s(max(times)), failed, _s(shown), _s(mended)]


def _s(seconds: float) -> str:
    return "never" if seconds == float("inf") else f"{seconds:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers", nargs="*", default=list(SERVERS))
    parser.add_argument("--peers", default="", help="the directory of their programs")
    parser.add_argument("--saves", type=int, default=10)
    given = parser.parse_args()
    print("| server | median | worst | failed requests | error shown | gone after the mend |")
    print("|---|---|---|---|---|---|")
    for name in given.servers:
        if name == "microweb" or given.peers:
            print(
                f"| {name} |", " | ".join(measure(name, given.peers, given.saves)), "|", flush=True
            )


if __name__ == "__main__":
    main()
