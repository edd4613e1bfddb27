"""The kinds of applications that commands take."""

from __future__ import annotations

import pytest
from support.asgi_apps import body, sending, start
from support.wsgi import answering

from microweb import WSGI, App
from microweb.cli.interfaces import INTERFACES, interface_of
from microweb.interop.asgi_server import ASGI

ASGI_APP = sending(start(), body(b"a"))


def test_an_app_is_itself() -> None:
    app = App()
    for name in ("auto", "microweb"):
        assert INTERFACES[name].accept(app) is app
    for name in ("asgi", "wsgi"):
        assert INTERFACES[name].accept(app) is None


@pytest.mark.parametrize(
    ("value", "interface", "kind"), [(answering(), "wsgi", WSGI), (ASGI_APP, "asgi", ASGI)]
)
def test_another_application_is_of_its_interface_only(
    value: object, interface: str, kind: type
) -> None:
    for name, each in INTERFACES.items():
        accepted = each.accept(value)
        assert isinstance(accepted, kind) if name in (interface, "auto") else accepted is None
    assert interface_of(value) == INTERFACES[interface].name


@pytest.mark.parametrize("value", [None, "app", App, App()])
def test_another_value_has_no_other_interface(value: object) -> None:
    assert interface_of(value) is None
