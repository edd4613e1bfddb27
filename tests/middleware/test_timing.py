"""W3C Server Timing."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from microweb import App, Request
from microweb.middleware.timing import ServerTiming, Timings, timing

ENTRY = re.compile(r'([\w-]+);dur=(\d+\.\d{3})(?:;desc="((?:[^"\\]|\\.)*)")?')


def entries(response: httpx.Response) -> list[tuple[str, float, str]]:
    field = response.headers["server-timing"]
    found = [(name, float(ms), text) for name, ms, text in ENTRY.findall(field)]
    assert len(found) == len(field.split(", "))
    return found


async def test_total_is_sent_for_errors_too() -> None:
    app = App()
    app.use(ServerTiming())

    @app.get("/")
    async def index() -> str:
        time.sleep(0.01)
        return "x"

    async with app.test_client() as client:
        ((name, spent, _),) = entries(await client.get("/"))
        assert name == "total" and 10 <= spent < 10_000
        assert entries(await client.get("/nowhere"))[0][0] == "total"


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_is_measured_is_sent(is_async: bool) -> None:
    app = App()

    def work(request: Request) -> str:
        for _ in range(2):
            with timing(request, "db", 'the "notes" table'):
                time.sleep(0.01)
        with timing(request, "template"):
            pass
        return "x"

    if is_async:

        @app.get("/", use=[ServerTiming()])
        async def index(request: Request) -> str:
            return work(request)
    else:
        app.get("/", use=[ServerTiming()])(work)

    async with app.test_client() as client:
        db, template, total = entries(await client.get("/"))
    assert (db[0], db[2]) == ("db", r"the \"notes\" table")
    assert 20 <= db[1] <= total[1]
    assert (template[0], template[2], total[0]) == ("template", "", "total")


async def test_without_the_middleware_nothing_is_measured_or_sent() -> None:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        with timing(request, "db"):
            return "x"

    async with app.test_client() as client:
        response = await client.get("/")
    assert (response.text, "server-timing" in response.headers) == ("x", False)


async def test_block_that_fails_is_measured_too() -> None:
    app = App()

    @app.get("/", use=[ServerTiming()])
    async def index(request: Request) -> str:
        with timing(request, "db"):
            raise ZeroDivisionError

    async with app.test_client(raise_errors=False) as client:
        response = await client.get("/")
    assert response.status_code == 500
    assert [name for name, _, _ in entries(response)] == ["db", "total"]


async def test_requests_do_not_share_their_times() -> None:
    app = App()
    app.use(ServerTiming())

    @app.get("/{name}")
    async def index(request: Request, name: str) -> str:
        with timing(request, name):
            return "x"

    async with app.test_client() as client:
        for name in ("a", "b"):
            found = [entry[0] for entry in entries(await client.get(f"/{name}"))]
            assert found == [name, "total"]


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a\r\nX: y", "é"])
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="expected a token"):
        Timings().add(name, 0.1)


def test_a_description_has_no_control_characters() -> None:
    with pytest.raises(ValueError, match="control characters"):
        Timings().add("db", 0.1, "a\r\nb")


def test_times_are_in_milliseconds() -> None:
    timings = Timings()
    timings.add("db", 0.25, "a\\b")
    assert timings.encode(1.5) == r'db;dur=250.000;desc="a\\b", total;dur=1500.000'
