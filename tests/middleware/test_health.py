from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of

from microweb import App, ConfigurationError
from microweb.middleware.health import Health
from microweb.middleware.hosts import AllowedHosts

READY = {"status": "ready", "checks": {}}
LONG_S = 60.0
SHORT_S = 0.05


def app_with(health: Health) -> App:
    app = App()
    app.use(health)
    return app


async def probe(app: App, path: str = "/readyz") -> tuple[int, object]:
    async with app.test_client() as client:
        response = await client.get(path)
    return response.status_code, response.json()


async def test_server_that_answers_is_alive_and_ready() -> None:
    app = app_with(Health())
    assert await probe(app, "/livez") == (200, {"status": "alive"})
    assert await probe(app) == (200, READY)


async def test_answer_is_not_stored() -> None:
    async with app_with(Health()).test_client() as client:
        response = await client.head("/readyz")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Cache-Control"] == "no-store"


async def test_other_paths_and_methods_go_to_the_app() -> None:
    app = app_with(Health())

    @app.post("/readyz")
    async def create() -> str:
        return "created"

    async with app.test_client() as client:
        assert (await client.post("/readyz")).text == "created"
        assert (await client.get("/readyz/more")).status_code == 404


async def test_middleware_inside_does_not_refuse_a_probe() -> None:
    app = app_with(Health())
    app.use(AllowedHosts(["shop.example"]))
    async with app.test_client() as client:
        assert (await client.get("/", headers={"Host": "10.0.0.7"})).status_code == 421
        assert (await client.get("/readyz", headers={"Host": "10.0.0.7"})).status_code == 200


async def test_mounted_app_answers_below_its_prefix() -> None:
    app, admin, health = App(), App(), Health()
    admin.use(health)
    health.check("audit")(lambda: False)
    app.mount("/admin", admin)
    async with app.test_client() as client:
        assert (await client.get("/admin/readyz")).status_code == 503
        assert (await client.get("/admin/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 404


async def test_outer_app_leaves_the_probes_of_a_mounted_app() -> None:
    app, admin = app_with(Health()), App()
    app.mount("/admin", admin)
    async with app.test_client() as client:
        assert (await client.get("/admin/readyz")).status_code == 404


async def fails() -> None:
    raise RuntimeError("password=s3cret")


def fails_in_a_thread() -> None:
    assert threading.current_thread() is not threading.main_thread()
    raise RuntimeError("password=s3cret")


def returns_false() -> bool:
    return False


@pytest.mark.parametrize("function", [fails, fails_in_a_thread, returns_false])
async def test_check_that_fails_is_named_and_its_error_only_logged(
    function: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    health = Health()
    health.check("database")(function)
    health.check("disk")(lambda: None)
    status, answer = await probe(app_with(health))
    assert (status, answer) == (
        503,
        {"status": "not ready", "checks": {"database": "failed", "disk": "passed"}},
    )
    (record,) = caplog.records
    assert record.getMessage().startswith("health check 'database' failed: ")
    assert ("s3cret" in caplog.text) == (function is not returns_false)


async def test_failures_are_logged_once_until_the_check_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health, is_up = Health(), False

    @health.check("database")
    async def database() -> bool:
        return is_up

    app = app_with(health)
    async with app.test_client() as client:
        for is_up in (False, False, True, True, False):
            response = await client.get("/readyz")
            assert response.status_code == (200 if is_up else 503)
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.ERROR, "health check 'database' failed: it returned False"),
        (logging.WARNING, "health check 'database' passes again"),
        (logging.ERROR, "health check 'database' failed: it returned False"),
    ]


async def test_async_check_is_cancelled_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    health, endings = Health(), []

    @health.check("database", timeout_s=SHORT_S)
    async def database() -> None:
        try:
            await asyncio.sleep(LONG_S)
        finally:
            endings.append("cancelled")

    app = app_with(health)
    async with app.test_client() as client:
        for count in (1, 2):
            assert (await client.get("/readyz")).status_code == 503
            while len(endings) < count:
                await asyncio.sleep(0)
    assert "failed: it took longer than 0.05 s" in caplog.text


async def test_thread_that_is_stuck_is_not_joined_by_others() -> None:
    health, is_over, calls = Health(), threading.Event(), []

    @health.check("disk", timeout_s=SHORT_S)
    def disk() -> None:
        calls.append("disk")
        is_over.wait(LONG_S)

    app = app_with(health)
    async with app.test_client() as client:
        try:
            for _ in range(5):
                assert (await client.get("/readyz")).status_code == 503
            assert calls == ["disk"]
        finally:
            is_over.set()
        while (await client.get("/readyz")).status_code == 503:
            await asyncio.sleep(0)
    assert calls == ["disk", "disk"]


async def test_probes_at_the_same_time_share_a_call() -> None:
    health, is_open, calls = Health(), asyncio.Event(), []

    @health.check("database", timeout_s=LONG_S)
    async def database() -> None:
        calls.append("database")
        await is_open.wait()

    app = app_with(health)
    async with app.test_client() as client, asyncio.TaskGroup() as tasks:
        probes = [tasks.create_task(client.get("/readyz")) for _ in range(3)]
        while not calls:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        is_open.set()
        assert [(await each).status_code for each in probes] == [200] * 3
    assert calls == ["database"]


async def test_probe_whose_client_leaves_does_not_cancel_the_call_of_others() -> None:
    health, is_open, calls = Health(), asyncio.Event(), []

    @health.check("database", timeout_s=LONG_S)
    async def database() -> None:
        calls.append("database")
        await is_open.wait()

    app = app_with(health)
    async with app.test_client() as client:
        leaving = asyncio.create_task(client.get("/readyz"))
        while not calls:
            await asyncio.sleep(0)
        staying = asyncio.create_task(client.get("/readyz"))
        leaving.cancel()
        await asyncio.wait((leaving,))
        is_open.set()
        assert (await staying).status_code == 200
    assert calls == ["database"]


def test_checks_serve_in_one_event_loop_after_another() -> None:
    health = Health()

    @health.check("database")
    async def database() -> None:
        await asyncio.sleep(0)

    app = app_with(health)
    for _ in range(2):
        assert asyncio.run(probe(app))[0] == 200


async def test_server_that_drains_is_not_ready_and_runs_no_check() -> None:
    health, calls = Health(), []
    health.check("database")(lambda: calls.append("called"))
    app = app_with(health)
    async with app.serve(host="127.0.0.1", port=0) as server:
        server.state.is_draining = True
        for path, status in (("/readyz", b"503"), ("/livez", b"200"), ("/", b"404")):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 %b " % status)
            assert (b'{"status":"draining"}' in answer) == (status == b"503")
            writer.close()
    assert calls == []


async def test_drain_that_begins_during_a_check_counts() -> None:
    health = Health()
    app = app_with(health)
    async with app.serve(host="127.0.0.1", port=0) as server:

        @health.check("database")
        async def database() -> None:
            server.state.is_draining = True

        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()


def takes_more(request: object) -> None:
    """A function that a check can't be."""


def test_invalid_arguments_are_refused() -> None:
    health = Health()
    health.check("taken")(returns_false)
    with pytest.raises(ConfigurationError, match="the name is taken"):
        health.check("taken")
    with pytest.raises(ConfigurationError, match=r"expected a name as in @health.check"):
        health.check(returns_false)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="expected a finite timeout_s above 0, got 0"):
        health.check("database", timeout_s=0)
    with pytest.raises(ConfigurationError, match=r"takes_more at test_health\.py"):
        health.check("database")(takes_more)  # type: ignore[type-var]


@pytest.mark.parametrize(("is_reload", "status"), [(False, b"503"), (True, b"200")])
async def test_kept_connection_of_a_stop_is_not_ready_but_of_a_reload_it_is(
    is_reload: bool, status: bytes
) -> None:
    """At a reload, new connections go to other workers, so the service as a whole is ready."""
    app = app_with(Health())
    async with on_loopback(app, grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        await peer.send(get("/livez"))
        await peer.read_until(b"alive")
        if is_reload:
            server.retire(server.config.grace_s)
        stopping = asyncio.create_task(server.stop(silence_s=DEADLINE_S))
        while not server.state.is_stopping:
            await asyncio.sleep(0)
        await peer.send(get("/readyz"))
        answer = await peer.read_all()
        assert b"HTTP/1.1 %b " % status in answer
        assert b"Connection: close\r\n" in answer
        await stopping
