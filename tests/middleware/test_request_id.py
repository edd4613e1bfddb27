from __future__ import annotations

import re

import pytest

from microweb import App, Request
from microweb.middleware.request_id import RequestID

FORBIDDEN = [
    "",
    "a" * 129,
    "a b",
    "a\tb",
    "<b>",
    'a"b',
    "a'b",
    "a;b",
    "a,b",
    "a%0d",
    "\xe9",
    "$(id)",
]


def identified() -> App:
    app = App()
    app.use(RequestID())

    @app.get("/")
    async def index(request: Request) -> str:
        return str(request.state.request_id)

    @app.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError

    return app


async def test_request_without_an_id_gets_a_new_one_each_time() -> None:
    async with identified().test_client() as client:
        answers = [await client.get("/") for _ in range(20)]
    assert len({answer.text for answer in answers}) == 20
    for answer in answers:
        assert re.fullmatch("[0-9a-f]{32}", answer.text)
        assert answer.headers["x-request-id"] == answer.text


@pytest.mark.parametrize(
    "sent",
    [
        "a",
        "a" * 128,
        "f058ebd6-02f7-4d3f-942e-904344e8cde5",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "Root=1-67891233-abcdef012345678912345678",
        "abc+/=_.~@:",
    ],
)
async def test_id_that_is_a_token_is_kept(sent: str) -> None:
    async with identified().test_client() as client:
        answer = await client.get("/", headers={"X-Request-ID": sent})
    assert (answer.text, answer.headers["x-request-id"]) == (sent, sent)


@pytest.mark.parametrize("sent", FORBIDDEN)
async def test_other_id_is_replaced(sent: str) -> None:
    async with identified().test_client() as client:
        answer = await client.get("/", headers={"X-Request-ID": sent.encode("latin-1")})  # type: ignore[dict-item]
    assert re.fullmatch("[0-9a-f]{32}", answer.text)


async def test_two_ids_are_none() -> None:
    fields = [("X-Request-ID", "a"), ("X-Request-ID", "b")]
    async with identified().test_client() as client:
        assert re.fullmatch("[0-9a-f]{32}", (await client.get("/", headers=fields)).text)


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/fault", 500)])
async def test_errors_have_it_too(path: str, status: int) -> None:
    async with identified().test_client(raise_errors=False) as client:
        answer = await client.get(path, headers={"X-Request-ID": "abc"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, "abc")


async def test_request_that_meets_it_twice_has_one_id() -> None:
    app = identified()

    @app.get("/twice", use=[RequestID()])
    async def twice(request: Request) -> str:
        return str(request.state.request_id)

    async with app.test_client() as client:
        answer = await client.get("/twice")
    assert answer.headers.get_list("x-request-id") == [answer.text]


async def test_error_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    async with identified().test_client(raise_errors=False) as client:
        await client.get("/fault", headers={"X-Request-ID": "abc"})
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("microweb.error", "GET /fault [abc] failed")
    assert vars(record)["request_id"] == "abc"


async def test_error_log_of_a_failing_error_handler_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = identified()

    @app.errorhandler(404)
    async def missing() -> str:
        raise ZeroDivisionError

    async with app.test_client(raise_errors=False) as client:
        await client.get("/nowhere", headers={"X-Request-ID": "abc"})
    (record,) = caplog.records
    assert vars(record)["request_id"] == "abc"


async def test_error_log_of_an_answer_that_can_not_be_sent_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = identified()

    @app.get("/wrong")
    async def wrong() -> object:
        return "abc", {"Content-Length": "7"}

    async with app.test_client(raise_errors=False) as client:
        await client.get("/wrong", headers={"X-Request-ID": "abc"})
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["request_id"]) == ("GET /wrong [abc] failed", "abc")


async def test_error_log_without_the_middleware_has_none(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    @app.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError

    async with app.test_client(raise_errors=False) as client:
        await client.get("/fault", headers={"X-Request-ID": "abc"})
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["request_id"]) == ("GET /fault failed", None)
