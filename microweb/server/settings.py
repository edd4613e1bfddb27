"""Where the value of each option comes from.

In this order: an argument or a flag, the variable `MICROWEB_*` of the environment, the table
`[tool.microweb]` of the nearest pyproject.toml above the app's file, the default. The names are the
fields of `ServerConfig`. `bind` means the same as `host` and `port`: the nearer one counts, and
within one place `bind`.

Only a program that serves reads them: `app.run` and the command line.
`app.serve` and test clients take arguments only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast, get_type_hints

from ..errors import ConfigurationError
from .config import ServerConfig, ServerOptions, Workers
from .worker import VARIABLE as WORKER_VARIABLE

PREFIX = "MICROWEB_"
NAMES = tuple(field.name for field in fields(ServerConfig))
DEFAULT = "default"

_FILE = "pyproject.toml"
_Value = tuple[str, object, str]  # name, value and place of an option
_NEEDED = {"proxy_protocol": {"trusted_proxies": ("127.0.0.1",)}}  # to check one value alone
_WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class Settings(NamedTuple):
    """The options that were set, and the places where they were set."""

    options: ServerOptions
    sources: dict[str, str]  # the place of each option in `options`
    notes: list[str]  # variables that nearly name an option, or can't be meant for it
    unknown: list[str]  # other variables `MICROWEB_*` that name no option

    def source(self, name: str) -> str:
        """Return the place where an option was set, "default" if it was not."""
        return self.sources.get(name, DEFAULT)


def read_settings(
    given: ServerOptions,
    folder: Path,
    environment: Mapping[str, str],
    *,
    source: Callable[[str], str] = "{}=".format,
    names: Collection[str] = NAMES,
) -> Settings:
    """Return the options of a program whose app is a file in `folder`.

    `given` are the arguments or flags; `source(name)` is how a person writes one. Of the other
    places only the options in `names` are read.

    Raises: ConfigurationError if a variable has a wrong value, or pyproject.toml can't be read or
    has an unknown key or a wrong value.
    """
    variables, notes, unknown = _of_environment(environment, names)
    found = _Found({}, {})
    found.add_nearer([each for each in _of_project(folder) if each[0] in names])
    found.add_nearer(variables)
    found.add_nearer([(name, value, source(name)) for name, value in given.items()])
    return Settings(cast(ServerOptions, found.options), found.sources, notes, unknown)


class _Found(NamedTuple):
    """The options that were found so far, and their places."""

    options: dict[str, object]
    sources: dict[str, str]

    def add_nearer(self, values: list[_Value]) -> None:
        """Let the values of a nearer place replace those of farther ones.

        A nearer `host` or `port` also replaces a farther `bind`, which would win otherwise.
        """
        places = [place for name, _, place in values if name in ("host", "port")]
        if places and self.options.get("bind"):
            self.options["bind"] = ()
            self.sources["bind"] = f"{places[0]}, in place of {self.sources['bind']}"
        for name, value, place in values:
            self.options[name], self.sources[name] = value, place


def variable_of(name: str) -> str:
    """Return the name of an option's environment variable."""
    return PREFIX + name.upper()


def to_list(text: str) -> list[str]:
    """Return the parts of a text with commas, without spaces around them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def of_text(name: str, text: str, place: str) -> object:
    """Return the value of an option that a variable or a flag has as text.

    Raises: ConfigurationError that names `place`, which is the variable or the flag.
    """
    kind = _kinds()[name]
    value: object = text
    try:
        if kind is bool:
            value = _WORDS.get(text.lower(), text)
        elif kind == Workers:
            value = "auto" if text == "auto" else int(text)
        elif kind == tuple[str, ...]:
            value = tuple(to_list(text))
        elif kind in (int, float):
            value = cast(type, kind)(text)
    except ValueError:
        pass  # the check of the text says what is expected
    check_value(name, value, place)
    return value


# --- the environment


def _of_environment(
    environment: Mapping[str, str], names: Collection[str]
) -> tuple[list[_Value], list[str], list[str]]:
    """Return the options that variables set, notes, and other unknown variables.

    Raises: ConfigurationError.
    """
    values: list[_Value] = []
    notes: list[str] = []
    unknown: list[str] = []
    for variable, text in sorted(environment.items()):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or variable == WORKER_VARIABLE:
            continue
        if name not in NAMES or variable != variable_of(name):
            text, is_near = _unknown(variable, name, variable_of)
            (notes if is_near else unknown).append(text)
        elif name == "port" and "://" in text:
            notes.append(_service_link(variable, text))
        elif name in names and text:  # a variable that is set to nothing counts as not set
            values.append((name, of_text(name, text, variable), variable))
    return values, notes, unknown


def _service_link(variable: str, text: str) -> str:
    return (
        f"{variable}={text!r:.80} is ignored: Kubernetes sets it for a service named microweb. "
        "Rename the service, or set enableServiceLinks: false"
    )


# --- pyproject.toml


def project_file(folder: Path) -> Path | None:
    """Return the nearest pyproject.toml, in `folder` or above it."""
    for each in (folder, *folder.parents):
        if os.path.isfile(each / _FILE):
            return each / _FILE
    return None


def _of_project(folder: Path) -> list[_Value]:
    """Return the options that pyproject.toml sets. Raises: ConfigurationError."""
    file = project_file(folder)
    if file is None:
        return []
    found = []
    for name, value in _table_of(file).items():
        if name not in NAMES:
            text, _ = _unknown(f"{name!r} in [tool.microweb]", name.replace("-", "_"), str)
            raise ConfigurationError(f"{file}: {text}")
        if _kinds()[name] == tuple[str, ...] and isinstance(value, list):
            value = tuple(value)
        check_value(name, value, f"{file}: {name}")
        found.append((name, value, str(file)))
    return found


def _table_of(file: Path) -> dict[str, object]:
    import tomllib  # few servers start beside such a file

    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:  # ValueError: no TOML, or no UTF-8
        raise ConfigurationError(f"{file} can't be read: {error}") from error
    tools = document.get("tool", {})
    table = tools.get("microweb", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{file}: expected a table [tool.microweb], got {table!r:.80}")
    return table


# --- both


@cache
def _kinds() -> dict[str, object]:
    """Return the type of each option."""
    return dict(get_type_hints(ServerConfig))


def check_value(name: str, value: object, place: str) -> None:
    """Raise ConfigurationError that names `place` if the option can't have this value.

    Whether options fit together is checked when all are known.
    """
    try:
        options = {**_NEEDED.get(name, {}), name: value}
        ServerConfig.from_options(cast(ServerOptions, options))
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {str(error).removeprefix(f'{name}: ')}") from error


def _unknown(shown: str, name: str, write: Callable[[str], str]) -> tuple[str, bool]:
    """Return a text about an unknown option, and whether its name is near to that of another one.

    `write(name)` is how this place writes an option.
    """
    from difflib import get_close_matches  # only for an error

    close = [write(each) for each in get_close_matches(name, NAMES, n=1)]
    remedy = f"did you mean {close[0]}?" if close else "`microweb run --help` lists the options"
    return f"{shown} is not an option: {remedy}", bool(close)
