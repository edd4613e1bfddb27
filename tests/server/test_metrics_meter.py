"""The metrics that microweb measures: what a client's requests add to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.serving import MemoryHouse, get, in_memory, read_all, read_until, settle
from support.websocketing import handshake

from microweb import App, Request, Response, WebSocket
from microweb.server.inventory import STATES, state_of
from microweb.server.lines import dropped
from microweb.server.metrics_meter import Meter, sample
from microweb.server.metrics_registry import REGISTRY
from microweb.server.metrics_text import PROMETHEUS, FamilyOfAll, combine, write_text

COUNT = "http_server_request_duration_seconds_count"


def app_with_routes() -> App:
    app = App()

    @app.get("/users/{id}")
    async def show(id: int) -> str:
        return str(id)

    @app.post("/users/{id}")
    async def change(id: int, request: Request) -> str:
        return await request.text()

    return app


def samples() -> Counter[str]:
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, *REGISTRY.read()):
        pass
    lines = "".join(write_text(families, PROMETHEUS)).splitlines()
    pairs = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
    return Counter({name: int(float(value)) for name, _, value in pairs if "_sum" not in name})


async def exchange(app: App, data: bytes) -> dict[str, int]:
    """Send bytes to a measured server; return the samples that have grown, without buckets."""
    before = samples()
    async with in_memory(app.handle) as house:
        app.freeze()
        with Meter(house.server).running():
            end = house.connect()
            await end.write(data)
            end.write_eof()
            await read_all(end)
    grown = samples() - before
    return {name: value for name, value in grown.items() if "_bucket" not in name}


async def test_requests_count_by_method_route_and_status() -> None:
    grown = await exchange(
        app_with_routes(), get("/users/1") + get("/users/2?a=1") + get("/users/x") + get("/secret")
    )
    label = 'http_request_method="GET"'
    assert (
        grown.pop(f'{COUNT}{{{label},http_route="/users/{{id}}",http_response_status_code="200"}}')
        == 2
    )
    assert sum(value for name, value in grown.items() if name.startswith(COUNT)) == 2
    assert grown[f'{COUNT}{{{label},http_response_status_code="404"}}'] >= 1
    assert grown['microweb_exchanges_total{how="done"}'] == 4
    assert not any("secret" in name for name in grown)


async def test_unknown_methods_are_one() -> None:
    data = b"".join(b"X%d /users/1 HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5))
    grown = await exchange(app_with_routes(), data)
    counts = {name: value for name, value in grown.items() if name.startswith(COUNT)}
    assert list(counts.values()) == [5]
    assert 'http_request_method="_OTHER"' in next(iter(counts))


async def test_refusals_count_by_reason() -> None:
    grown = await exchange(app_with_routes(), b"GET / HTTP/1.1\r\nHost: a\r\nX :y\r\n\r\n")
    assert grown['microweb_exchanges_total{how="refused"}'] == 1
    (reason,) = (name for name in grown if name.startswith("microweb_refusals_total"))
    assert grown[reason] == 1
    assert not any(name.startswith(COUNT) for name in grown)


async def test_bytes_are_those_of_the_messages() -> None:
    request = b"POST /users/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    grown = await exchange(app_with_routes(), request)
    assert grown["microweb_received_bytes_total"] == len(request)
    assert grown["microweb_sent_bytes_total"] > 100


async def test_duration_is_in_its_bucket() -> None:
    app = App()

    @app.get("/takes-30-ms")
    async def slow() -> str:
        house.now += 0.03
        return ""

    before = samples()
    async with in_memory(app.handle) as house:
        app.freeze()
        with Meter(house.server).running():
            end = house.connect()
            await end.write(get("/takes-30-ms"))
            await read_until(end, b"\r\n\r\n")
    grown = samples() - before
    found = {
        name.partition("le=")[2]: value for name, value in grown.items() if "/takes-30-ms" in name
    }
    assert '"0.025"}' not in found
    assert found['"0.05"}'] == found['"+Inf"}'] == 1


async def test_lag_of_the_event_loop_is_measured() -> None:
    before = samples()
    async with in_memory(App().handle) as house:
        with Meter(house.server).running():
            while not (samples() - before)["microweb_event_loop_lag_seconds_count"]:
                await asyncio.sleep(0.01)


# --- the state ------------------------------------------------------------------------


@asynccontextmanager
async def measured_house() -> AsyncIterator[MemoryHouse]:
    app, released = app_with_routes(), asyncio.Event()

    @app.get("/wait")
    async def wait() -> str:
        await released.wait()
        return ""

    @app.get("/events")
    async def events() -> Response:
        async def messages() -> AsyncIterator[str]:
            yield "first"
            await released.wait()

        return Response.events(messages())

    @app.get("/stream")
    async def stream() -> AsyncIterator[bytes]:
        yield b"first"
        await released.wait()

    @app.websocket("/socket")
    async def talk(socket: WebSocket) -> None:
        async for _ in socket:
            pass

    app.freeze()
    async with in_memory(app.handle) as house:
        with Meter(house.server).running():
            yield house
            released.set()
            await settle()


@pytest.mark.parametrize(
    ("sent", "awaited", "state"),
    [
        (b"", b"", "idle"),
        (get("/users/1"), b"\r\n\r\n1", "idle"),
        (b"GET / HTTP/1.1\r\nHost", b"", "head"),
        (b"POST /users/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel", b"", "body"),
        (get("/wait"), b"", "handler"),
        (get("/stream"), b"first", "writing"),
        (get("/events"), b"first", "events"),
        (handshake("/socket"), b"101", "websocket"),
        (b"broken\r\n\r\n", b"400", "closing"),
    ],
)
async def test_state_of_a_connection(sent: bytes, awaited: bytes, state: str) -> None:
    assert state in STATES
    async with measured_house() as house:
        end = house.connect()
        if sent:
            await end.write(sent)
        if awaited:
            await read_until(end, awaited)
        await settle()
        assert state_of(house.connection) == state
        sample()
        gauges = samples()
        assert gauges[f'microweb_connections{{state="{state}"}}'] == 1
        is_active = state in ("body", "handler", "writing", "events", "websocket")
        assert gauges["http_server_active_requests"] == is_active
        end.close()


async def test_gauges_are_0_after_the_server() -> None:
    async with in_memory(App().handle) as house:
        with Meter(house.server).running():
            house.connect()
            sample()
            assert samples()['microweb_connections{state="idle"}'] == 1
    assert samples()['microweb_connections{state="idle"}'] == 0


async def test_lines_that_the_log_has_lost_are_counted() -> None:
    sample()
    before = samples()
    dropped.add(3)
    sample()
    assert (samples() - before)["microweb_log_lines_dropped_total"] == 3
