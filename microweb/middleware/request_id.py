"""Request id: `X-Request-ID`, one id for a request in every log on its way.

No RFC defines the field; proxies (Envoy, HAProxy, nginx, Heroku's router) and frameworks agree on
it. The client's id is kept if it is a token of at most 128 characters that are harmless in a log, a
field and a page. Otherwise a new one is made. The id is in `request.state.request_id`, in the
response, and as `request_id` in the log records of `microweb.access` and `microweb.error`. These
loggers read it from the request, because a context variable is already reset when they log.
"""

from __future__ import annotations

import re
from os import urandom

from ..request import Handler, Request
from ..response import Response

_ID_BYTES = 16

# The characters of UUIDs, ULIDs, trace ids and base64. Heroku takes 20 to 200 of them.
_SANE = re.compile(r"[A-Za-z0-9._:+/=@~\-]{1,128}+")


class RequestID:
    """Give each request an id: `app.use(RequestID())`, before all that may log or respond."""

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        state = request.state
        request_id: str | None = getattr(state, "request_id", None)
        if request_id is None:
            request_id = request.headers.by_name.get("x-request-id", "")
            if not _SANE.fullmatch(request_id):
                # Not a counter: two forked processes would make the same ids.
                request_id = urandom(_ID_BYTES).hex()
            state.request_id = request_id
        response = await call_next(request)
        response.headers["X-Request-ID"] = request_id
        return response
