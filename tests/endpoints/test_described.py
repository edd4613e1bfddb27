"""The part of a middleware in a document."""

from __future__ import annotations

import pytest

from microweb import Handler, Request, Response
from microweb.endpoints.described import Described, description_of
from microweb.middleware.authentication import BasicAuth, BearerAuth
from microweb.middleware.csrf import CSRFProtection
from microweb.middleware.hosts import AllowedHosts
from microweb.middleware.rate_limit import RateLimit
from microweb.middleware.timeout import Timeout


async def plain(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


class Paid:
    async def __call__(self, request: Request, call_next: Handler) -> Response:
        return await call_next(request)

    def described(self) -> Described:
        return Described(responses={402: "Nothing is paid"})


class OfAnotherKind:
    described = "a text"


@pytest.mark.parametrize("middleware", [plain, OfAnotherKind()])
def test_a_middleware_may_say_nothing(middleware: object) -> None:
    assert description_of(middleware) == Described()


def test_a_middleware_says_its_answers() -> None:
    assert description_of(Paid()).responses == {402: "Nothing is paid"}


def test_authentication_says_its_scheme() -> None:
    for middleware, scheme in ((BasicAuth({"a": "b"}), "basic"), (BearerAuth(["a"]), "bearer")):
        found = description_of(middleware)
        assert found.security == {scheme: {"type": "http", "scheme": scheme}}
        assert 401 in found.responses


@pytest.mark.parametrize(
    ("middleware", "status"),
    [
        (CSRFProtection(), 403),
        (AllowedHosts(["example.com"]), 421),
        (RateLimit(1, 60), 429),
        (Timeout(1), 503),
    ],
)
def test_middleware_says_its_refusal(middleware: object, status: int) -> None:
    found = description_of(middleware)
    assert list(found.responses) == [status]
    assert not found.security
