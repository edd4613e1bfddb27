"""The answer after which a connection speaks another protocol. RFC 9110 section 7.8"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..errors import BadRequest, HTTPError, LocalProtocolError
from ..http.bytestream import ByteStream, UpgradedStream
from ..http.framing import CLOSE
from ..http.headers import list_members
from ..http.interfaces import Fields
from ..http.response_head import HeadCache
from ..request import Request
from ..response import Response


class UpgradeResponse(Response):
    """101: the connection stops being HTTP. RFC 9110 section 7.8

    The server writes the head, with `headers` (which name the protocol in `Upgrade`), then awaits
    `run(stream)`, whose `read()` begins with the bytes that came behind the request: what is left
    of its content is read and forgotten before. HTTP/1.0 knows no upgrade: a request of that
    version is answered 400, and one that does not ask for this protocol 426.
    """

    __slots__ = ("run",)

    needs_prepare = True
    may_read_body = True

    def __init__(self, headers: Fields, run: Callable[[UpgradedStream], Awaitable[None]]) -> None:
        super().__init__(b"")
        self._status = 101
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            self.headers.add(name, value)
        if "upgrade" not in self.headers:
            raise LocalProtocolError("expected an Upgrade field that names the protocol")
        self.headers["Connection"] = "Upgrade"
        self.run = run

    def persistence(self, request: Request, connection: bytes) -> bytes:
        return CLOSE  # once the other protocol is done

    async def prepare(self, request: Request) -> Response:
        if request.section.minor_version == 0:
            raise BadRequest(f"an upgrade needs HTTP/1.1, got HTTP/{request.http_version}")
        wanted = self.headers["upgrade"]
        if not _is_asked_for(wanted, request):
            headers = {"Upgrade": wanted, "Connection": "Upgrade"}
            raise HTTPError(426, f"expected an upgrade to {wanted}", headers=headers)
        # No protocol is changed inside a message, and a 100 that is expected comes before the 101.
        while request.source is not None and await request.source.read(request.max_body):
            pass
        return self

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        return None

    async def send_to(
        self, stream: ByteStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        await self.prepare(request)  # whoever answers without an app has not
        stream.write(self._encode_head(request, heads, b"", b""))
        await self.run(stream.upgrade())


def _is_asked_for(protocols: str, request: Request) -> bool:
    """Whether a request asks for all of these, in any version; a server must not else switch."""
    fields = request.headers.by_name
    options = list_members(fields.get("connection", "").lower())
    return "upgrade" in options and _names(protocols) <= _names(fields.get("upgrade", ""))


def _names(protocols: str) -> set[str]:
    return {member.partition("/")[0] for member in list_members(protocols.lower())}
