"""Make the record of each exchange, and give it to the observers of the server.

`Connection` calls these functions only if there is an observer. A record begins when the head of a
request is complete, and is kept in `NetworkStream.record` until the exchange has ended.
"""

from __future__ import annotations

from ..errors import BodyTimeout, HeadTimeout, ProtocolError
from ..logs import Log
from ..request import Request
from .body import Body
from .disconnects import DisconnectWatch
from .network import NetworkStream
from .records import CLIENT_LEFT, DEADLINE, DONE, FAILED, REFUSED, STOPPED, ExchangeRecord

_REQUEST_LINE_REST = len("  HTTP/1.1\r\n")

_error_log = Log("microweb.error")


def begin(network: NetworkStream, request: Request | None) -> None:
    """Begin the record of a request, or of the answer to bytes that are not one."""
    state = network.state
    record = network.record = ExchangeRecord(request, network.address, state.precise_clock())
    record.is_direct = not state.proxies


def end_answered(network: NetworkStream, status: int, sent: int) -> None:
    """Report an exchange whose answer is written."""
    record = network.record
    if record is not None:
        error = None if record.request is None else record.request.error
        if isinstance(error, ProtocolError):
            record.how = how_of(error)
        elif network.transport.is_closing():
            record.how, status, sent = CLIENT_LEFT, 0, 0
        _report(network, record, status, sent)


def end_sent(network: NetworkStream, status: int) -> None:
    """Report an exchange whose answer `NetworkStream.write` has sent."""
    record = network.record
    if record is not None:
        _report(network, record, status, network.written)


def end_unanswered(network: NetworkStream, watch: DisconnectWatch | None) -> None:
    """Report an exchange that ends with its connection, without an answer or within it."""
    record = network.record
    if record is not None:
        if record.how == DONE:
            task = network.task
            is_cancelled = task is not None and task.cancelling() > 0
            is_lost = watch is not None and watch.is_lost
            is_stopped = is_cancelled and not is_lost and network.state.is_stopping
            record.how = STOPPED if is_stopped else CLIENT_LEFT
        _report(network, record, 0, network.written)


def mark_failed(network: NetworkStream) -> None:
    """Note that the answer under way is cut, because the application or the server failed."""
    if network.record is not None:
        network.record.how = FAILED


def begin_refusal(network: NetworkStream, reason: str, received: int) -> None:
    """Begin the record of a refusal, or continue the record of a request that is now refused."""
    if network.state.observers:
        if network.record is None:
            begin(network, None)
        assert network.record is not None
        network.record.how = reason
        network.record.received = received


def how_of(error: ProtocolError) -> str:
    """Return `ExchangeRecord.how` for a request that the server refuses."""
    if isinstance(error, (BodyTimeout, HeadTimeout)):
        return DEADLINE
    return REFUSED + error.reason


def _report(network: NetworkStream, record: ExchangeRecord, status: int, sent: int) -> None:
    network.record = None
    record.ended = network.state.precise_clock()
    if sent and not record.first_byte:
        record.first_byte = record.ended
    record.status, record.sent = status, sent
    request = record.request
    if request is not None:
        line, section = request.line, request.section
        head = len(line.method) + len(line.target) + _REQUEST_LINE_REST + len(section.received)
        record.received = head + (request.source.taken if isinstance(request.source, Body) else 0)
    for observer in network.state.observers:
        try:
            observer(record)
        except Exception:  # of an extension; the answer is already sent
            _error_log.exception("an observer of exchanges failed")
