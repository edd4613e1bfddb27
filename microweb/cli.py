"""The command line: `microweb run`, `microweb dev`, `microweb routes`.

Each takes a target, `module:app` or `path/to/file.py`, and finds the app in it. The options of
`run` and `dev` are the fields of `ServerConfig`, read off the class, so that they can't fall behind
it. A wrong usage is one line on stderr and exit status 2. If the app can't be found or served, that
is one line and exit status 1. An exception of the user's own code keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, NoReturn, cast, get_args, get_type_hints

from . import __version__
from .app import App
from .concurrency.callables import innermost
from .errors import ConfigurationError
from .server.config import AccessLog, LoopName, ServerConfig, ServerOptions
from .server.console import open_standard_descriptors, show
from .server.process import run
from .server.sockets import is_loopback

_TARGET_HELP = (
    "module:app, or path/to/file.py (with :app where it has several); in place of app a function "
    "that makes it, module:create_app"
)
_OPTIONS = [field.name for field in fields(ServerConfig)]
_DEFAULTS = ServerConfig()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command in `argv`, by default the process's own.

    Raises: SystemExit with status 1 for what is in the way, 2 for a wrong usage.
    """
    open_standard_descriptors()
    given = _parser().parse_args(argv)
    given.command(given)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave with one line, without the usage, which is longer than a screen."""
        _misused(f"{message}: see {self.prog} --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog="microweb", description="Serve an app, or look at it.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"microweb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Callable[[argparse.Namespace], None], text: str) -> _Parser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.add_argument("target", help=_TARGET_HELP)
        added.set_defaults(command=command)
        return added

    _add_server_options(add("run", _run, "Serve an app until Ctrl-C or SIGTERM."), _OPTIONS)
    _add_server_options(
        add("dev", _dev, "Serve an app to this machine alone, with debug on; print its routes."),
        [name for name in _OPTIONS if name != "debug_anywhere"],
    )
    add("routes", _routes, "Print methods, path, name, endpoint and place of each route.")
    return parser


# --- commands -------------------------------------------------------------------------


def _run(given: argparse.Namespace) -> None:
    run(load_app(given.target), _server_options(given))


def _dev(given: argparse.Namespace) -> None:
    options = _server_options(given)
    host = options.get("host", _DEFAULTS.host)
    if not _is_loopback(host):
        _misused(f"dev serves this machine alone, and {host} is not it: use microweb run")
    app = load_app(given.target)
    for each in app.all_apps():
        each.debug = True
    _print_routes(app)
    run(app, options)


def _routes(given: argparse.Namespace) -> None:
    app = load_app(given.target)
    _print_routes(app)
    try:
        app.freeze()
    except ConfigurationError as error:
        _fail(str(error))


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback(host)
    except ConfigurationError as error:
        _fail(str(error))


def _fail(text: str) -> NoReturn:
    sys.exit(f"microweb: {text}")


def _misused(text: str) -> NoReturn:
    print(f"microweb: {text}", file=sys.stderr)
    sys.exit(2)


# --- the options of the server --------------------------------------------------------


def _add_server_options(parser: _Parser, names: list[str]) -> None:
    group = parser.add_argument_group("options of the server")
    hints = get_type_hints(ServerConfig, include_extras=True)
    for name in names:
        kind, text = get_args(hints[name])
        flag = "--" + name.replace("_", "-")
        default = getattr(_DEFAULTS, name)
        text = f"{text} (default: {default or 'none'})"
        # Without a default of its own an option that was not given is not there.
        add = partial(group.add_argument, flag, default=argparse.SUPPRESS, help=text)
        if kind == AccessLog:
            add(action=argparse.BooleanOptionalAction)
        elif kind is bool:
            add(action="store_true")
        elif kind == LoopName:
            add(choices=get_args(kind))
        elif kind == tuple[str, ...]:
            add(action="extend", type=_split, metavar="NETWORK,...")
        else:
            add(type=kind, metavar=_METAVARS[kind])


_METAVARS = {str: "NAME", int: "N", float: "N"}


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _server_options(given: argparse.Namespace) -> ServerOptions:
    options = cast(ServerOptions, {key: getattr(given, key) for key in _OPTIONS if key in given})
    try:
        ServerConfig.from_options(options)
    except ConfigurationError as error:
        _misused(str(error))
    return options


# --- the app --------------------------------------------------------------------------


def load_app(target: str) -> App:
    """Return the app that a target stands for: `module:app`, `file.py`, `file.py:app`.

    In place of an app there may be a function that makes it: `module:create_app`. The module is
    imported as Python would: from the current directory, or from the file's own.

    Raises: SystemExit with one line that says what is missing; whatever the module raises.
    """
    place, name = _split_target(target)
    module = _import_file(place) if _is_file(place) else _import_module(place)
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if name:
        return _named_app(module, name, place, apps)
    mounted = {id(inner) for app in apps.values() for inner in app.all_apps()[1:]}
    outermost = {id(app): app for app in apps.values() if id(app) not in mounted}
    if not outermost:
        _fail(
            f"{place} has no App: expected one such as app = App(), or the name of a function that "
            f"makes one, as in {place}:create_app"
        )
    if len(outermost) > 1:
        names = [key for key, value in apps.items() if id(value) in outermost]
        _fail(f"{place} has several apps, {_listed(names)}: choose one, as in {place}:{names[0]}")
    return outermost.popitem()[1]


def _split_target(target: str) -> tuple[str, str]:
    place, _, name = target.rpartition(":")
    if place and name.replace(".", "").isidentifier():
        return place, name
    return target, ""  # the colon of C:\app.py is none of ours


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or os.sep in place


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    if not all(part.isidentifier() for part in name.split(".")):
        _misused(f"expected module:app or path/to/file.py, got {name!r:.80}")
    return _import(name, name)


def _import_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        _fail(f"there is no file {place}")
    if path.suffix != ".py" or "." in path.stem:
        _fail(f"expected a file that Python can import, such as app.py, got {path.name}")
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():  # a part of a package: its relative imports work
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))
    module = _import(name, place)
    if Path(module.__file__ or "").resolve() != path:
        _fail(f"{place}: another module is named {name!r} already, rename the file")
    return module


def _import(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, what it imports is not
        _fail(f"there is no module {error.name!r} in {os.getcwd()} or among the installed")
    except SyntaxError as error:
        _fail(f"{place} can't be read\n{''.join(traceback.format_exception_only(error)).rstrip()}")


def _named_app(module: ModuleType, name: str, place: str, apps: dict[str, App]) -> App:
    has = f"it has {_listed(list(apps))}" if apps else "it has no App"
    try:
        found = attrgetter(name)(module)
    except AttributeError:
        _fail(f"{place} has no {name!r}: {has}")
    if inspect.isroutine(found):
        return _made_app(found, f"{place}:{name}")
    if not isinstance(found, App):
        kind = "a class" if isinstance(found, type) else type(found).__name__
        _fail(f"{place}:{name} is no App, got {kind}: {has}")
    return found


def _made_app(function: Callable[..., object], target: str) -> App:
    """Return the app that a function makes."""
    if inspect.iscoroutinefunction(function):
        _fail(f"{target} is async: make the app in a plain def, and await in a lifespan")
    parameters = inspect.signature(function).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in parameters:
        if each.default is each.empty and each.kind not in variable:
            _fail(
                f"{target} needs {each.name!r}: give it a default, it is called without arguments"
            )
    made = function()
    if not isinstance(made, App):
        _fail(f"{target}() returned {type(made).__name__}: expected an App")
    return made


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


# --- the table of routes --------------------------------------------------------------


class _Row(NamedTuple):
    methods: str
    path: str
    name: str
    endpoint: str
    place: str


def _print_routes(app: App) -> None:
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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [map(str.ljust, row, widths) for row in rows]
    show("\n".join("  ".join(cells).rstrip() for cells in padded), sys.stdout)


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
