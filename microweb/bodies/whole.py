"""A whole body: convert it to bytes, frame it, and write a large one in slices.

Slices bound the memory, because the transport copies all bytes that the peer has not read yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator
from sys import getrefcount

from ..http.bytestream import ResponseStream
from ..http.headers import MutableHeaders
from ..http.request_head import RequestLine
from ..http.response_head import length_field

_OWN_REFERENCES = 3  # to a body: from its response, from its memoryview, and from `getrefcount`
_SLICE_BYTES = 256 * 1024


def whole_body(body: object) -> bytes:
    """Return a bytes-like body as bytes, because `len()` of a memoryview may not count bytes.

    Raises: TypeError, with the remedy, for a value of another type.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if isinstance(body, str):
        remedy = "set body.encode()"
    elif isinstance(body, (AsyncIterable, Iterator)):
        remedy = "to send pieces, use Response.stream(...)"
    elif body is None:
        remedy = "for an empty body, leave it out"
    else:
        remedy = "to send JSON, use Response.json(...)"
    raise TypeError(f"expected bytes as a body, or str, got {type(body).__name__}: {remedy}")


def length_of_whole(line: RequestLine, status: int, headers: MutableHeaders, size: int) -> bytes:
    """Return the Content-Length line of a whole body, or nothing if `headers` already has it.

    Raises: LocalProtocolError if `headers` has a wrong length.
    """
    declared = headers["content-length"] if "content-length" in headers.lines else None
    return length_field(status, size, declared, is_head=line.method == "HEAD")


async def write_slices(stream: ResponseStream, body: memoryview) -> None:
    """Write a large body. While the client does not read, count the body as held for the client.

    A body that another object also references (a constant, a cache) is not counted.
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
