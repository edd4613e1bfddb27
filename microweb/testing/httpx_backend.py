"""An httpcore connection pool over connections in memory, and its adapters to httpx."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import MissingExtra
from .network import ClientEnd

try:
    import httpcore
    import httpx
except ImportError as error:
    raise MissingExtra("microweb.testing", "testing") from error

_HTTPX_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
}

_Connect = Callable[[ssl.SSLContext | None], Awaitable[ClientEnd]]
_FindError = Callable[[], BaseException | None]


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, connect: _Connect) -> None:
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _NetworkStream(self._connect)


class _NetworkStream(httpcore.AsyncNetworkStream):
    """A network stream that connects at its first use, because `start_tls` may come before."""

    def __init__(self, connect: _Connect) -> None:
        self._connect = connect
        self._end: ClientEnd | None = None

    async def _connected(self) -> ClientEnd:
        if self._end is None:
            self._end = await self._connect(None)
        return self._end

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await (await self._connected()).read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(f"no byte for {timeout} s") from error
        except ConnectionError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await (await self._connected()).write(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(f"the server did not read for {timeout} s") from error
        except ConnectionError as error:
            raise httpcore.WriteError(str(error)) from error

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._end = await self._connect(ssl_context)
        return self

    async def aclose(self) -> None:
        if self._end is not None:
            self._end.close()

    def get_extra_info(self, info: str) -> Any:
        if self._end is None:
            return None
        if info == "is_readable":  # httpcore asks this to find out if an idle connection is closed
            return self._end.is_readable
        name = {"client_addr": "peername", "server_addr": "sockname"}.get(info)
        return None if name is None else self._end.transport.get_extra_info(name)


class Content(httpx.AsyncByteStream):
    """The content of a response, streamed."""

    def __init__(
        self, answer: httpcore.Response, find_error: _FindError, forget: Callable[[], None]
    ) -> None:
        self._answer = answer
        self._find_error = find_error
        self._forget = forget  # the request, at the end of its answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            with httpx_errors():
                async for piece in self._answer.aiter_stream():
                    yield piece
        except httpx.RemoteProtocolError:  # the response was cut
            error = self._find_error()
            if error is None:
                raise
            raise error from None

    async def aclose(self) -> None:
        await self._answer.aclose()
        self._forget()


def new_pool(connect: _Connect) -> httpcore.AsyncConnectionPool:
    """Return a pool of connections that `connect` makes, without a limit on their number."""
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        max_connections=None,
        network_backend=_Backend(connect),
    )


def to_httpcore(request: httpx.Request) -> httpcore.Request:
    """Return httpx's request as an httpcore request."""
    url = request.url
    assert isinstance(request.stream, httpx.AsyncByteStream)
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


@contextmanager
def httpx_errors() -> Iterator[None]:
    """Convert errors of httpcore in the block to the errors of httpx."""
    try:
        yield
    except tuple(_HTTPX_ERRORS) as error:
        raise _HTTPX_ERRORS[type(error)](str(error)) from error
