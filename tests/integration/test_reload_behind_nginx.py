"""Reloads behind nginx, which keeps its connections to the workers: no client gets a 502.

nginx sends each request once (POST, `proxy_next_upstream off`), so that a request lost by a worker
would be seen. `benchmarks/reload.py` has the long form, beside other servers.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.load import Clients
from support.nginx import IS_INSTALLED, nginx
from support.supervising import SCRIPT, supervised

pytestmark = [
    pytest.mark.skipif(not IS_INSTALLED, reason="needs nginx"),
    pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets"),
]


def loads_on(url: str) -> list[tuple[Clients, int]]:
    """Return clients of nginx that send without a pause, once, or now and then."""
    return [
        (Clients(url, keeps=True, method="POST"), 24),
        (Clients(url, keeps=False, method="POST"), 8),
        (Clients(url, keeps=True, method="POST", pause_s=2.0), 50),
    ]


async def test_reload_behind_nginx_is_no_502(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(SCRIPT)
    with (
        supervised(script) as (program, own_url),
        nginx(urlsplit(own_url).port or 0) as (port, log),
    ):
        loads = loads_on(f"http://127.0.0.1:{port}")
        async with asyncio.TaskGroup() as tasks:
            for load, count in loads:
                tasks.create_task(load.run(count))
            for _ in range(3):
                program.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(program.err.wait_for, "reload complete")
            for load, _ in loads:
                load.stop()
        program.stop()
        assert [load.failed for load, _ in loads] == [[]] * len(loads), log.read_text()
        assert len({pid for load, _ in loads for pid in load.bodies}) >= 4  # of eight workers
