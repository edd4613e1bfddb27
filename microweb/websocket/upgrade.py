"""The response that switches a connection to another protocol. RFC 9110 section 7.8"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping

from ..bodies.body import EncodeHead, Head, Leave, RequestInfo, WrittenBody
from ..errors import BadRequest, HTTPError, LocalProtocolError
from ..http.bytestream import ResponseStream, UpgradedStream
from ..http.headers import MAX_MEMBERS, Headers, MutableHeaders, list_members
from ..http.interfaces import Fields
from ..request import Request
from ..response import Response

Run = Callable[[UpgradedStream], Awaitable[None]]


class UpgradeResponse(Response):
    """101: the connection switches from HTTP to another protocol. RFC 9110 section 7.8

    The server writes the header section with `headers`, whose `Upgrade` names the protocol. Then it
    awaits `run(stream)`. The stream begins with the bytes after the request; the rest of the
    request's body is read and dropped before. HTTP/1.0 has no upgrade: a request of that version is
    answered 400, and a request that does not ask for this protocol 426.
    """

    __slots__ = ("run",)

    def __init__(self, headers: Fields, run: Run) -> None:
        super().__init__(UpgradedBody(run))
        self._status = 101
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            self.headers.add(name, value)
        if "upgrade" not in self.headers:
            raise LocalProtocolError("expected an Upgrade field that names the protocol, got none")
        self.headers["Connection"] = "Upgrade"
        self.run = run


class UpgradedBody(WrittenBody):
    """The bytes of another protocol, after the header section of a 101."""

    __slots__ = ("_leave", "_request", "_run")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._request: RequestInfo | None = None
        self._leave: Leave | None = None  # called after the other protocol

    def ends_by_close(self, minor_version: int, headers: MutableHeaders) -> bool:
        return True  # HTTP does not continue after the other protocol

    def keep_until_end(self, leave: Leave) -> bool:
        assert self._request is not None
        self._request.exchange.hold(self)
        self._leave = leave
        return True

    async def discard(self) -> None:
        """Leave the resources, because the 101 is not sent."""
        await self._leave_once(sys.exc_info()[1])

    async def _leave_once(self, error: BaseException | None) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            assert self._request is not None
            self._request.exchange.release(self)
            await leave(error and type(error), error, error and error.__traceback__)

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        """Check that the request asks for the protocol. Raises: HTTPError."""
        self._request = request
        if request.section.minor_version == 0:
            raise BadRequest("an upgrade needs HTTP/1.1, got HTTP/1.0")
        wanted = head.headers["upgrade"]
        if not _asks_for(wanted, request.headers):
            headers = {"Upgrade": wanted, "Connection": "Upgrade"}
            raise HTTPError(426, f"expected an upgrade to {wanted}", headers=headers)
        # Read the whole request first: the protocol can't change inside a message, and an expected
        # 100 comes before the 101.
        assert isinstance(request, Request)
        while request.source is not None and await request.source.read(request.max_body):
            pass

    async def send(
        self,
        stream: ResponseStream,
        request: RequestInfo,
        head: Head,
        encode_head: EncodeHead,
    ) -> None:
        """Write the header section, then run the other protocol."""
        await self.prepare(request, head)  # a handler without an app has not called it
        stream.write(encode_head(b""))
        try:
            await self._run(stream.upgrade())
        except BaseException as error:
            await self._leave_once(error)
            raise
        await self._leave_once(None)


def _asks_for(protocols: str, headers: Headers) -> bool:
    """Whether a request asks for all these protocols, in any version; else don't switch."""
    fields = headers.by_name
    options = list_members(fields.get("connection", "").lower(), MAX_MEMBERS)
    return "upgrade" in options and _names(protocols) <= _names(fields.get("upgrade", ""))


def _names(protocols: str) -> set[str]:
    return {member.partition("/")[0] for member in list_members(protocols.lower(), MAX_MEMBERS)}
