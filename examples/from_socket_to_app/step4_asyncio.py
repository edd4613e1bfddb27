"""Step 4: many clients at a time. IPv4 and IPv6: http://127.0.0.1:5000/ and http://[::1]:5000/.

New: each connection has its own task, so no client waits for a silent one. The head is read up to
its empty line, even if it arrives in many pieces. `generate_response` does not change.

Still wrong: no bodies, one request a connection, no limit on connections. A request without Host is
accepted. Port 0 gives two different ports. The server needs a machine with IPv6.
"""

import asyncio
import contextlib
import socket
import sys

from step3_respond import generate_response

TIMEOUT_S = 5.0  # for the whole exchange: single bytes now and then do not extend it


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close. If it is too long, too slow or cut short, only close."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            response = generate_response(head.decode("latin-1"))
            print(response.partition(b"\r\n")[0].decode())
            writer.write(response)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        print("closed without an answer:", type(error).__name__)
    finally:
        writer.close()


def url_of(listener: socket.socket) -> str:
    """Return the URL of this listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def main() -> None:
    """Listen on the port of the command line, else 5000, until Ctrl-C."""
    port = int(sys.argv[1]) if sys.argv[1:] else 5000
    tasks: set[asyncio.Task[None]] = set()  # the event loop does not keep tasks alive

    # start_server(answer) would make these tasks, but Python 3.11 logs an error at their cancel.
    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with await asyncio.start_server(accept, ["127.0.0.1", "::1"], port) as server:
        print("listening on", " and ".join(sorted(map(url_of, server.sockets))))
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
