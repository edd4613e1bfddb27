"""The meter of a server: the metrics that microweb measures itself.

Names and labels of requests are those of OpenTelemetry's conventions for HTTP servers. A label has
only values of a bounded set: the pattern of a route and never a path, a method that HTTP defines or
`_OTHER`, a status, a reason of a refusal.

Counters and histograms are written once per exchange, immediately, on the event loop. Gauges are a
sample, once a second.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..concurrency.subscribers import subscribers
from .inventory import STATES, state_of
from .lines import dropped
from .metrics_board import LINES_DROPPED, LINES_DROPPED_HELP
from .metrics_instruments import BUCKETS, SUM, VALUE
from .metrics_registry import REGISTRY, Family
from .metrics_series import COUNTER, CREATED, GAUGE, HISTOGRAM, Definition
from .records import CLIENT_LEFT, DEADLINE, DONE, FAILED, REFUSED, STOPPED, ExchangeRecord

if TYPE_CHECKING:
    from .server import Server
    from .worker import Worker

# RFC 9110 section 9.3 and RFC 5789, as OpenTelemetry names them.
METHODS = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())
OTHER_METHOD = "_OTHER"

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
HOWS = (DONE, CLIENT_LEFT, DEADLINE, STOPPED, FAILED, "refused")

_MAX_SERIES = 100_000  # the memory is the limit
_INTERVAL_S = 0.25  # between two measurements of the lag
_SAMPLES = 4  # intervals between two samples of the gauges


def _family(
    name: str, kind: str, help: str, *labels: str, bounds: tuple[float, ...] = ()
) -> Family:
    return REGISTRY.family(Definition(name, kind, labels, bounds), help, _MAX_SERIES)


class Meter:
    """Measures one server while it runs."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cells = REGISTRY.cells
        self._durations = _family(
            "http_server_request_duration_seconds",
            HISTOGRAM,
            "Time from the complete head of a request to the end of its answer.",
            "http_request_method",
            "http_route",
            "http_response_status_code",
            bounds=BUCKETS,
        )
        self._ended = _family(
            "microweb_exchanges",
            COUNTER,
            "Exchanges by how they ended: done, client_left, deadline, refused, stopped, failed.",
            "how",
        )
        self._refusals = _family(
            "microweb_refusals", COUNTER, "Refused requests and connections by reason.", "reason"
        )
        received = _family(
            "microweb_received_bytes", COUNTER, "Bytes of the requests: heads, and bodies as read."
        )
        sent = _family("microweb_sent_bytes", COUNTER, "Bytes of the answers, with their heads.")
        self._received = received.series(()) + VALUE
        self._sent = sent.series(()) + VALUE
        self._series: dict[tuple[str, str | None, int], int] = {}
        # All of them from the beginning, so that the first one is seen as an increase.
        self._hows = {how: self._ended.series((how,)) for how in HOWS}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the server, from before its first connection until after the last."""
        state = self._server.state
        state.observers += (self.observe,)
        timer = _Timer()
        _servers.append(self._server)
        sample()  # makes the gauges, before the application can take their room
        try:
            yield
        finally:
            _servers.remove(self._server)
            state.observers = tuple(each for each in state.observers if each != self.observe)
            timer.cancel()
            sample()

    # --- once per exchange

    def observe(self, record: ExchangeRecord) -> None:
        """Count an exchange that has ended."""
        request = record.request
        words = self._cells.words
        if request is not None:
            key = (request.line.method, record.route, record.status)
            at = self._series.get(key) or self._add(key)
            seconds = record.ended - record.begun
            words[at + SUM + 1 + bisect_left(BUCKETS, seconds)] += 1.0
            words[at + SUM] += seconds
        how = record.how
        words[(self._hows.get(how) or self._add_how(how)) + VALUE] += 1.0
        words[self._received] += record.received
        words[self._sent] += record.sent
        if how.startswith(REFUSED):
            reason = how.removeprefix(REFUSED)
            words[self._refusals.series((reason,)) + VALUE] += 1.0

    def _add(self, key: tuple[str, str | None, int]) -> int:
        method, route, status = key
        known = method if method in METHODS else OTHER_METHOD
        # Without a route, or without an answer, the label is absent: its value is empty.
        at = self._durations.series((known, route or "", str(status) if status else ""))
        if known == method:  # else the client chooses the key
            self._series[key] = at
        return at

    def _add_how(self, how: str) -> int:
        kind, _, _ = how.partition(":")
        at = self._hows[how] = self._ended.series((kind,))
        return at


# --- the state of the process

_servers: list[Server] = []  # that are measured, in this process


def use_slot(worker: Worker) -> None:
    """Let other processes read the metrics of this worker."""
    REGISTRY.move_to(worker.slot, worker.board)


def sample() -> None:
    """Set the gauges to the state of this process: once a second, and for each reader."""
    everyone = [each for server in _servers for each in server.connections]
    states = Counter(map(state_of, everyone))
    by_state = _family("microweb_connections", GAUGE, "Open connections by state.", "state")
    for state in STATES:
        _set(by_state, (state,), states[state])
    help = "Subscribers of channels."
    _set(_family("microweb_channel_subscribers", GAUGE, help), (), subscribers())
    active = sum(each.network.request is not None for each in everyone)
    help = "Requests that are not answered completely."
    _set(_family("http_server_active_requests", GAUGE, help), (), active)
    _set(_family(LINES_DROPPED.name, COUNTER, LINES_DROPPED_HELP), (), dropped.count)


def _set(family: Family, values: tuple[str, ...], value: float) -> None:
    at, words = family.series(values), family.cells.words
    words[at + VALUE] = value
    words[at + CREATED] = words[at + CREATED] or time.time()


class _Timer:
    """Measures how late the event loop calls it, and samples the gauges."""

    def __init__(self) -> None:
        help = "How late a timer of the event loop is, four times a second in each worker."
        family = _family("microweb_event_loop_lag_seconds", HISTOGRAM, help, bounds=LAG_BUCKETS)
        self._cells, self._at = family.cells, family.series(())
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._start()

    def _start(self) -> None:
        self._due = time.monotonic() + _INTERVAL_S
        self._handle = self._loop.call_later(_INTERVAL_S, self._measure)

    def _measure(self) -> None:
        late_s = max(time.monotonic() - self._due, 0.0)
        words, at = self._cells.words, self._at
        words[at + SUM + 1 + bisect_left(LAG_BUCKETS, late_s)] += 1.0
        words[at + SUM] += late_s
        self._number += 1
        self._start()
        if self._number % _SAMPLES == 0:
            sample()

    def cancel(self) -> None:
        """Measure no more."""
        self._handle.cancel()
