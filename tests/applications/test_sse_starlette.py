"""sse-starlette: events arrive one by one; the generator ends if the client leaves."""

from __future__ import annotations

import socket
import struct

import pytest
from support.applications import Serve, both_ways
from support.processes import DEADLINE_S
from support.supervising import until

pytestmark = pytest.mark.applications
pytest.importorskip("sse_starlette")


@both_ways
def test_events_arrive_one_by_one(serve: Serve, is_mounted: bool) -> None:
    site = serve("sse_app:app", is_mounted=is_mounted)
    with site.stream("GET", "/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        for number in range(3):
            event = [next(lines) for _ in range(5)]
            fields = {f"id: {number}", "event: tick", f"data: line {number}", "data: more"}
            assert set(event[:-1]) == fields
            assert event[-1] == ""
            site.post("/release")  # the next event is made now
    until(lambda: site.get("/seen").json() == ["cancelled"])


@both_ways
def test_a_reset_ends_the_generator(serve: Serve, is_mounted: bool) -> None:
    site = serve("sse_app:app", is_mounted=is_mounted)
    port = int(site.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as leaving:
        leaving.sendall(f"GET {site.prefix}/events HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert b"200" in leaving.recv(1000)
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: site.get("/seen").json() == ["cancelled"])


@both_ways
def test_a_stop_of_the_server_cuts_the_stream(serve: Serve, is_mounted: bool) -> None:
    site = serve("sse_app:app", "--grace-s", "0.5", is_mounted=is_mounted)
    with site.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        assert next(lines)
        site.program.stop()
    assert site.program.err.rest().endswith("did not end within grace_s=0.5: cut")
    site.program.err.seen.clear()
