"""A loop over the streams of asyncio that parses no request: `python site_streams.py PORT`.

It has one fixed answer to each path. A server in Python that reads by streams can't be faster.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
TEXT, JSON = b"Hello, World!", b'{"message":"Hello, World!"}'
ANSWER = HEAD % (b"text/plain", len(TEXT)) + b"\r\n" + TEXT
LAST = HEAD % (b"text/plain", len(TEXT)) + b"Connection: close\r\n\r\n" + TEXT
JSON_ANSWER = HEAD % (b"application/json", len(JSON)) + b"\r\n" + JSON


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            if b"\r\nConnection: close" in data:
                writer.write(LAST)
                break
            writer.write(JSON_ANSWER if data.startswith(b"GET /json") else ANSWER)
    except ConnectionError:
        pass  # the load has ended
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
