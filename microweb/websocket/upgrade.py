"""The answer after which a connection speaks another protocol. RFC 9110 section 7.8"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..bodies.body import EncodeHead, Head, RequestInfo, WrittenBody
from ..errors import BadRequest, HTTPError, LocalProtocolError
from ..http.bytestream import ResponseStream, UpgradedStream
from ..http.headers import Headers, MutableHeaders, list_members
from ..http.interfaces import Fields
from ..request import Request
from ..response import Response

Run = Callable[[UpgradedStream], Awaitable[None]]


class UpgradeResponse(Response):
    """101: the connection stops being HTTP. RFC 9110 section 7.8

    The server writes the head, with `headers` (which name the protocol in `Upgrade`), then awaits
    `run(stream)`, whose `read()` begins with the bytes that came behind the request: what is left
    of its content is read and forgotten before. HTTP/1.0 knows no upgrade: a request of that
    version is answered 400, and one that does not ask for this protocol 426.
    """

    __slots__ = ("run",)

    def __init__(self, headers: Fields, run: Run) -> None:
        super().__init__(UpgradedBody(run))
        self._status = 101
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            self.headers.add(name, value)
        if "upgrade" not in self.headers:
            raise LocalProtocolError("expected an Upgrade field that names the protocol")
        self.headers["Connection"] = "Upgrade"
        self.run = run


class UpgradedBody(WrittenBody):
    """The bytes of another protocol, behind the head of a 101."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def ends_by_close(self, minor_version: int, headers: MutableHeaders) -> bool:
        return True  # once the other protocol is done

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        """Check that the request asks for the protocol. Raises: HTTPError."""
        if request.section.minor_version == 0:
            raise BadRequest("an upgrade needs HTTP/1.1, got HTTP/1.0")
        wanted = head.headers["upgrade"]
        if not _is_asked_for(wanted, request.headers):
            headers = {"Upgrade": wanted, "Connection": "Upgrade"}
            raise HTTPError(426, f"expected an upgrade to {wanted}", headers=headers)
        # No protocol is changed inside a message, and a 100 that is expected comes before the 101.
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
        """Write the head, and let the other protocol speak."""
        await self.prepare(request, head)  # whoever answers without an app has not
        stream.write(encode_head(b""))
        await self._run(stream.upgrade())


def _is_asked_for(protocols: str, headers: Headers) -> bool:
    """Whether a request asks for all of these, in any version; a server must not else switch."""
    fields = headers.by_name
    options = list_members(fields.get("connection", "").lower())
    return "upgrade" in options and _names(protocols) <= _names(fields.get("upgrade", ""))


def _names(protocols: str) -> set[str]:
    return {member.partition("/")[0] for member in list_members(protocols.lower())}
