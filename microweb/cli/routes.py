"""`microweb routes`: print a table of the routes, and report conflicts among them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from ..app import App
from ..concurrency.callables import innermost
from ..errors import ConfigurationError
from ..server.console import show
from ..server.overload import AnswersProbes
from .command import Command, fail, write_out
from .target import add_target, load_app


def _routes(given: argparse.Namespace) -> None:
    app = load_app(given.target)
    write_out(f"{_table(app)}\n")
    try:
        app.freeze()
    except ConfigurationError as error:
        fail(str(error))


COMMAND = Command(
    "routes",
    "Print methods, path, name, endpoint and place of each route.",
    add_target,
    _routes,
)


class _Row(NamedTuple):
    methods: str
    path: str
    name: str
    endpoint: str
    place: str


def print_routes(app: App) -> None:
    """Print the table of an app's routes, as far as stdout takes it: for `microweb dev`."""
    show(_table(app), sys.stdout)


def _table(app: App) -> str:
    rows = [_Row("METHODS", "PATH", "NAME", "ENDPOINT", "PLACE")]
    for prefix, route in app.all_routes():
        function = innermost(route.endpoint)
        rows.append(
            _Row(
                methods=route.answers,
                path=prefix + route.path,
                name=route.name,
                endpoint=f"{function.__module__}.{_name_of(function)}",
                place=_place_of(function),
            )
        )
    for path, middleware in _paths_of_middleware(app).items():
        function = innermost(middleware)
        endpoint = f"{function.__module__}.{_name_of(function)}"
        rows.append(_Row("GET", path, "-", endpoint, "middleware"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [map(str.ljust, row, widths) for row in rows]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _paths_of_middleware(app: App) -> dict[str, object]:
    """Return the paths that `Health` and `Metrics` answer, each with its middleware."""
    middleware: list[object] = [*app.all_middleware()]
    return {
        path: each
        for each in middleware
        if isinstance(each, AnswersProbes)
        for path in sorted(each.probe_paths)
    }


def _name_of(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _place_of(function: object) -> str:
    called = function if hasattr(function, "__code__") else vars(type(function)).get("__call__")
    code = getattr(called, "__code__", None)
    if code is None:
        return "-"
    path = Path(code.co_filename)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{code.co_firstlineno}"
