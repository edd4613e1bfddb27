"""The dispatcher by itself; what it does for applications: test_app.py and test_sharing.py."""

from __future__ import annotations

from microweb import Handler, Request, Response
from microweb.dispatch.dispatcher import _is_ours
from microweb.middleware.cors import CORS


async def of_an_application(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


def test_middleware_of_microweb_is_known_as_such() -> None:
    """Its responses are not copied, which costs time."""
    assert _is_ours(CORS("*"))
    assert not _is_ours(of_an_application)
