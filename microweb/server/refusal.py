"""The server's own answers: to invalid requests, and after an exception of the application."""

from __future__ import annotations

import asyncio

from ..concurrency.throttle import Throttle
from ..errors import ClientDisconnected, HTTPError, ProtocolError, TLSUnexpected
from ..faults import first_bytes_of
from ..http.framing import CLOSE
from ..http.headers import Headers
from ..http.interfaces import Peer
from ..http.request_head import HeaderSection, RequestLine
from ..http.request_log import log_fields, name_in_log
from ..http.response_head import phrase_of
from ..logs import Log
from ..remedies import add_remedy
from ..request import Request, make_request
from ..response import Response
from .answering import AnswerStream
from .lingering import CROWDED_S
from .observing import begin_refusal, end_sent, how_of
from .records import REFUSED
from .refusal_log import log_refusal

# Such an answer is framed for one of these requests. For HEAD it has no content.
_NO_LINE = RequestLine("GET", "", "", "", None)
_HEAD_LINE = RequestLine("HEAD", "", "", "", None)
_NO_SECTION = HeaderSection(Headers())

_error_log = Log("microweb.error")
_log = Log("microweb.server")

_hellos = Throttle()  # of lines about clients that speak TLS to a port without it


async def refuse(
    peer: Peer, stream: AnswerStream, error: ProtocolError, head: bytes, *, is_head: bool
) -> None:
    """Answer an invalid request, and close. `head` is the bytes of a head that is not valid."""
    begin_refusal(stream.network, how_of(error), len(head))
    client = peer.address.host if peer.address else "a peer"
    log_refusal(
        *("%d for %s: %s", error.status, client, error),
        reason=error.reason,
        first_bytes=first_bytes_of(head),
        client=client,
        status=error.status,
    )
    if isinstance(error, TLSUnexpected) and _hellos.permits():
        _log.warning(
            "%s speaks TLS to a port without TLS: use http:// there, or set tls_certificate", client
        )
    response = await stream.network.state.refuse(error)
    await _conclude(peer, stream, response, _HEAD_LINE if is_head else _NO_LINE)


async def turn_away(peer: Peer, stream: AnswerStream, retry_after_s: int) -> None:
    """Answer 503 immediately, and close: there are more connections than `max_connections`."""
    network = stream.network
    network.lingers_until = network.state.clock() + CROWDED_S
    begin_refusal(network, REFUSED + "max_connections", 0)
    headers = {"Retry-After": str(retry_after_s)}
    await _conclude(peer, stream, Response("Too many connections\n", 503, headers), _NO_LINE)


async def _conclude(
    peer: Peer, stream: AnswerStream, response: Response, line: RequestLine
) -> None:
    """Send the last answer of a connection, without a valid request, and close."""
    request, heads = make_request(line, _NO_SECTION, peer), stream.network.state.head_cache
    stream.network.flush()
    try:
        answer = response.encode(request, heads, CLOSE)
        if answer is None:
            await response.send_to(stream, request, heads, CLOSE)
        else:
            stream.write(answer)
        end_sent(stream.network, response.status)
        await stream.close(has_more=True)
    except (ClientDisconnected, OSError):
        stream.network.abort()
    finally:
        end_sent(stream.network, 0)


def failure(request: Request, error: BaseException, *, is_cut: bool = False) -> Response:
    """Log an error that the application could not answer; return the last answer for it.

    `is_cut`: a part of another answer is already sent, so only the log reports the error.
    """
    request.error = None if isinstance(error, asyncio.CancelledError) else error
    status, is_fault = 500, True
    if isinstance(error, (HTTPError, ProtocolError)):
        # These are not faults of the application; but after a part of an answer, an HTTPError
        # cannot be sent and is logged.
        status, is_fault = error.status, is_cut and isinstance(error, HTTPError)
    if is_fault:
        fields = log_fields(request)
        add_remedy(error)
        _error_log.error("%s failed", name_in_log(request), exc_info=error, extra=fields)
    return Response(f"{phrase_of(status)}\n", status, {"Connection": "close"})
