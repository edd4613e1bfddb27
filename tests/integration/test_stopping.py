"""A server that stops under load answers every request that was sent: on both loops.

The long version, 20 runs of each load, is not in the normal suite: `pytest -m measured`.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import LOOP
from support.processes import DEADLINE_S, Program

SOURCE = """
import asyncio, os, sys, time
from microweb import App, Request

app = App()
executed = 0

@app.post("/work")
async def work(request: Request) -> str:
    global executed
    name = await request.text()
    executed += 1
    await asyncio.sleep(float(sys.argv[2]))
    return name

@app.get("/block")
async def block() -> str:
    print("blocking", flush=True)
    while not os.path.exists(sys.argv[3]):
        time.sleep(0.001)
    return "blocked"

@app.on_shutdown
async def tell() -> None:
    print("executed", executed, flush=True)

app.run("127.0.0.1", 0, loop=sys.argv[1], backlog=2048)
"""
RUNS = 20


@dataclass
class Load:
    """The clients of one run: the number of their requests, and their answers."""

    url: str
    think_s: float
    sent: int = 0
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    _names: itertools.count[int] = field(default_factory=itertools.count)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = urlsplit(self.url)
        return await asyncio.open_connection(place.hostname, place.port)

    async def send(self, writer: asyncio.StreamWriter) -> bytes:
        name = b"%d" % next(self._names)
        head = b"POST /work HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(name)
        writer.write(head + name)
        self.sent += 1
        return name

    async def receive(self, reader: asyncio.StreamReader, name: bytes) -> bool:
        """Read one answer; return whether the connection persists."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(len(name))
        except (asyncio.IncompleteReadError, OSError) as error:
            self.lost.append(repr(error))
            return False
        assert head.startswith(b"HTTP/1.1 200 ") and body == name
        self.answered += 1
        return b"Connection: close\r\n" not in head

    async def ask_until_closed(self) -> None:
        reader, writer = await self.connect()
        try:
            while await self.receive(reader, await self.send(writer)):
                await asyncio.sleep(self.think_s)
        finally:
            writer.close()

    async def ask_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.receive(reader, await self.send(writer))
        finally:
            writer.close()


Scenario = Callable[[Load, Program, float, Path], Awaitable[None]]


async def closed_loop(load: Load, program: Program, load_s: float, gate: Path) -> None:
    """100 clients, each of which sends its next request as soon as it has an answer."""
    await clients_in_a_loop(load, program, load_s, 100)


async def busy(load: Load, program: Program, load_s: float, gate: Path) -> None:
    """48 clients of an endpoint that waits: nearly all of them wait for an answer at the stop."""
    await clients_in_a_loop(load, program, load_s, 48)


async def clients_in_a_loop(load: Load, program: Program, load_s: float, count: int) -> None:
    asking = [asyncio.create_task(load.ask_until_closed()) for _ in range(count)]
    await asyncio.sleep(load_s)  # the duration of the load
    program.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*asking)


async def blocked(load: Load, program: Program, load_s: float, gate: Path) -> None:
    """30 requests on persistent connections that arrive while a handler blocks the event loop."""
    async with AsyncExitStack() as stack:
        kept = [await load.connect() for _ in range(30)]
        for reader, writer in kept:
            stack.callback(writer.close)
            assert await load.receive(reader, await load.send(writer))
        await blocking(load, program, stack)
        asking = [asyncio.create_task(load.ask_once(*each)) for each in kept]
        await stop_and_unblock(load, program, gate, 2 * len(kept))
        await asyncio.gather(*asking)


async def queued(load: Load, program: Program, load_s: float, gate: Path) -> None:
    """200 connections that wait in the listener's queue while a handler blocks the event loop."""
    async with AsyncExitStack() as stack:
        await blocking(load, program, stack)
        new = [await load.connect() for _ in range(200)]
        asking = [asyncio.create_task(load.ask_once(*each)) for each in new]
        await stop_and_unblock(load, program, gate, len(new))
        await asyncio.gather(*asking)


async def blocking(load: Load, program: Program, stack: AsyncExitStack) -> None:
    _, writer = await load.connect()
    stack.callback(writer.close)
    writer.write(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.to_thread(program.out.wait_for, "blocking")


async def stop_and_unblock(load: Load, program: Program, gate: Path, sent: int) -> None:
    """Send SIGTERM when the kernel has all requests, then release the handler."""
    async with asyncio.timeout(DEADLINE_S):
        while load.sent < sent:
            await asyncio.sleep(0)
    program.process.send_signal(signal.SIGTERM)
    gate.touch()


SCENARIOS: dict[str, tuple[Scenario, float, float]] = {  # with the endpoint's and the client's time
    "closed loop": (closed_loop, 0.0, 0.0),
    "closed loop, 3 ms of thinking": (closed_loop, 0.0, 0.003),
    "busy": (busy, 0.02, 0.0),
    "busy, 3 ms of thinking": (busy, 0.02, 0.003),
    "blocked": (blocked, 0.0, 0.0),
    "queued": (queued, 0.0, 0.0),
}


async def run(name: str, folder: Path, load_s: float) -> Load:
    """Stop a server under a load; return the load's counts."""
    scenario, work_s, think_s = SCENARIOS[name]
    script, gate = folder / "app.py", folder / "gate"
    script.write_text(SOURCE)
    gate.unlink(missing_ok=True)
    with Program(script, LOOP, str(work_s), gate) as program:
        (url,) = await asyncio.to_thread(program.urls)
        load = Load(url, think_s)
        async with asyncio.timeout(DEADLINE_S):
            await scenario(load, program, load_s, gate)
        await asyncio.to_thread(program.ends, 0)
        executed = int(program.out.rest().split()[-1])
    assert program.err.rest() == ""
    if executed != load.answered:
        load.lost.append(f"{executed} were executed, {load.answered} answered")
    return load


@pytest.mark.parametrize("name", SCENARIOS)
async def test_stop_answers_all_that_was_sent(name: str, tmp_path: Path) -> None:
    load = await run(name, tmp_path, load_s=0.2)
    assert load.answered > 0 and load.lost == []


@pytest.mark.measured
@pytest.mark.parametrize("name", SCENARIOS)
async def test_stop_answers_all_that_was_sent_in_each_of_many_runs(
    name: str, tmp_path: Path
) -> None:
    loads = [await run(name, tmp_path, load_s=1.0) for _ in range(RUNS)]
    lost = sum(len(load.lost) for load in loads)
    print(f"\n{LOOP}, {name}: {lost} lost of {sum(load.sent for load in loads)}, {RUNS} runs")
    assert [load.lost for load in loads] == [[]] * RUNS
