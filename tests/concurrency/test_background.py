"""Background tasks: when they begin, how they end, and who owns them."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from support.serving import (
    DEADLINE_S,
    GET,
    MemoryHouse,
    get,
    in_memory,
    on_loopback,
    peer_of,
    post,
    read_until,
    settle,
    statuses,
)
from support.waiting import until

from microweb import App, Request, Response, abort, from_thread
from microweb.concurrency.background import Background
from microweb.errors import BrokerUnavailable, ClientDisconnected
from microweb.testing.transport import MemoryTransport

USER: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.fixture
def app() -> App:
    return App()


def errors_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class Work:
    """Work that waits until it is released, and records how it ended."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun = asyncio.Event()
        self.ending = ""

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.ending = "cancelled"
            raise
        self.ending = "finished"
        return "done"


# --- spawn ----------------------------------------------------------------------------


async def test_spawned_task_runs_beside_the_request(app: App) -> None:
    work = Work()
    tasks = []

    @app.post("/")
    async def index() -> str:
        tasks.append(app.spawn(work(), name="the work"))
        return "accepted"

    async with app.test_client() as client:
        assert (await client.post("/")).text == "accepted"
        await work.begun.wait()
        assert (await client.post("/")).text == "accepted"
        work.may_end.set()
        assert await tasks[0] == "done"
        assert tasks[0].get_name() == "the work"


async def test_spawned_task_has_the_context_of_its_caller(app: App) -> None:
    seen = []

    async def work() -> None:
        seen.append(USER.get())

    @app.get("/{user}")
    async def index(user: str) -> None:
        USER.set(user)
        app.spawn(work())

    async with app.test_client() as client:
        await client.get("/ada")
        await client.get("/bob")
    assert seen == ["ada", "bob"]


async def test_plain_endpoint_spawns_from_its_thread(app: App) -> None:
    async def work() -> tuple[int, str]:
        return threading.get_ident(), USER.get()

    @app.get("/")
    def index() -> str:
        USER.set("ada")
        thread, user = from_thread(app.spawn(work(), name="from a thread"))
        assert thread == loops_thread != threading.get_ident()
        return user

    loops_thread = threading.get_ident()
    async with app.test_client() as client:
        assert (await client.get("/")).text == "ada"


async def test_task_that_fails_is_logged_once_with_its_name(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async def send_mail() -> None:
        raise ValueError("no such address")

    @app.get("/")
    async def index() -> None:
        app.spawn(send_mail())
        app.spawn(send_mail(), name="mail\r\nfor ada")

    async with app.test_client() as client:
        await client.get("/")
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in records] == ["microweb.error"] * 2
    first, second = errors_of(caplog)
    assert "send_mail' failed" in first and r"'mail\r\nfor ada' failed" in second
    assert all(record.exc_info and "no such" in str(record.exc_info[1]) for record in records)


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("is_behind_answer", [False, True])
async def test_outage_in_tasks_is_one_line_a_minute(
    app: App,
    in_group: bool,
    is_behind_answer: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def publish() -> None:
        raise BrokerUnavailable from ConnectionError("refused")

    async def notify() -> None:
        if not in_group:
            await publish()
        async with asyncio.TaskGroup() as group:
            group.create_task(publish())

    @app.get("/")
    async def index(request: Request) -> None:
        if is_behind_answer:
            request.after_response(notify)
        else:
            app.spawn(notify())

    now = 1000.0
    async with app.test_client() as client:
        monkeypatch.setattr("microweb.concurrency.throttle.monotonic", lambda: now)
        for later in (0.0, 1.0, 58.0, 1.0, 1.0):
            now += later
            await client.get("/")
            await settle()
    texts = errors_of(caplog)
    assert len(texts) == 2
    assert all("notify" in text and "failed: BrokerUnavailable: 503" in text for text in texts)
    assert all("ConnectionError('refused')" in text for text in texts)
    assert all(record.exc_info is None for record in caplog.records)


async def test_outage_hides_no_other_fault(app: App, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(error: Exception) -> None:
        raise error

    @app.get("/")
    async def index() -> None:
        app.spawn(fail(BrokerUnavailable()))
        app.spawn(fail(BrokerUnavailable()))
        app.spawn(fail(ValueError("a bug")))

    async with app.test_client() as client:
        await client.get("/")
    assert [record.exc_info is not None for record in caplog.records] == [False, True]


async def test_task_whose_client_has_left_is_not_logged(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell() -> None:
        raise ClientDisconnected("gone")

    @app.get("/")
    async def index() -> None:
        app.spawn(tell())

    async with app.test_client() as client:
        await client.get("/")
    assert not errors_of(caplog)


async def test_cancelled_task_is_not_logged(app: App, caplog: pytest.LogCaptureFixture) -> None:
    work = Work()

    @app.get("/")
    async def index() -> None:
        task = app.spawn(work())
        await work.begun.wait()
        task.cancel()

    async with app.test_client() as client:
        await client.get("/")
    assert (work.ending, errors_of(caplog)) == ("cancelled", [])


async def test_spawn_without_a_server_is_an_error(app: App) -> None:
    work = Work()
    with pytest.raises(RuntimeError, match=r"^app\.spawn\(Work\.__call__\(\)\): no server of"):
        app.spawn(work())
    async with app.test_client() as client:
        await client.get("/")
    with pytest.raises(RuntimeError, match="no server of this app is running"):
        app.spawn(work())
    with pytest.raises(RuntimeError, match="no server of this app is running"):
        await asyncio.to_thread(lambda: app.spawn(work()))


@pytest.mark.parametrize("thing", [Work.__call__, None, asyncio.sleep])
async def test_only_a_coroutine_is_spawned(app: App, thing: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a coroutine as in spawn\(work\(\)\), got "):
        app.spawn(thing)


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("how", ["spawn", "after_response"])
async def test_task_too_many_is_a_503_that_is_logged_once(
    app: App, caplog: pytest.LogCaptureFixture, how: str, is_plain: bool
) -> None:
    work = Work()

    def start(request: Request) -> str:
        if how == "spawn":
            app.spawn(work())
        else:
            request.after_response(work)
        return "accepted"

    async def start_on_the_loop(request: Request) -> str:
        return start(request)

    app.get("/")(start if is_plain else start_on_the_loop)
    async with (
        on_loopback(app, max_background_tasks=2) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answers = [await client.get("/") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 503, 503]
        assert answers[-1].text == "Service Unavailable\ntoo many background tasks are running\n"
        work.may_end.set()
        await asyncio.wait(server.background._tasks)
        assert (await client.get("/")).status_code == 200
    assert errors_of(caplog) == [
        "max_background_tasks=2 are running: requests that start more get a 503"
    ]


async def test_mounted_app_spawns_in_the_servers_life(app: App) -> None:
    admin, work = App(), Work()
    app.mount("/admin", admin)
    app.mount("/again", admin)

    @admin.get("/")
    async def index() -> None:
        admin.spawn(work())

    async with app.test_client() as client:
        await client.get("/admin/")
        await work.begun.wait()
        work.may_end.set()
    assert work.ending == "finished"


async def test_one_app_spawns_on_the_loop_that_it_is_called_on(app: App) -> None:
    loops = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())

    @app.get("/")
    async def index() -> None:
        app.spawn(work())

    async def use() -> asyncio.AbstractEventLoop:
        async with app.test_client() as client:
            await client.get("/")
        return asyncio.get_running_loop()

    async with app.test_client() as client:
        other = await asyncio.to_thread(asyncio.run, use())
        await client.get("/")
    assert loops == [other, asyncio.get_running_loop()]


async def test_app_spawns_without_its_lifespan(app: App) -> None:
    seen = []

    async def work() -> None:
        seen.append("work")

    @app.get("/")
    async def index() -> None:
        app.spawn(work())

    async with app.test_client(lifespan=False) as client:
        await client.get("/")
    assert seen == ["work"]


# --- the server's end -----------------------------------------------------------------


async def test_server_that_stops_waits_for_tasks_before_it_leaves_the_lifespan(app: App) -> None:
    events = []

    @app.lifespan
    async def life(app: App) -> AsyncIterator[None]:
        app.spawn(first())
        yield
        events.append("left")

    async def first() -> None:
        await asyncio.sleep(0.02)
        events.append("first")
        app.spawn(second())

    async def second() -> None:
        await asyncio.sleep(0.02)
        events.append("second")

    async with on_loopback(app, grace_s=DEADLINE_S):
        pass
    assert events == ["first", "second", "left"]


async def test_task_past_the_grace_is_cancelled_and_named(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microweb.server.server._CANCEL_S", 0.05)
    work = Work()

    @app.on_startup
    async def start() -> None:
        app.spawn(work(), name="poll")

    async with on_loopback(app, grace_s=0.05):
        await work.begun.wait()
    assert work.ending == "cancelled"
    assert errors_of(caplog) == ["background task 'poll' did not end in time"]


async def test_task_has_time_where_its_request_took_all_of_the_grace(app: App) -> None:
    work, entered = Work(), asyncio.Event()

    @app.get("/")
    async def index() -> None:
        entered.set()
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            app.spawn(work())
            asyncio.get_running_loop().call_later(0.05, work.may_end.set)

    async with on_loopback(app, grace_s=0.0) as server, peer_of(server) as peer:
        await peer.send(GET)
        await entered.wait()
        await server.stop()
    assert work.ending == "finished"


async def test_lifespan_that_fails_cancels_what_it_spawned(app: App) -> None:
    work = Work()

    @app.on_startup
    async def start() -> None:
        app.spawn(work())
        await work.begun.wait()
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        async with on_loopback(app, grace_s=DEADLINE_S):
            pass
    assert work.ending == "cancelled"


async def test_shutdown_handler_can_not_spawn(app: App) -> None:
    errors = []

    @app.on_shutdown
    async def stop() -> None:
        try:
            app.spawn(Work()())
        except RuntimeError as error:
            errors.append(str(error))

    async with on_loopback(app):
        pass
    assert len(errors) == 1 and "no server of this app is running" in errors[0]


async def test_background_task_can_stop_the_server(app: App) -> None:
    async with on_loopback(app, grace_s=DEADLINE_S) as server:
        async with asyncio.timeout(DEADLINE_S / 2):
            await app.spawn(server.stop())


async def test_stop_that_is_cancelled_cancels_the_tasks() -> None:
    background, work = Background(max_tasks=100), Work()
    background.open()
    task = background.spawn(work())
    await work.begun.wait()
    closing = asyncio.create_task(background.close(DEADLINE_S, DEADLINE_S))
    await settle()
    closing.cancel()
    await asyncio.wait((task, closing))
    assert (work.ending, closing.cancelled()) == ("cancelled", True)


async def test_test_client_that_closes_waits_for_tasks(app: App) -> None:
    ended = []

    async def work() -> None:
        await asyncio.sleep(0.2)  # longer than the client waits for handlers
        ended.append("work")

    @app.get("/")
    async def index(request: Request) -> None:
        app.spawn(work())
        request.after_response(work)

    async with app.test_client() as client:
        await client.get("/")
    assert ended == ["work"] * 2


@pytest.mark.parametrize("make", [lambda: asyncio.sleep(0), lambda: None, lambda: "work"])
async def test_after_response_takes_a_function(make: Callable[[], Any]) -> None:
    app = App()

    @app.get("/")
    async def show(request: Request) -> str:
        request.after_response(make())
        return "ok"

    async with app.test_client() as client:
        with pytest.raises(TypeError, match=r"^expected a function as in after_response\("):
            await client.get("/")


# --- after_response: when it begins ---------------------------------------------------


class Probe:
    """Runs after an answer, and records the bytes that the client could have read before."""

    def __init__(self) -> None:
        self.house: MemoryHouse
        self.seen: list[bytes] = []
        self.end: Any = None

    def connect(self, house: MemoryHouse) -> Any:
        self.end = house.connect()
        return self.end

    async def __call__(self) -> None:
        self.seen.append(bytes(self.end.transport.arrived))


async def test_it_begins_when_the_answer_is_out() -> None:
    probe = Probe()

    async def handler(request: Request) -> Response:
        request.after_response(probe)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return Response("hello")

    async with in_memory(handler) as house:
        end = probe.connect(house)
        await end.write(GET)
        await settle()
        assert len(probe.seen) == 1
        assert probe.seen[0].endswith(b"\r\n\r\nhello")
        end.close()


async def test_it_begins_when_the_answer_is_out_for_a_handler_that_never_waits() -> None:
    probe = Probe()

    async def handler(request: Request) -> Response:
        request.after_response(probe)
        return Response("hello")

    async with in_memory(handler) as house:
        end = probe.connect(house)
        await end.write(GET + GET)
        await settle()
        assert [statuses(seen) for seen in probe.seen] == [[200, 200]] * 2
        await end.write(get("/", "Connection: close"))
        await settle()
        assert len(probe.seen) == 3 and statuses(probe.seen[2]) == [200] * 3
        end.close()


async def test_it_waits_for_its_own_answer_alone() -> None:
    is_open, done = asyncio.Event(), []

    async def handler(request: Request) -> Response:
        request.after_response(done.append, request.path)
        if request.path == "/wait":
            await is_open.wait()
        return Response(request.path)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/1") + get("/wait") + get("/2"))
        await read_until(end, b"\r\n\r\n/1")
        await until(lambda: done == ["/1"])
        await settle()
        assert done == ["/1"]
        is_open.set()
        await read_until(end, b"\r\n\r\n/2")
        await until(lambda: len(done) == 3)
        end.close()


async def test_it_does_not_hold_up_the_next_request() -> None:
    work = Work()

    async def handler(request: Request) -> Response:
        request.after_response(work)
        return Response(request.path)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/1"))
        await work.begun.wait()
        await read_until(end, b"\r\n\r\n/1")
        await end.write(get("/2"))
        assert (await read_until(end, b"\r\n\r\n/2")).endswith(b"/2")
        assert work.ending == ""
        work.may_end.set()
        end.close()


async def test_behind_a_stream_it_begins_when_that_has_ended() -> None:
    probe = Probe()

    async def handler(request: Request) -> Response:
        async def pieces() -> AsyncIterator[str]:
            yield "first"
            request.after_response(probe)
            await asyncio.sleep(0)
            yield "last"

        request.after_response(probe)
        return Response.stream(pieces())

    async with in_memory(handler) as house:
        end = probe.connect(house)
        await end.write(GET)
        await settle()
        assert len(probe.seen) == 2
        assert all(seen.endswith(b"4\r\nlast\r\n0\r\n\r\n") for seen in probe.seen)
        end.close()


async def test_it_begins_at_once_where_the_answer_is_out_already() -> None:
    done: list[str] = []

    async def handler(request: Request) -> Response:
        async def later() -> None:
            request.after_response(done.append, "even later")

        request.after_response(later)
        return Response("hello")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        await until(lambda: done == ["even later"])
        end.close()


async def test_it_does_not_wait_for_an_unread_body() -> None:
    probe = Probe()

    async def handler(request: Request) -> Response:
        request.after_response(probe)
        return Response("hello")

    async with in_memory(handler) as house:
        end = probe.connect(house)
        await end.write(post("/", b"12345")[:-1])
        await settle()
        assert len(probe.seen) == 1 and probe.seen[0].endswith(b"hello")
        end.close()


async def test_it_begins_behind_an_error(app: App) -> None:
    done: list[str] = []

    @app.get("/{status:int}")
    async def index(request: Request, status: int) -> None:
        request.after_response(done.append, str(status))
        if status == 500:
            raise ValueError
        abort(status)

    async with app.test_client(raise_errors=False) as client:
        await client.get("/404")
        await client.get("/500")
    assert done == ["404", "500"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_it_begins_where_the_peer_has_left(is_stream: bool) -> None:
    done: list[str] = []
    entered = asyncio.Event()

    async def handler(request: Request) -> Response:
        async def pieces() -> AsyncIterator[str]:
            entered.set()
            await asyncio.sleep(DEADLINE_S)
            yield "never"

        request.after_response(done.append, "done")
        if is_stream:
            return Response.stream(pieces())
        async for _ in pieces():
            pass
        return Response("never")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        await entered.wait()
        end.transport.abort()
        await house.pass_time(1)
        await until(lambda: done == ["done"])


# --- after_response: how it is called -------------------------------------------------


async def test_plain_function_runs_in_a_thread_and_an_async_one_on_the_loop(app: App) -> None:
    seen = {}

    def plain(key: str, *, value: int) -> None:
        seen[key] = (threading.get_ident(), value, USER.get())

    async def on_loop(key: str, *, value: int) -> None:
        plain(key, value=value)

    @app.get("/")
    async def index(request: Request) -> None:
        USER.set("ada")
        request.after_response(plain, "plain", value=1)
        request.after_response(on_loop, "async", value=2)
        request.after_response(lambda: on_loop("lambda", value=3))
        USER.set("bob")

    async with app.test_client() as client:
        await client.get("/")
    here = threading.get_ident()
    assert seen["async"] == (here, 2, "ada") and seen["lambda"] == (here, 3, "ada")
    assert seen["plain"][0] != here and seen["plain"][1:] == (1, "ada")


async def test_plain_endpoint_asks_for_it_from_its_thread(app: App) -> None:
    done: list[str] = []

    async def work() -> None:
        done.append(USER.get())

    @app.get("/")
    def index(request: Request) -> str:
        USER.set("ada")
        request.after_response(work)
        return "hello"

    async with app.test_client() as client:
        await client.get("/")
    assert done == ["ada"]


async def test_thread_that_outlives_its_request_may_ask_for_it_too(app: App) -> None:
    done: list[str] = []
    entered, may_end = asyncio.Event(), threading.Event()

    def wait(request: Request, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(entered.set)
        may_end.wait(DEADLINE_S)
        request.after_response(done.append, "done")

    @app.get("/")
    async def index(request: Request) -> None:
        request.after_response(wait, request, asyncio.get_running_loop())

    async with app.test_client() as client:
        await client.get("/")
        await entered.wait()
        may_end.set()
        await until(lambda: done == ["done"])


async def test_call_that_fails_is_logged_once_with_its_place(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async def send_mail(to: str) -> None:
        raise ValueError("no such address")

    def generate() -> Any:
        yield "nobody iterates this"

    @app.get("/")
    async def index(request: Request) -> None:
        request.after_response(send_mail, "ada")
        request.after_response(send_mail)  # type: ignore[call-arg]
        request.after_response(generate)

    async with app.test_client() as client:
        await client.get("/")
    messages = errors_of(caplog)
    assert len(messages) == 3
    place = rf"'send_mail at {re.escape(__file__.rpartition('/')[2])}:\d+'"
    assert all(re.fullmatch(rf"background task {place} failed", text) for text in messages[:2])
    assert "generate at" in messages[2]


async def test_what_comes_after_the_server_has_stopped_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    background = Background(max_tasks=100)
    background.open()
    start = background.after(Work())
    await background.close(1, 1)
    start()
    assert errors_of(caplog) == ["background task 'Work' was not started: the server has stopped"]


async def test_transport_of_ones_own_waits_too(app: App) -> None:
    done: list[str] = []

    @app.get("/")
    async def index(request: Request) -> None:
        request.after_response(done.append, "done")

    import httpx

    transport = MemoryTransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        await client.get("/")
    assert done == ["done"]
