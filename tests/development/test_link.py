"""Messages between the reloader and its worker."""

from __future__ import annotations

import socket
from threading import Thread

from microweb.development.link import Go, Link, Report


def test_messages_arrive_whole_in_both_directions() -> None:
    ours, theirs = map(Link, socket.socketpair())
    ours.send(Go("a\nfault", prints_routes=True))
    assert theirs.wait() == Go("a\nfault", prints_routes=True)
    assert ours.reports() == []
    report = Report([f"/app/{number}.py" for number in range(20_000)], ["/pages"], True)
    sending = Thread(target=theirs.send, args=(report,))  # more than the socket holds
    sending.start()
    found: list[Report] = []
    while not found:
        found = ours.reports()
    sending.join()
    assert found == [report]
    ours.close()
    theirs.close()


def test_end_of_the_other_process() -> None:
    ours, theirs = map(Link, socket.socketpair())
    ours.close()
    assert theirs.wait() is None
    theirs.send(Report([], [], True))
    theirs.close()
