"""Random exchanges on one connection: a request shows its own bytes alone, whenever it is used.

Some tasks use a request before, during and after its answer, while other requests follow on the
same connection. `MICROWEB_FUZZ_MINUTES=60` goes on for an hour, with new examples each time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from conftest import LOOP
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.serving import DEADLINE_S, in_memory

from microweb import App
from microweb.errors import BodyConsumed, ClientDisconnected, HTTPError
from microweb.request import Handler, Request
from microweb.response import Response
from microweb.server.body import Body
from microweb.server.connection import Connection
from microweb.server.disconnects import DisconnectWatch
from microweb.server.network import NetworkStream
from microweb.server.process import loop_factory
from microweb.testing.network import ClientEnd

MINUTES = float(os.environ.get("MICROWEB_FUZZ_MINUTES", "0"))

PLAIN, JSON, FORM, MULTIPART = (
    "text/plain",
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
)
LARGE = 70_000  # bytes of an answer that is not sent in one piece


# --- an example


@dataclass(frozen=True)
class Use:
    """An accessor that a task uses, and the turns of the event loop before it does."""

    accessor: str
    delay: int
    begins: str  # "in" the handler, or "behind" the answer


@dataclass(frozen=True)
class Plan:
    """One request: its body, its handler's answer, and the tasks that use it."""

    number: int
    content_type: str
    size: int
    is_chunked: bool
    expects_continue: bool
    reads: str | None  # the accessor that the handler itself awaits
    pause: int
    answer: str
    uses: tuple[Use, ...]
    cut: int  # the percentage of the body that is sent first; below 0, a part of the head
    pause_at_cut: int  # the turns of the event loop before the rest is sent
    pause_behind: int  # and before the next request is sent
    leaves: str  # how the client leaves at the cut, if it does: "", "end" or "reset"

    @property
    def text(self) -> str:
        return f"<{self.number}>" * self.size

    @property
    def content(self) -> bytes:
        if self.content_type == JSON:
            return f'["{self.text}"]'.encode()
        if self.content_type == FORM:
            return f"text={self.text}".encode()
        if self.content_type == MULTIPART:
            head = 'Content-Disposition: form-data; name="text"'
            return f"--b\r\n{head}\r\n\r\n{self.text}\r\n--b--\r\n".encode()
        return self.text.encode()

    @property
    def has_content(self) -> bool:
        return self.is_chunked or bool(self.content)

    @property
    def raw(self) -> bytes:
        lines = [f"POST /{self.number} HTTP/1.1", "Host: a", f"Content-Type: {self.content_type}"]
        if self.expects_continue:
            lines.append("Expect: 100-continue")
        content = self.content
        if self.is_chunked:
            lines.append("Transfer-Encoding: chunked")
            middle = len(content) // 2
            chunks = [c for c in (content[:middle], content[middle:]) if c]
            content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
            content += b"0\r\nX-Number: %d\r\n\r\n" % self.number
        else:
            lines.append(f"Content-Length: {len(content)}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + content


ACCESSORS = "body text json form stream parts trailers shield disconnected".split()

uses = st.builds(
    Use,
    st.sampled_from(ACCESSORS),
    st.sampled_from([0, 0, 1, 2, 5, 10, 11, 12, 25]),
    st.sampled_from(["in", "behind"]),
)


@st.composite
def plans(draw: st.DrawFn) -> list[Plan]:
    return [
        Plan(
            number=number,
            content_type=draw(st.sampled_from([PLAIN, JSON, FORM, MULTIPART])),
            size=draw(st.sampled_from([0, 1, 5, 1000])),
            is_chunked=draw(st.booleans()),
            expects_continue=draw(st.integers(0, 9)) == 9,
            reads=draw(st.sampled_from([*[None] * 6, "body", "text", "json", "form", "stream"])),
            pause=draw(st.sampled_from([0, 3, 10, 10])),
            answer=draw(st.sampled_from(["small", "small", "large", "stream", "echo", "refused"])),
            uses=tuple(draw(st.lists(uses, max_size=3))),
            cut=draw(st.sampled_from([-1, 0, 1, 50, 99, 100])),
            pause_at_cut=draw(st.sampled_from([0, 5, 20, 40])),
            pause_behind=draw(st.sampled_from([0, 0, 5, 20])),
            leaves=draw(st.sampled_from([""] * 18 + ["end", "reset"])),
        )
        for number in range(1, draw(st.integers(2, 4)) + 1)
    ]


# --- values of a request, and whether they are its own


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def read_stream(request: Request, plan: Plan) -> None:
    seen = b""
    try:
        async for piece in request.stream():
            seen += piece
            await asyncio.sleep(0)
    finally:
        assert plan.content.startswith(seen)
    assert seen == plan.content


async def read_parts(request: Request, plan: Plan) -> None:
    async for part in request.parts():
        assert (part.name, await part.text()) == ("text", plan.text)


async def read_body(request: Request, plan: Plan) -> None:
    assert await request.body() == plan.content


async def read_text(request: Request, plan: Plan) -> None:
    assert await request.text() == plan.content.decode()


async def read_json(request: Request, plan: Plan) -> None:
    assert await request.json() == [plan.text]


async def read_form(request: Request, plan: Plan) -> None:
    assert (await request.form())["text"] == plan.text


async def see_trailers(request: Request, plan: Plan) -> None:
    trailers = request.trailers
    assert trailers is None or trailers.pairs() == [("x-number", str(plan.number))]


async def hold_shield(request: Request, plan: Plan) -> None:
    async with request.shield():
        await turns(10)


async def wait_for_leaving(request: Request, plan: Plan) -> None:
    await request.disconnected()


USING: dict[str, Callable[[Request, Plan], Awaitable[None]]] = {
    "body": read_body,
    "text": read_text,
    "json": read_json,
    "form": read_form,
    "stream": read_stream,
    "parts": read_parts,
    "trailers": see_trailers,
    "shield": hold_shield,
    "disconnected": wait_for_leaving,
}


@dataclass
class Exchanges:
    """The handler of an example, with the faults that it finds."""

    plans: dict[str, Plan]
    wrong: list[BaseException] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def handle(self, request: Request) -> Response:
        plan = self.plans[request.path]
        connection = request.transport
        assert isinstance(connection, Connection)
        if connection.watch.is_shielded:
            self.wrong.append(AssertionError("shielded by an exchange that is over"))
        for use in plan.uses:
            if use.begins == "in":
                self.tasks.append(asyncio.create_task(self.later(request, plan, use)))
            else:
                request.after_response(self.later, request, plan, use)
        if plan.reads is not None:
            await self.use(request, plan, plan.reads)
        await turns(plan.pause)
        return self.answer(request, plan)

    async def finish(self) -> None:
        """Wait for the tasks, which need only some turns of the event loop."""
        await turns(100)
        for task in self.tasks:
            if task.cancel():
                self.wrong.append(AssertionError("a task still waits behind its exchange"))
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def later(self, request: Request, plan: Plan, use: Use) -> None:
        await turns(use.delay)
        await self.use(request, plan, use.accessor)

    async def use(self, request: Request, plan: Plan, accessor: str) -> None:
        try:
            await USING[accessor](request, plan)
        except HTTPError as error:  # only for a body of another type, or one that is not whole
            if accessor not in ("json", "form", "parts"):
                self.wrong.append(error)
        except (BodyConsumed, ClientDisconnected):
            pass
        except Exception as error:
            self.wrong.append(error)

    def answer(self, request: Request, plan: Plan) -> Response:
        fields = {"X-Number": str(plan.number)}
        if plan.answer == "large":
            return Response(b"%d" % plan.number * LARGE, 200, fields)
        if plan.answer == "refused":
            return Response("no", 413, fields)
        if plan.answer == "stream":
            return Response.stream(self.pieces(plan), 200, fields, content_type=PLAIN)
        if plan.answer == "echo":
            return Response.stream(self.echo(request), 200, fields, content_type=PLAIN)
        return Response(str(plan.number), 200, fields)

    async def pieces(self, plan: Plan) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"%d" % plan.number
            await turns(plan.pause)

    async def echo(self, request: Request) -> AsyncIterator[bytes]:
        with suppress(BodyConsumed, ClientDisconnected):
            async for piece in request.stream():
                yield piece


# --- the client


async def send(end: ClientEnd, plans: list[Plan]) -> None:
    with suppress(ConnectionError):  # an answer said close
        for plan in plans:
            raw = plan.raw
            begin = raw.index(b"\r\n\r\n") + 4
            cut = begin // 2 if plan.cut < 0 else begin + (len(raw) - begin) * plan.cut // 100
            await end.write(raw[:cut])
            await turns(plan.pause_at_cut)
            if plan.leaves:
                break
            await end.write(raw[cut:])
            await turns(plan.pause_behind)
    if plan.leaves == "reset":
        end.close()
    else:
        end.write_eof()


def check_answers(data: bytes, plans: dict[str, Plan]) -> None:
    """Check that each answer is that of its own request, in order."""
    number = 1
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:  # in memory a client that leaves reads no more
            assert any(plan.leaves == "reset" for plan in plans.values())
            return
        if b" 100 Continue" in head:
            assert plans[f"/{number}"].expects_continue
            continue
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert fields[b"X-Number"] == b"%d" % number, data
        plan = plans[f"/{number}"]
        content, data = take_content(fields, data, may_be_cut=any(p.leaves for p in plans.values()))
        if plan.answer == "echo":
            assert plan.content.startswith(content)
        elif plan.answer != "refused":
            assert set(content) == set(b"%d" % number)
        number += 1


def take_content(
    fields: dict[bytes, bytes], data: bytes, *, may_be_cut: bool
) -> tuple[bytes, bytes]:
    if b"Content-Length" in fields:
        length = int(fields[b"Content-Length"])
        assert len(data) >= length or may_be_cut
        return data[:length], data[length:]
    content = b""
    while not data.startswith(b"0\r\n\r\n"):
        digits, end, data = data.partition(b"\r\n")
        if may_be_cut and not end:
            return content, b""
        assert end
        size = int(digits, 16)
        content, data = content + data[:size], data[size + 2 :]
    return content, data[5:]


# --- the property


@contextmanager
def nothing_logged() -> Iterator[None]:
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("microweb")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not [(record.getMessage(), record.exc_info) for record in records]


def handler_of(exchanges: Exchanges, is_app: bool) -> Handler:
    if not is_app:
        return exchanges.handle
    app = App()

    @app.post("/{number}")
    async def handle(request: Request, number: str) -> Response:
        return await exchanges.handle(request)

    app.freeze()
    return app.handle


async def run_example(made: list[Plan], is_app: bool, deadline_s: float) -> None:
    exchanges = Exchanges({f"/{plan.number}": plan for plan in made})
    handler = handler_of(exchanges, is_app)
    async with asyncio.timeout(deadline_s), in_memory(handler) as house:
        end = house.connect()
        sending = asyncio.create_task(send(end, made))
        received = b""
        with suppress(ConnectionError):
            while piece := await end.read():
                received += piece
        await sending
        end.close()
        while house.server.connections:
            await asyncio.sleep(0)
        await exchanges.finish()
    check_answers(received, exchanges.plans)
    assert exchanges.wrong == []


def check(examples: int, deadline_s: float = DEADLINE_S) -> None:
    """Run this many examples; raise the faults of the first that has one."""
    new_loop = loop_factory("uvloop" if LOOP == "uvloop" else "asyncio")

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate] if examples < 1000 else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(made=plans(), is_app=st.booleans())
    def each(made: list[Plan], is_app: bool) -> None:
        with nothing_logged(), asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run_example(made, is_app, deadline_s))

    each()


def test_an_exchange_sees_its_own_bytes_alone() -> None:
    ends_at = time.monotonic() + 60 * MINUTES
    check(100)
    while time.monotonic() < ends_at:
        check(1000)


@pytest.mark.parametrize(
    ("owner", "name"), [(Body, "end"), (DisconnectWatch, "end"), (NetworkStream, "end_reading")]
)
def test_an_exchange_without_its_end_is_found(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, lambda *arguments: None)
    with pytest.raises((Exception, BaseExceptionGroup)):
        check(500, deadline_s=1.0)  # the deadline ends an example that hangs
