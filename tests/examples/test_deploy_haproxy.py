"""haproxy.cfg of the deployment kit: a server stops, and the other one takes its requests."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest
from support.fronts import Front, ask_haproxy, clients_of, haproxy
from support.processes import DEADLINE_S
from support.supervising import until

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")

DRAIN_S = 6.0  # more than the 4 s of the check


def state_of(front: Front, name: str) -> str:
    """Return the state of a server of the backend, as HAProxy sees it."""
    lines = ask_haproxy(front, "show stat").splitlines()
    titles, *rows = (line.split(",") for line in lines if line)
    (found,) = (row for row in rows if row[:2] == ["app", name])
    return found[titles.index("status")]


async def test_no_request_fails_while_a_server_drains_and_stops(tmp_path: Path) -> None:
    with haproxy(tmp_path, drain_delay_s=DRAIN_S) as front:
        await asyncio.to_thread(until, lambda: state_of(front, "app1") == "UP")
        clients = clients_of(front)
        async with asyncio.TaskGroup() as tasks:
            for each in clients:
                tasks.create_task(each.run(2))
            stopped, other = front.servers
            stopped.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(until, lambda: state_of(front, "app1") == "DOWN")
            assert stopped.process.poll() is None, "it must be down before it stops accepting"
            assert await asyncio.to_thread(stopped.process.wait, DEADLINE_S) == 0
            for each in clients:
                each.stop()
        assert [each.failed for each in clients] == [[]] * len(clients)
        assert other.process.poll() is None
        assert "app/app1 is DOWN, reason: Layer7 wrong status, code: 503" in front.log.read_text()
