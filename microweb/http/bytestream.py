"""The connection as answers use it, and the callbacks by which it reaches them.

The server's `Connection` provides it; tests without a connection use a fake.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Protocol


class Descriptor(Protocol):
    """An open file or socket."""

    def fileno(self) -> int: ...


class LongLived(Protocol):
    """An answer that lasts as long as its client: an event stream or a WebSocket.

    The connection calls these methods. Neither may raise.
    """

    @property
    def kind(self) -> str:
        """`events` or `websocket`, for an operator."""

    def tick(self, now: float) -> None:
        """Do the work that is due once a second; `now` is the event loop's time."""

    def stop(self, *, is_restart: bool) -> None:
        """Tell the client that the server stops, and end within the grace period.

        `is_restart`: another process serves the client if it connects again.
        """


class Share(Protocol):
    """One client's share of the memory that is buffered for all clients."""

    def hold(self, size: int, moved: int) -> None:
        """Count `size` bytes from now on; `moved` bytes were added or taken since the last call.

        This may call the `lose` callback of any share, this one included.
        """

    def release(self) -> None:
        """Count no bytes from now on."""


class Receiver(Protocol):
    """The receiver of a connection's bytes as they arrive. Neither method may raise."""

    def data_received(self, data: bytes) -> None:
        """Process bytes from the peer."""

    def end_received(self) -> None:
        """Process the end of the peer's bytes. It may be called twice."""


class ResponseStream(Protocol):
    """The connection's methods that one answer may use."""

    def write(self, data: bytes | memoryview) -> bool:
        """Send `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""

    def write_early(self, data: bytes) -> bool:
        """Send `data` before the answer waits for something else; return like `write`.

        If the client has left, drop `data` and return True: `drain()` raises ClientDisconnected.
        Until then the answer does not know, so its wait may be cancelled.
        """

    async def drain(self) -> None:
        """Wait until the peer has taken most of the written bytes. Raises: ClientDisconnected."""

    def hold(self, size: int) -> None:
        """Count `size` bytes of the answer as buffered for the client, until the next call."""

    async def send_file(self, file: Descriptor, offset: int, count: int) -> int:
        """Send part of a file through the kernel; return how many of its bytes were sent.

        0 means that the kernel can't send it. Raises: ClientDisconnected.
        """

    async def send_path(self, path: str | PathLike[str]) -> bool:
        """Let another server send a whole file as the content; return whether it can."""

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        """Call `long_lived.tick()` once a second, and its `stop()` when the server stops.

        If the server is already stopping, this calls `stop()` immediately. Until None replaces it,
        a stream is cancelled when its client leaves, whatever its route's `on_disconnect` says.
        """

    def probe(self, data: bytes) -> None:
        """Send `data` to test whether the peer still reads. Never raises.

        If the peer has bytes to take already, send nothing. If it has taken none of them since the
        last probe, cut the connection.
        """

    def interrupt(self) -> None:
        """Cancel what the answer waits for, unless it is shielded. Call it in `stop()`."""

    def upgrade(self) -> UpgradedStream:
        """Return the connection for another protocol. The 101 must have been written."""


class UpgradedStream(Protocol):
    """The connection's methods that another protocol may use after a 101."""

    def write(self, data: bytes | memoryview) -> bool:
        """Send `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""

    def write_soon(self, data: bytes) -> bool:
        """Send `data` at the end of this turn of the event loop, otherwise like `write`.

        Do not use both: `write` would overtake these bytes.
        """

    async def drain(self) -> None:
        """Wait until the peer has taken most of the written bytes. Raises: ClientDisconnected."""

    async def read(self) -> bytes:
        """Return the next bytes of the peer, `b""` at its end. Raises: ClientDisconnected."""

    def hand_over(self, receiver: Receiver | None) -> None:
        """Deliver the peer's bytes to `receiver` instead of `read`, until None replaces it.

        Bytes that are already buffered are delivered immediately.
        """

    def pause_reading(self) -> None:
        """Leave the peer's bytes in the kernel, so that the peer has to wait."""

    def resume_reading(self) -> None:
        """Continue after `pause_reading`."""

    def has_ended(self) -> bool:
        """Return whether the peer has ended its side, even if bytes of it are still unread.

        False if the transport can't say.
        """

    def has_input(self) -> bool:
        """Return whether bytes of the peer, or its end, are ready to be read.

        False if the transport can't say.
        """

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a share, for this client, of the memory that is buffered for all clients.

        `lose` is called when the client must give up its buffered bytes. It may not raise.
        """

    def probe(self, data: bytes) -> None:
        """Send `data` to test whether the peer still reads. Never raises.

        If the peer has bytes to take already, send nothing. If it has taken none of them since the
        last probe, cut the connection.
        """

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        """Call `long_lived.tick()` once a second, and its `stop()` when the server stops.

        None ends this. If the server is already stopping, this calls `stop()` immediately.
        """

    @property
    def is_shielded(self) -> bool:
        """Whether the endpoint is inside `request.shield()`."""

    async def close(self, *, has_more: bool) -> None:
        """Close our side when everything is written. Raises: ClientDisconnected.

        `has_more` says that the peer may have sent bytes that were not read.
        """

    def abort(self) -> None:
        """Cut the connection. A task that waits for the peer continues immediately."""
