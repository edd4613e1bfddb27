"""The kinds of applications that commands take."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from support.wsgi import answering

from microweb import WSGI, App
from microweb.cli.interfaces import INTERFACES, is_wsgi


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
    for name in ("auto", "wsgi"):
        assert isinstance(INTERFACES[name].accept(value), WSGI)
    assert INTERFACES["microweb"].accept(value) is None


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
    assert INTERFACES["wsgi"].accept(value) is None


def test_an_app_is_itself() -> None:
    app = App()
    for name in ("auto", "microweb"):
        assert INTERFACES[name].accept(app) is app


def test_a_wsgi_application_in_its_class_is_itself() -> None:
    app = WSGI(answering())
    assert INTERFACES["auto"].accept(app) is app
