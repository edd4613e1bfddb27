from __future__ import annotations

import pytest
from support.answering import (
    GET,
    HEADS,
    OLD,
    FakeStream,
    make_request,
    send,
    split,
)

from microweb.errors import BadRequest, HTTPError, LocalProtocolError
from microweb.http.bytestream import UpgradedStream
from microweb.http.framing import CLOSE
from microweb.request import Request
from microweb.websocket.upgrade import UpgradeResponse

ASKING = make_request("GET", "Connection: keep-alive, Upgrade", "Upgrade: other, ECHO/2")


async def speak(stream: UpgradedStream) -> None:
    stream.write(await stream.read())


async def test_an_upgrade_is_a_101_then_the_other_protocol() -> None:
    async def speak(stream: UpgradedStream) -> None:
        stream.write(b"hello")

    response = UpgradeResponse({"Upgrade": "echo/1", "X": "y"}, speak)
    assert response.status == 101
    assert response.run is speak
    assert response.encode(ASKING, HEADS, b"") is None  # the body writes itself
    head, hello = (await send(response, ASKING)).writes
    assert hello == b"hello"
    assert split(head) == (
        b"HTTP/1.1 101 Switching Protocols",
        {b"upgrade": b"echo/1", b"x": b"y", b"connection": b"Upgrade"},
        b"",
    )


async def test_an_upgrade_is_not_for_http_1_0() -> None:
    stream = FakeStream()
    response = UpgradeResponse({"Upgrade": "echo"}, speak)
    assert response.source is not None
    assert await response.prepare(ASKING) is response
    with pytest.raises(BadRequest, match=r"an upgrade needs HTTP/1\.1, got HTTP/1\.0"):
        await response.prepare(OLD)
    with pytest.raises(BadRequest):
        await response.send_to(stream, OLD, HEADS, CLOSE)
    assert stream.writes == []


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        make_request("GET", "Upgrade: echo"),
        make_request("GET", "Connection: Upgrade"),
        make_request("GET", "Connection: Upgrade", "Upgrade: echoes, other"),
    ],
)
async def test_a_client_that_does_not_ask_for_the_protocol_is_told_to(request_: Request) -> None:
    stream = FakeStream()
    response = UpgradeResponse({"Upgrade": "echo/1"}, speak)
    with pytest.raises(HTTPError, match="expected an upgrade to echo/1") as caught:
        await response.send_to(stream, request_, HEADS, CLOSE)
    assert caught.value.status == 426
    assert caught.value.headers == {"Upgrade": "echo/1", "Connection": "Upgrade"}
    assert stream.writes == []


def test_an_upgrade_names_its_protocol() -> None:
    with pytest.raises(LocalProtocolError, match="names the protocol"):
        UpgradeResponse({}, speak)
