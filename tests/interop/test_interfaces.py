"""Find out the interface of an application."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from support.wsgi import answering

from microweb import WSGI, App, Router
from microweb.interop.asgi_server import ASGI
from microweb.interop.interfaces import as_application, as_asgi, as_wsgi, is_wsgi


class Called:
    def __call__(self, environ: object, start_response: object) -> list[bytes]:
        return []

    def method(self, environ: object, start_response: object) -> list[bytes]:
        return []


class Passing:
    """Middleware that passes all arguments on."""

    def __call__(self, *args: object, **kwargs: object) -> list[bytes]:
        return []


@pytest.mark.parametrize(
    "value",
    [
        answering(),
        Called(),
        Called().method,
        Passing(),
        lambda environ, start_response, extra=1: [],
        partial(lambda config, environ, start_response: [], "config"),
    ],
)
def test_a_wsgi_application_takes_two_arguments(value: Any) -> None:
    assert is_wsgi(value)
    assert isinstance(as_wsgi(value), WSGI)
    assert isinstance(as_application(value), WSGI)
    assert as_asgi(value) is None


async def asgi(scope: object, receive: object, send: object) -> None: ...


async def two(scope: object, receive: object) -> None: ...


@pytest.mark.parametrize(
    "value",
    [
        None,
        "app",
        Called,
        asgi,
        two,
        lambda: None,
        lambda config: None,
        lambda config=None, debug=False: None,
        lambda *args: None,
        App(),
        min,
    ],
)
def test_another_value_is_no_wsgi_application(value: object) -> None:
    assert not is_wsgi(value)
    assert as_wsgi(value) is None


def test_an_asgi_application_takes_three_arguments() -> None:
    assert isinstance(as_asgi(asgi), ASGI)
    assert isinstance(as_application(asgi), ASGI)


@pytest.mark.parametrize("app", [App(), WSGI(answering()), ASGI(asgi)])
def test_an_application_of_ours_is_itself(app: object) -> None:
    assert as_application(app) is app


def test_an_app_is_no_asgi_application_to_wrap() -> None:
    assert as_asgi(App()) is None


@pytest.mark.parametrize("value", [None, "app", App, ASGI, Called, two, lambda: None, Router("/a")])
def test_another_value_is_no_application(value: object) -> None:
    assert as_application(value) is None
