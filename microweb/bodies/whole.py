"""A whole body: how it becomes bytes, its length, and how a large one is written.

Strategy: a large body goes out in slices, because the transport keeps a copy of all that the peer
has not taken yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator
from sys import getrefcount

from ..http.bytestream import ResponseStream
from ..http.headers import MutableHeaders
from ..http.request_head import RequestLine
from ..http.response_head import length_field

_OWN_REFERENCES = 3  # to a body: of its response, of the view on it, and of the call that counts
_SLICE_BYTES = 256 * 1024


def whole_body(body: object) -> bytes:
    """Return a body as bytes: `len()` of a buffer may count items of several bytes each.

    Raises: TypeError, with the remedy, for a value of another type.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if isinstance(body, str):
        remedy = "set body.encode()"
    elif isinstance(body, (AsyncIterable, Iterator)):
        remedy = "Response.stream(...) sends pieces"
    elif body is None:
        remedy = "leave it out for an empty one"
    else:
        remedy = "Response.json(...) sends JSON"
    raise TypeError(f"expected bytes as a body, or str, got {type(body).__name__}: {remedy}")


def length_of_whole(line: RequestLine, status: int, headers: MutableHeaders, size: int) -> bytes:
    """Return the Content-Length line of a whole body, or nothing if `headers` has a right one.

    Raises: LocalProtocolError for a wrong one.
    """
    declared = headers["content-length"] if "content-length" in headers.lines else None
    return length_field(status, size, declared, is_head=line.method == "HEAD")


async def write_slices(stream: ResponseStream, body: memoryview) -> None:
    """Write a large body, and count it for its client while that does not read it.

    A body that another object holds as well, a constant or a cache, is not there for the client.
    """
    is_own = getrefcount(body.obj) <= _OWN_REFERENCES
    try:
        for start in range(0, len(body), _SLICE_BYTES):
            if stream.write(body[start : start + _SLICE_BYTES]):
                if is_own:
                    stream.hold(len(body))
                await stream.drain()
    finally:
        stream.hold(0)
