"""The server's own answers: to invalid requests, and after an exception of the application."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.serving import (
    GET,
    in_memory,
    read_all,
    statuses,
)

from microweb.concurrency.throttle import Throttle
from microweb.errors import MalformedRequest, NotFound
from microweb.request import Request
from microweb.response import Response
from microweb.server import refusal, refusal_log


async def hello(request: Request) -> Response:
    return Response(request.path)


def faulty(error: Exception) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def handler(request: Request) -> Response:
        raise error

    return handler


@pytest.mark.parametrize("error", [ValueError("secret"), FileNotFoundError("secret")])
async def test_fault_of_a_bare_handler_is_a_500_and_logged_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_memory(faulty(error)) as house:
        end = house.connect()
        await end.write(GET * 2)
        end.write_eof()
        answer = await read_all(end)
        assert statuses(answer) == [500]
        assert b"Connection: close\r\n" in answer and b"secret" not in answer
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("microweb.error", "GET / failed")
    assert record.exc_info and record.exc_info[1] is error


async def test_http_error_of_a_bare_handler_is_its_status() -> None:
    async with in_memory(faulty(NotFound())) as house:
        end = house.connect()
        await end.write(GET)
        assert statuses(await read_all(end)) == [404]


async def test_head_that_is_not_whole_in_time_gets_no_content() -> None:
    async with in_memory(hello, head_timeout_s=3) as house:
        end = house.connect()
        await end.write(b"HEAD / HTTP/1.1\r\nHost")
        await house.pass_time(4)
        answer = await read_all(end)
    assert statuses(answer) == [408] and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("method", "content"), [("GET", b"Bad Request\n"), ("HEAD", b"")])
@pytest.mark.parametrize("behind", [b"", GET, b"HEAD / HTTP/1.1\r\n\r\n"])
async def test_refusal_by_a_handler_is_an_answer_to_its_request(
    method: str, content: bytes, behind: bytes
) -> None:
    async def handler(request: Request) -> Response:
        raise MalformedRequest("not like this")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET.replace(b"GET", method.encode()) + behind)
        end.write_eof()
        answer = await read_all(end)
    assert statuses(answer) == [400] and answer.partition(b"\r\n\r\n")[2] == content


async def test_refusal_that_fails_closes_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(error: Exception) -> Response:
        raise ValueError("no answer to that")

    async with in_memory(hello) as house:
        house.server.state.refuse = refuse
        end = house.connect()
        await end.write(b"garbage\r\n\r\n")
        assert await read_all(end) == b""
    assert [record.getMessage() for record in caplog.records] == ["a connection failed"]


async def test_tls_on_a_port_without_it_is_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "_hellos", Throttle())
    async with in_memory(hello) as house:
        for data in (b"\x16\x03\x01\x02\x00\x01", b"\x16", b"\x16\r\n\r\n"):
            end = house.connect()
            await end.write(data)
            assert statuses(await read_all(end)) == [400]
            end.close()
    lines = [each.getMessage() for each in caplog.records if each.name == "microweb.server"]
    assert lines == [
        "127.0.0.1 speaks TLS to a port without TLS: use http:// there, or set tls_certificate"
    ]


async def test_refusals_are_logged_with_their_first_bytes_but_not_too_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "_refusals", Throttle(60.0, times=2))
    caplog.set_level("INFO", "microweb.protocol")
    async with in_memory(hello) as house:
        for number in range(4):
            end = house.connect()
            await end.write(b"GET\t/%d \x1b[31m\xff" % number + b"x" * 100 + b"\r\n\r\n")
            end.write_eof()
            assert statuses(await read_all(end)) == [400]
    assert [vars(record)["first_bytes"][:23] for record in caplog.records] == [
        r"GET\t/0 \x1b[31m\xffxxx",
        r"GET\t/1 \x1b[31m\xffxxx",
    ]
    assert len(vars(caplog.records[0])["first_bytes"]) < 120
    assert refusal_log._refusals.take_skipped() == 2


SECRET = b"SECRETTOKEN"
WITH_SECRETS = [
    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer SECRETTOKEN\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\nSECRETTOKEN\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\n SECRETTOKEN: folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\nSECRETTOKEN\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBearer SECRETTOKEN: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: SECRETTOKEN/\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: SECRETTOKEN\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: SECRETTOKEN\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: SECRETTOKEN /\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=SECRETTOKEN\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: SECRETTOKEN\x01",
    b"GET /?token=SECRETTOKEN\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?token=SECRETTOKEN HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /?token=SECRETTOKEN HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET a?token=SECRETTOKEN HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://SECRETTOKEN@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nAuthorization: Bearer SECRETTOKEN\r\n\r\n",
    b"Authorization : Bearer SECRETTOKEN\r\n\r\n",
]


@pytest.mark.parametrize("data", WITH_SECRETS)
async def test_no_query_and_no_value_of_a_field_is_logged_or_answered(
    data: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "_refusals", Throttle())
    caplog.set_level("INFO")

    async def read(request: Request) -> Response:
        return Response(await request.body())

    assert SECRET in data
    async with in_memory(read) as house:
        end = house.connect()
        await end.write(data)
        end.write_eof()
        answer = await read_all(end)
    assert len(statuses(answer)) == 1 and statuses(answer)[0] >= 400
    assert SECRET not in answer
    logged = [record for record in caplog.records if record.name == "microweb.protocol"]
    assert SECRET.decode() not in "".join(f"{vars(record)} {record}" for record in caplog.records)
    assert logged or b"chunked" in data  # a refusal of a body is the answer of the application
