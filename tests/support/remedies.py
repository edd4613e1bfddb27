"""Whether a remedy names things that exist: attributes, calls, imports and commands of microweb."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import microweb
from microweb import App, Request, Response, WebSocket
from microweb.channels import Channels
from microweb.channels.redis import RedisBroker
from microweb.cli.command_line import COMMANDS
from microweb.http.headers import MutableHeaders
from microweb.http.interfaces import Address
from microweb.middleware.compression import Compression
from microweb.middleware.cors import CORS
from microweb.middleware.hosts import AllowedHosts
from microweb.middleware.rate_limit import RateLimit
from microweb.middleware.sessions import Sessions
from microweb.middleware.timeout import Timeout
from microweb.router import Route, RouteOptions
from microweb.server.config import ServerOptions
from microweb.sessions import Session
from microweb.templating import Templates

# A variable in remedies, or an attribute -> its class.
CLASSES: dict[str, type] = {
    "app": App,
    "outer_app": App,
    "request": Request,
    "response": Response,
    "socket": WebSocket,
    "client": Address,
    "headers": MutableHeaders,
    "route": Route,
    "session": Session,
    "templates": Templates,
}
CALLS = {
    call.__name__: call
    for call in (
        *(AllowedHosts, CORS, Channels, Compression, RateLimit, RedisBroker, Sessions, Templates),
        *(Timeout, Address),
    )
}
# Attributes that `__init__` sets.
SET_IN_INIT = {App: set(vars(App())), Templates: {"environment"}}

OPTIONS: dict[str, type] = {"app.run": ServerOptions, "app.get": RouteOptions}


def check_remedy(text: str) -> None:
    """Raise AssertionError if the remedy names what microweb has not."""
    for module, name in re.findall(r"`from (microweb[.\w]*) import (\w+)`", text):
        assert hasattr(importlib.import_module(module), name), text
    for command in re.findall(r"\bmicroweb (\w+) \w+", text):
        assert command in {each.name for each in COMMANDS}, text
    for path in re.findall(r"\b[a-zA-Z_]+(?:\.\w+)+", text):
        resolve(path)
    for name, arguments in calls_in(text):
        check_call(resolve(name), name, arguments)


def calls_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the arguments of each call, the inner ones first."""
    text = re.sub(r"def \w+\([^()]*\)", "", text)
    while (found := re.search(r"(@?[\w.]+)\(([^()]*)\)", text)) is not None:
        yield found[1].removeprefix("@"), found[2]
        text = f"{text[: found.start()]}value{text[found.end() :]}"


def resolve(path: str) -> object:
    """Return the function or class of a name; None if it is a variable of no known class."""
    root, *names = path.split(".")
    if not names:
        found = getattr(microweb, root, None) or CALLS.get(root)
        assert found is not None or not root[0].isupper(), f"{path} is nothing of microweb"
        return found
    cls = CLASSES.get(root) or getattr(microweb, root, None)
    for name in names:
        if cls is None:
            return None
        assert name in {*dir(cls), *SET_IN_INIT.get(cls, ())}, f"{path}: no {name}"
        found = inspect.getattr_static(cls, name, None)
        cls = CLASSES.get(name)
    return found.__func__ if isinstance(found, (classmethod, staticmethod)) else found


def check_call(function: object, name: str, arguments: str) -> None:
    if not callable(function):
        return
    given = [each.strip() for each in arguments.split(",") if each.strip()]
    keywords = [each.partition("=")[0] for each in given if re.match(r"\w+=", each)]
    known = inspect.signature(function).parameters
    for keyword in keywords:
        options = OPTIONS[name].__annotations__ if name in OPTIONS else {}
        assert keyword in known or keyword in options, f"{name} has no {keyword}"
    if not any(each.startswith("*") for each in given):
        takes = [each for each in known.values() if each.kind in POSITIONAL and each.name != "self"]
        is_open = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in known.values())
        assert is_open or len(given) - len(keywords) <= len(takes), f"{name}({arguments})"


POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
