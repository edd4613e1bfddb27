"""Request id: one name for a request in every log that it passes, `X-Request-ID`.

No RFC has the field; proxies (Envoy, HAProxy, nginx, Heroku's router) and frameworks agree on it.
An id that a client sends is kept where it is a token of bounded length, which means nothing in a
log, a header or a page; else one is made. It is in `request.state.request_id`, in the answer, and
as `request_id` in the records of `microweb.access` and `microweb.error`. Those read it from the
request: a context variable would have to be reset, and would be gone where they are made.
"""

from __future__ import annotations

import re
from os import urandom

from ..request import Handler, Request
from ..response import Response

_ID_BYTES = 16

# What UUIDs, ULIDs, trace ids and base64 are made of. Heroku takes 20 to 200 characters.
_SANE = re.compile(r"[A-Za-z0-9._:+/=@~\-]{1,128}+")


class RequestID:
    """Give each request an id: `app.use(RequestID())`, before all that may log or answer."""

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        state = request.state
        request_id: str | None = getattr(state, "request_id", None)
        if request_id is None:
            request_id = request.headers.by_name.get("x-request-id", "")
            if not _SANE.fullmatch(request_id):
                # Not a counter: two processes that were forked would count alike.
                request_id = urandom(_ID_BYTES).hex()
            state.request_id = request_id
        response = await call_next(request)
        response.headers["X-Request-ID"] = request_id
        return response
