"""A body that is no bytes yet: rendered once its request is known, or written by itself.

A `Response` holds bytes directly, and one of these as its `source`. There are two kinds. A
`RenderedBody` becomes bytes, for each exchange anew: JSON, a template. A `WrittenBody` answers one
exchange, and writes itself behind the head: a stream, a file, events, another protocol.

Neither knows the classes of requests and responses: `RequestInfo` and `Head` are all of these that
a body needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..http.bytestream import ResponseStream
from ..http.exchange import Exchange
from ..http.headers import Headers, MutableHeaders
from ..http.interfaces import MatchInfo, Peer
from ..http.request_head import HeaderSection, RequestLine

EncodeHead = Callable[[bytes], bytes]  # the field line that frames the content -> the whole head


class RequestInfo(Protocol):
    """The request that a body answers, as far as the body needs it."""

    @property
    def line(self) -> RequestLine: ...
    @property
    def section(self) -> HeaderSection: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def match(self) -> MatchInfo | None: ...
    @property
    def transport(self) -> Peer: ...
    @property
    def exchange(self) -> Exchange: ...


class Head(Protocol):
    """The status and header fields that are sent before a body. A body may change them."""

    status: int

    @property
    def headers(self) -> MutableHeaders: ...


class Body:
    """A body that is no bytes yet."""

    __slots__ = ()

    def check_unclaimed(self) -> None:
        """Raise LocalProtocolError if it can be sent once, and answers a request already."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class RenderedBody(Body):
    """A body that becomes bytes once its request is known. It may answer many requests."""

    __slots__ = ()

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        """Return the bytes for `request`; for None those that need no request."""
        raise NotImplementedError

    def replaced(self, body: bytes) -> RenderedBody | None:
        """Return the body that is left to render once `body` takes its place."""
        return None


class WrittenBody(Body):
    """A body that writes itself, once.

    `may_read_body`: it reads the body of its request while it is sent. `is_compressible`: it has
    pieces that middleware may compress. `has_own_conditions`: it evaluates the preconditions of its
    request itself, or can't be left out.
    """

    __slots__ = ()

    may_read_body = True
    is_compressible = False
    has_own_conditions = True

    def ends_by_close(self, minor_version: int, headers: MutableHeaders) -> bool:
        """Return whether the end of the connection is the end of the body."""
        return False

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        """Make it ready to answer `request`. More than once for the same request does nothing.

        Raises: LocalProtocolError if it has answered another.
        """
        raise NotImplementedError

    async def send(
        self,
        stream: ResponseStream,
        request: RequestInfo,
        head: Head,
        encode_head: EncodeHead,
    ) -> None:
        """Write the head and the body, and prepare it first if no application has.

        If it raises, the connection must be cut.
        """
        raise NotImplementedError
