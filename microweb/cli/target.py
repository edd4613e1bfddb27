"""Find the application that a target names: `module:app` or `path/to/file.py`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from logging import ERROR
from operator import attrgetter
from pathlib import Path
from types import ModuleType

from ..app import App
from ..concurrency.annotated import signature_of
from ..errors import ConfigurationError
from ..server.console import say
from ..server.exits import NOT_STARTED, exit_not_started
from .command import fail, fail_usage
from .interfaces import APP, A, Kind, interface_of

_HELP = (
    "module:app, or path/to/file.py (with :app if it has several); or a function that returns "
    "the app, module:create_app"
)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the argument `target` for `load_app`."""
    parser.add_argument("target", help=_HELP)


def load_app(target: str) -> App:
    """Return the app that a target names.

    Raises: SystemExit with one line if the target names no app; with status 3 and the traceback if
    the module raises an exception, or one line if that is a ConfigurationError.
    """
    return load_application(target, APP)


def load_application(target: str, kind: Kind[A]) -> A:
    """Return the application of a kind that a target names. Raises: as `load_app`."""
    try:
        return _import_application(target, kind)
    except SyntaxError as error:  # its place is enough
        text = "".join(traceback.format_exception_only(error)).rstrip()
        say(f"{_split_target(target)[0]} can't be read\n{text}", sys.stderr, ERROR)
        sys.exit(NOT_STARTED)
    except ConfigurationError as error:  # its text and its place are enough
        from ..debug.tracebacks import line_of

        say(line_of(error), sys.stderr, ERROR)
        sys.exit(NOT_STARTED)
    except Exception as error:  # the module may raise anything
        exit_not_started(error)


def import_app(target: str) -> App:
    """Return the app that a target names: `module:app`, `file.py`, `file.py:app`.

    The name may also be that of a function that returns the app: `module:create_app`. A module is
    imported from the current directory, a file from its own.

    Raises: SystemExit with one line that names the missing part; any exception of the module.
    """
    return _import_application(target, APP)


def _import_application(target: str, kind: Kind[A]) -> A:
    place, name = _split_target(target)
    module = _import_file(place) if _is_file(place) else _import_module(place)
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if name:
        return _named_app(module, name, place, apps, kind)
    app = kind.accept(_only_app(module, place, apps))
    if app is None:
        fail(f"{place} has an App: name {kind.name}, as in {place}:application")
    return app


def _only_app(module: ModuleType, place: str, apps: dict[str, App]) -> App:
    """Return the only App of a module that is not mounted in another one."""
    mounted = {id(inner) for app in apps.values() for inner in app.all_apps()[1:]}
    outermost = {id(app): app for app in apps.values() if id(app) not in mounted}
    if not outermost:
        for other in ("application", "app"):
            if (found := interface_of(vars(module).get(other))) is not None:
                fail(f"{place} has no App, but {found}: name it, as {place}:{other}")
        fail(
            f"{place} has no App: expected one such as app = App(), or the name of a function that "
            f"returns one, as in {place}:create_app"
        )
    if len(outermost) > 1:
        names = [key for key, value in apps.items() if id(value) in outermost]
        fail(f"{place} has several apps, {_listed(names)}: choose one, as in {place}:{names[0]}")
    return outermost.popitem()[1]


def app_folder(target: str) -> Path:
    """Return the folder of the app's file, without importing it; else the current folder."""
    place, _ = _split_target(target)
    if _is_file(place):
        return Path(place).resolve().parent
    _search_current_folder()
    first, *below = place.split(".")
    try:
        spec = find_spec(first)  # imports nothing, because `first` is in no package
    except (ImportError, ValueError):
        return Path.cwd()
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).joinpath(*below[:-1]).resolve()
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).resolve().parent
    return Path.cwd()


def _split_target(target: str) -> tuple[str, str]:
    place, _, name = target.rpartition(":")
    if place and name.replace(".", "").isidentifier():
        return place, name
    return target, ""  # the colon of C:\app.py belongs to the path


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or os.sep in place


def _import_module(name: str) -> ModuleType:
    _search_current_folder()
    if not all(part.isidentifier() for part in name.split(".")):
        fail_usage(f"expected module:app or path/to/file.py, got {name!r:.80}")
    return _import(name)


def _search_current_folder() -> None:
    """Let modules be imported from the current folder first."""
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())


def _import_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        fail(f"there is no file {place}")
    if path.suffix != ".py" or "." in path.stem:
        fail(f"expected a file that Python can import, such as app.py, got {path.name}")
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():  # in a package, so that relative imports work
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))
    module = _import(name)
    if Path(module.__file__ or "").resolve() != path:
        fail(f"{place}: another module is already named {name!r}: rename the file")
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but one of its imports does not
        fail(f"there is no module {error.name!r} in {os.getcwd()} or among the installed packages")


def _named_app(module: ModuleType, name: str, place: str, apps: dict[str, App], kind: Kind[A]) -> A:
    has = f"it has {_listed(list(apps))}" if apps else "it has no App"
    try:
        found = attrgetter(name)(module)
    except AttributeError:
        from difflib import get_close_matches  # only for an error

        near = get_close_matches(name, [*apps, *_functions_of(module)], n=1)
        fail(f"{place} has no {name!r}: {f'did you mean {near[0]}?' if near else has}")
    app = kind.accept(found)
    if app is not None:
        return app
    if (other := interface_of(found)) is not None:
        got = f"{other}: `microweb run` serves it"
        fail(f"{place}:{name}: expected {kind.name}, got {got}")
    if inspect.isroutine(found):
        return _made_app(found, f"{place}:{name}", kind)
    got = "a class" if isinstance(found, type) else type(found).__name__
    fail(f"{place}:{name}: expected {kind.name}, got {got}: {has}")


def _functions_of(module: ModuleType) -> list[str]:
    """Return the names of the functions that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]


def _made_app(function: Callable[..., object], target: str, kind: Kind[A]) -> A:
    """Return the app that a function returns."""
    if inspect.iscoroutinefunction(function):
        fail(f"{target} is async: make the app in a plain def, and await in a lifespan")
    parameters = signature_of(function).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in parameters:
        if each.default is each.empty and each.kind not in variable:
            fail(f"{target} needs {each.name!r}: give it a default, it is called without arguments")
    made = function()
    app = kind.accept(made)
    if app is None:
        fail(f"{target}() returned {type(made).__name__}: expected {kind.name}")
    return app


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
