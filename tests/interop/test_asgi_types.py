"""The options of an App under another ASGI server."""

from __future__ import annotations

from typing import get_type_hints

from microweb.interop.asgi_types import ASGIOptions
from microweb.server.config import RunOptions


def test_options_are_fields_of_the_configuration() -> None:
    ours, all_of_them = get_type_hints(ASGIOptions), get_type_hints(RunOptions)
    assert {name: all_of_them[name] for name in ours} == ours
    assert {"workers", "bind", "tls_certificate", "idle_timeout_s"}.isdisjoint(ours)
