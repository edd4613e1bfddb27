"""nginx and HAProxy of the deployment kit, if the app closes a connection that they have kept."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from support.fronts import Front, ask_haproxy, haproxy, nginx
from support.processes import DEADLINE_S


class AnswersOnce:
    """A server that answers the first request of each connection, and closes it at the second."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()  # "GET /path"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await self._read_request(reader)
        except asyncio.IncompleteReadError:  # the proxy has closed it, or it was a probe
            pass
        finally:
            writer.close()

    async def _read_request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        (length,) = re.findall(r"(?i)\ncontent-length: (\d+)", head) or ["0"]
        await reader.readexactly(int(length))
        self.seen[head.partition(" HTTP/")[0]] += 1


@asynccontextmanager
async def behind(name: str, folder: Path) -> AsyncIterator[tuple[AnswersOnce, Front]]:
    """Yield the server and its proxy."""
    app = AnswersOnce()
    if name == "nginx":
        with nginx(folder, with_app=False) as front:
            async with await asyncio.start_unix_server(app.serve, front.kit / "app.sock"):
                yield app, front
    else:
        async with await asyncio.start_server(app.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with haproxy(folder, app_ports=[port, port]) as front:
                ask_haproxy(front, "disable server app/app2")  # one queue of kept connections
                yield app, front


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_get_is_sent_again_and_post_is_not(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    async with asyncio.timeout(DEADLINE_S), behind(name, tmp_path) as (app, front):
        with front.client() as client:
            first = await asyncio.to_thread(client.get, "/first")
            again = await asyncio.to_thread(client.get, "/again")
            assert (first.status_code, again.status_code) == (200, 200)
            assert app.seen["GET /again"] == 2
            try:
                posted = (await asyncio.to_thread(client.post, "/once", content=b"a")).status_code
            except httpx.RemoteProtocolError:  # HAProxy may close, so that the client decides
                posted = 502
            assert posted == 502
            assert app.seen["POST /once"] == 1
