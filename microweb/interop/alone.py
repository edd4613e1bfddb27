"""Rules for an application that is served without an App, which would apply them."""

from __future__ import annotations

from ..errorpages import default_answer
from ..errors import HTTPError, ProtocolError, is_disconnect, sole_error
from ..request import Request
from ..response import Response
from ..server.refusal import failure


def check_scheme(request: Request) -> None:
    """Raise HTTPError (421) if the target names https, but the request did not come by https.

    RFC 9110 section 7.4. Under an App, its dispatcher has checked it.
    """
    if request.line.target[:6].lower() == "https:" and request.scheme != "https":
        raise HTTPError(421, "the target names https, but the connection is not secure")


def is_answered_here(request: Request, error: Exception) -> bool:
    """Return whether `answer_to` answers an exception of the application.

    An App around it, or the server, answers all others.
    """
    is_servers = isinstance(error, ProtocolError) or is_disconnect(error)
    return request.match is None and not is_servers


def answer_to(request: Request, error: Exception) -> Response:
    """Return the answer to an exception of the application, and log a fault.

    As under an App, the connection stays open for the next request.
    """
    cause = sole_error(error)
    failure(request, cause)  # logs it
    return default_answer(cause, request.headers.get("accept", ""))
