"""The connection, as answers speak to it, and how it speaks to those that last.

The server's `Connection` is one; what is tested without a connection has a fake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Descriptor(Protocol):
    """An open file, or a socket."""

    def fileno(self) -> int: ...


class Lasting(Protocol):
    """An answer that goes on for as long as its client is there, as its connection speaks to it."""

    def look(self, now: float) -> None:
        """Take note that about a second has passed; `now` is the loop's time."""

    def stop(self) -> None:
        """Take note that the server stops: say so to the client, and end within the grace."""


class Share(Protocol):
    """What is buffered for one client, as part of the memory that is for all clients."""

    def hold(self, size: int, moved: int) -> None:
        """Count `size` bytes from now on; `moved` more came, or were taken, since the last time.

        This may call the `lose` of any share, of this one too.
        """

    def release(self) -> None:
        """Count nothing from now on."""


class Receiver(Protocol):
    """What is handed a connection's bytes as they come. Neither may raise."""

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent."""

    def end_received(self) -> None:
        """Take note that nothing more will come; perhaps twice."""


class ResponseStream(Protocol):
    """The connection, as far as an answer writes to it."""

    def write(self, data: bytes | memoryview) -> bool:
        """Send `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""

    async def drain(self) -> None:
        """Wait until the peer has taken what was written. Raises: ClientDisconnected."""

    def hold(self, size: int) -> None:
        """Count `size` bytes of the answer as buffered for the client, until the next call."""

    async def send_file(self, file: Descriptor, offset: int, count: int) -> int:
        """Have the kernel send a part of a file; return how many bytes of it, 0 where it can't.

        Raises: ClientDisconnected.
        """

    def inform(self, lasting: Lasting | None) -> None:
        """Have `lasting` told of each second, and of the server's stop, until None replaces it.

        Neither may raise. A server that stops already says so at once. Until then a stream is
        cancelled where the client has left, whatever its route says.
        """

    def probe(self, data: bytes) -> None:
        """Send `data`, unless there is more to take already, to learn whether the peer is there.

        One that has taken nothing since the last time, though there was something, is cut off.
        Never raises.
        """

    def interrupt(self) -> None:
        """Cancel what the answer waits for, unless that is shielded. To be called in `stop()`."""

    def upgrade(self) -> UpgradedStream:
        """Return the connection for another protocol: the 101 is written."""


class UpgradedStream(Protocol):
    """The connection behind a 101, as the other protocol has it."""

    def write(self, data: bytes | memoryview) -> bool:
        """Send `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""

    def write_soon(self, data: bytes) -> bool:
        """Send `data` at the end of this turn of the loop, else as `write`, not to be mixed."""

    async def drain(self) -> None:
        """Wait until the peer has taken what was written. Raises: ClientDisconnected."""

    async def read(self) -> bytes:
        """Return what the peer sent next, `b""` at its end. Raises: ClientDisconnected."""

    def hand_over(self, receiver: Receiver | None) -> None:
        """Hand to `receiver` what comes, in place of `read`, until None takes its place.

        What was buffered it gets at once.
        """

    def pause_reading(self) -> None:
        """Leave what comes to the kernel: the peer has to wait."""

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""

    def has_ended(self) -> bool:
        """Whether the peer sends no more, whatever of it is still unread; false where unknown."""

    def has_input(self) -> bool:
        """Return whether bytes of the peer, or its end, wait to be read; false if unknown."""

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a share, for this client, of the memory that is buffered for all.

        `lose` is called to give up what is held. It may not raise.
        """

    def probe(self, data: bytes) -> None:
        """Send `data`, unless there is more to take already, to learn whether the peer is there.

        One that has taken nothing since the last time, though there was something, is cut off.
        Never raises.
        """

    def inform(self, lasting: Lasting | None) -> None:
        """Have `lasting` told of each second, and of the server's stop, until None replaces it.

        Neither may raise. A server that stops already says so at once.
        """

    @property
    def is_shielded(self) -> bool:
        """Whether the endpoint is inside `request.shield()`."""

    async def close(self, *, has_more: bool) -> None:
        """End our side once all is written. `has_more`: the peer may have sent what nobody read.

        Raises: ClientDisconnected.
        """

    def abort(self) -> None:
        """Cut the connection: what waits for the peer goes on at once."""
