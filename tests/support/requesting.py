"""Requests for tests, without a connection: a peer with small limits, a body in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from microweb import Headers, Request
from microweb.http.interfaces import Address, Ends, Origin
from microweb.http.request_head import (
    HeaderSection,
    RequestLine,
    decide_framing,
    parse_request_line,
)
from microweb.request import make_request
from microweb.server.config import ServerConfig


class FakePeer:
    """A connection with the attributes that the test sets."""

    address = Address("10.0.0.9", 4711)
    ends = Ends(("192.0.2.80", 8000), None, False)
    scheme = "http"
    limits = ServerConfig(max_form_fields=3, max_form_text=1000).limits
    is_draining = False

    def origin_of(self, section: HeaderSection) -> Origin:
        headers = section.headers
        if "x-forwarded-for" in headers:
            return Origin(Address(headers["x-forwarded-for"], 0), "https")
        return Origin(self.address, self.scheme)


class FakeBody:
    """A body in pieces. An exception among them is raised at its position, by every later read."""

    trailers: Headers | None = None
    waits_for_peer = True

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self._pieces = list(pieces)
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def take_whole(self, limit: int | None) -> bytes | None:
        return None

    def keep(self, size: int) -> None:
        """Count nothing."""

    async def read(self, limit: int | None) -> bytes:
        await self.may_go_on.wait()
        if not self._pieces:
            return b""
        if isinstance(self._pieces[0], Exception):
            raise self._pieces[0]
        return self._pieces.pop(0)  # type: ignore[return-value]


def request_of(
    target: str = "/",
    headers: dict[str, str] | None = None,
    body: FakeBody | None = None,
    method: str = "GET",
) -> Request:
    line: RequestLine = parse_request_line(method, target)
    section = decide_framing(Headers({"Host": "example.org", **(headers or {})}), 1)
    return make_request(line, section, FakePeer(), body)


def posted(*pieces: bytes | Exception, content_type: str = "") -> Request:
    headers = {"Content-Type": content_type} if content_type else {}
    return request_of("/", headers, FakeBody(pieces), "POST")
