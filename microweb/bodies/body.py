"""The base classes of response bodies that are not plain bytes.

A `Response` holds bytes directly, or one of these bodies as its `source`. There are two kinds. A
`RenderedBody` is converted to bytes for each exchange: JSON, a template. A `WrittenBody` answers
one exchange and writes the head and the content itself: a stream, a file, events, an upgrade.

This module does not import `Request` and `Response`. The protocols `RequestInfo` and `Head` name
the parts of them that a body needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ..http.bytestream import ResponseStream
from ..http.exchange import Exchange
from ..http.headers import Headers, MutableHeaders
from ..http.interfaces import MatchInfo, Peer
from ..http.request_head import HeaderSection, RequestLine
from ..http.trailers import Trailers

Leave = Callable[..., Awaitable[object]]  # takes the arguments of `__aexit__`
EncodeHead = Callable[[bytes], bytes]  # the field line with the framing -> the whole head


class RequestInfo(Protocol):
    """The parts of a request that a body needs."""

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
    def root_path(self) -> str: ...
    @property
    def match(self) -> MatchInfo | None: ...
    @property
    def transport(self) -> Peer: ...
    @property
    def exchange(self) -> Exchange: ...


class Head(Protocol):
    """The status and header fields that precede a body. A body may change them."""

    status: int

    @property
    def headers(self) -> MutableHeaders: ...


class Body:
    """A body that is not plain bytes."""

    __slots__ = ()

    def check_unclaimed(self) -> None:
        """Raise LocalProtocolError if the body can be sent only once and is already in use."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class RenderedBody(Body):
    """A body that is converted to bytes for each request. It may answer many requests."""

    __slots__ = ()

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        """Return the bytes for `request`, or for no particular request if it is None."""
        raise NotImplementedError

    def replaced(self, body: bytes) -> RenderedBody | None:
        """Return the `RenderedBody` for the new content `body`, or None if bytes are enough."""
        return None


class WrittenBody(Body):
    """A body that writes itself to the connection, once.

    `may_read_body`: sending it may read the request's body. `is_compressible`: middleware may
    compress its pieces. `has_own_conditions`: it evaluates the request's preconditions itself, or
    must not be replaced by a 304.
    """

    __slots__ = ()

    may_read_body = True
    is_compressible = False
    has_own_conditions = True

    @property
    def trailers(self) -> Trailers | None:
        """The fields behind the last chunk, None if the body is not sent in chunks."""
        return None

    def ends_by_close(self, minor_version: int, headers: MutableHeaders) -> bool:
        """Return whether only the close of the connection marks the end of the body."""
        return False

    def keep_until_end(self, leave: Leave) -> bool:
        """Await `leave` when the body has ended, or is not sent, if it needs resources until then.

        Return False if it needs none. Call this after `prepare`.
        """
        return False

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        """Prepare the answer to `request`. A second call for the same request does nothing.

        Raises: LocalProtocolError if the body was used for another request.
        """
        raise NotImplementedError

    async def send(
        self,
        stream: ResponseStream,
        request: RequestInfo,
        head: Head,
        encode_head: EncodeHead,
    ) -> None:
        """Write the head and the content. Prepare the body first if the application did not.

        If this raises, the caller must abort the connection.
        """
        raise NotImplementedError


def trailers_of(source: Body | None, owner: object) -> Trailers:
    """Return the trailers of a body that is sent in chunks.

    Raises: AttributeError, for the object `owner`, if there are none.
    """
    trailers = source.trailers if isinstance(source, WrittenBody) else None
    if trailers is None:
        raise AttributeError(
            "this response has no trailers, because it is not sent in chunks: set the field in "
            "response.headers",
            name="trailers",
            obj=owner,
        )
    return trailers
