"""A module imports only what stands above it in the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.processes import ENVIRONMENT

import microweb

PACKAGE = Path(microweb.__file__).parent

# From the ground up. A new module finds its place here.
HOUSE = [
    "bodies",
    "concurrency",
    "dispatch",
    "endpoints",
    "http",
    "routing",
    "errors",
    "logs",
    "suggestions",
    "concurrency.remedies",
    "concurrency.callables",
    "concurrency.local_classes",
    "concurrency.throttle",
    "http.grammar",
    "concurrency.threads",
    "concurrency.begun",
    "concurrency.background",
    # values
    "server.addresses",
    "http.charsets",
    "http.dates",
    "http.cookies",
    "http.multidict",
    "http.urlencoded",
    "http.headers",
    "http.preconditions",
    "http.ranges",
    "http.response_head",
    "markup",
    "http.negotiation",
    "http.origins",
    "http.mediatypes",
    "bodies.json",
    "bodies.json_readers",
    "bodies.json_types",
    "bodies.json_writers",
    "sse.event",
    "sse",
    "testing.eventsource",
    "sessions.session",
    "sessions.store",
    "sessions",
    "http.filenames",
    "bodies.parts",
    "concurrency.descriptors",
    "bodies.forms",
    "bodies.multipart",
    # the wire
    "http.framing",
    "http.interfaces",
    "http.request_head",
    "bodies.incoming",
    "request",
    "http.bytestream",
    "response",
    "bodies.redirect",
    "bodies.outlet",
    "bodies.stream",
    "sse.body",
    "bodies.file",
    "websocket.upgrade",
    "websocket.handshake",
    "websocket.deflate",
    "websocket.protocol",
    "websocket.connection",
    "websocket.socket",
    "websocket",
    "parser",
    # the application
    "routing.patterns",
    "routing.tree",
    "routing.names",
    "router",
    "endpoints.signature",
    "endpoints.arguments",
    "websocket.endpoint",
    "endpoints.handler",
    "endpoints.results",
    "debug.slips",
    "errorpages",
    "endpoints.error_handler",
    "debug",
    "debug.secrets",
    "debug.masking",
    "debug.tracebacks",
    "debug.page",
    "middleware",
    "dispatch.boundary",
    "endpoints.hooks",
    "middleware.authentication",
    "middleware.compression",
    "middleware.conditional",
    "middleware.cors",
    "middleware.timeout",
    "middleware.timing",
    "middleware.request_id",
    "middleware.security",
    "middleware.hosts",
    "middleware.https",
    "middleware.rate_limit",
    "middleware.csrf",
    "sessions.redis_urls",
    "sessions.memory",
    "sessions.redis",
    "middleware.sessions",
    "templating",
    "dispatch.chain",
    "dispatch.dispatcher",
    "channels.message",
    "channels.broker",
    "channels.redis_listener",
    "channels.redis",
    "channels.subscription",
    "channels.topic",
    "channels.channel",
    "channels",
    "endpoints.lifespan",
    "static",
    "app",
    "microweb",  # the public names
    # the server, which knows no application
    "server",
    "server.config",
    "server.bounded",
    "server.buffered",
    "server.outflow",
    "server.sockets",
    "server.listeners",
    "server.forks",
    "server.console",
    "server.proxies",
    "server.state",
    "server.context",
    "server.delivery",
    "server.interruptible",
    "server.network",
    "server.body",
    "server.upgrade",
    "server.disconnects",
    "server.connection",
    "server.loopback",
    "server.eviction",
    "server.server",
    "server.access_log",
    "server.signals",
    "server.process",
    # what users start and test with
    "testing.network",
    "testing.httpx_backend",
    "testing.websocket",
    "testing.events",
    "testing.client",
    "testing",
    "cli.command",
    "cli.target",
    "cli.options",
    "cli.run",
    "cli.routes",
    "cli.dev",
    "cli.command_line",
    "cli",
    "__main__",
]
APPLICATION = HOUSE[HOUSE.index("routing.patterns") : HOUSE.index("server")]

# The closed list: an app offers run(), serve() and test_client() without needing them, Response
# shorthands for its kinds.
INSIDE_FUNCTIONS = {
    ("app", "server.process"),
    ("app", "testing.client"),
    ("response", "sse.body"),
    ("response", "bodies.file"),
    ("response", "bodies.redirect"),
    ("response", "bodies.stream"),
}
FOR_TYPES_ONLY = {
    ("app", "server.config"),
    ("app", "server.server"),
    ("app", "testing.client"),
    ("request", "app"),
}

# What is imported once it is asked for: large JSON and a form with files wait for threads.
ONCE_ASKED_FOR = {
    ("bodies.incoming", "concurrency.threads"),
    ("bodies.incoming", "bodies.forms"),
    ("request", "bodies.multipart"),
    ("request", "bodies.forms"),
}

# The modules that bytes alone can test: nothing below them waits for anything.
PURE = [
    "http",
    "bodies",
    "routing",
    "errors",
    "http.grammar",
    "http.charsets",
    "http.dates",
    "http.cookies",
    "http.multidict",
    "http.urlencoded",
    "http.headers",
    "http.preconditions",
    "http.ranges",
    "http.response_head",
    "markup",
    "http.negotiation",
    "bodies.json",
    "bodies.json_readers",
    "bodies.json_types",
    "sse.event",
    "sse",
    "testing.eventsource",
    "sessions.session",
    "sessions.store",
    "sessions",
    "http.filenames",
    "bodies.parts",
    "http.framing",
    "http.interfaces",
    "http.request_head",
    "bodies.incoming",
    "request",
    "parser",
    "routing.patterns",
    "routing.tree",
    "routing.names",
]
WAITING = {"asyncio", "socket", "ssl", "select", "selectors", "threading", "concurrent"}

# The packages whose `__init__` hands on their public names.
HANDS_ON = {"microweb", "channels", "cli", "sessions", "sse", "testing", "websocket"}

# The module that an extra is for -> what it brings.
EXTRAS = {
    "websocket.deflate": {"websockets"},
    "websocket.protocol": {"websockets"},
    "middleware.compression": {"brotli", "zstandard"},
    "server.process": {"uvloop"},
    "testing.httpx_backend": {"httpx", "httpcore"},
    "testing.websocket": {"httpx", "websockets"},
    "testing.events": {"httpx"},
    "testing.client": {"httpx"},
    "sessions.redis": {"redis"},
    "sessions.redis_urls": {"redis"},
    "channels.redis": {"redis"},
    "channels.redis_listener": {"redis"},
    "middleware.sessions": {"itsdangerous"},
    "templating": {"jinja2"},
}


class Import(NamedTuple):
    """One import: by whom, of what, and where it stands."""

    importer: str
    imported: str  # of ours without the package's name, else as it is written
    is_ours: bool
    is_for_types: bool
    is_inside_function: bool


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or "microweb"


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(module: str) -> list[Import]:
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    return list(_walk(tree, module, is_for_types=False, is_inside_function=False))


def _walk(
    node: ast.AST, module: str, *, is_for_types: bool, is_inside_function: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for name, is_ours in _names(child, module):
            yield Import(module, name, is_ours, is_for_types, is_inside_function)
        is_types_block = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _walk(
            child,
            module,
            is_for_types=is_for_types or is_types_block,
            is_inside_function=is_inside_function or is_function,
        )


def _names(node: ast.AST, module: str) -> Iterator[tuple[str, bool]]:
    """Yield each name that a statement imports, and whether it is of ours."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield _ours(alias.name)
    elif isinstance(node, ast.ImportFrom):
        source = node.module or ""
        if node.level:
            parts = ["microweb", *(module.split(".") if module != "microweb" else [])]
            is_package = MODULES[module].name == "__init__.py"
            depth = len(parts) - node.level + is_package
            source = ".".join([*parts[:depth], *([source] if source else [])])
        for alias in node.names:
            name, is_ours = _ours(f"{source}.{alias.name}")
            if is_ours and name not in MODULES:  # a name in a module
                name, is_ours = _ours(source)
            yield (name, True) if is_ours else (source, False)


def _ours(name: str) -> tuple[str, bool]:
    if name == "microweb":
        return name, True
    return name.removeprefix("microweb."), name.startswith("microweb.")


IMPORTS = [found for module in MODULES for found in imports_of(module)]
OURS = [found for found in IMPORTS if found.is_ours]


def test_every_module_has_a_place_in_the_house() -> None:
    assert set(MODULES) <= set(HOUSE)
    assert len(HOUSE) == len(set(HOUSE))


def test_the_house_has_no_empty_place() -> None:
    assert set(HOUSE) <= set(MODULES)


def test_imports_are_found() -> None:
    """So that the tests below can fail."""
    assert Import("parser", "http.headers", True, False, False) in IMPORTS
    assert Import("dispatch.boundary", "response", True, False, False) in IMPORTS
    assert Import("app", "server.server", True, True, False) in IMPORTS
    assert Import("app", "server.process", True, False, True) in IMPORTS
    assert Import("microweb", "app", True, False, False) in IMPORTS
    assert Import("server.server", "asyncio", False, False, False) in IMPORTS


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    exceptions = INSIDE_FUNCTIONS | FOR_TYPES_ONLY
    above = HOUSE[: HOUSE.index(module)]
    wrong = [
        found.imported
        for found in OURS
        if found.importer == module
        and found.imported not in above
        and (module, found.imported) not in exceptions
    ]
    assert not wrong, f"{module} imports {wrong}, which stand below it"


def test_the_exceptions_are_a_closed_list() -> None:
    upwards = [found for found in OURS if HOUSE.index(found.imported) > HOUSE.index(found.importer)]
    inside = {(f.importer, f.imported) for f in upwards if f.is_inside_function}
    for_types = {(f.importer, f.imported) for f in upwards if f.is_for_types}
    at_the_top = [f for f in upwards if not f.is_inside_function and not f.is_for_types]
    assert (inside, for_types, at_the_top) == (INSIDE_FUNCTIONS, FOR_TYPES_ONLY, [])


def test_the_server_imports_nothing_of_the_application() -> None:
    of_the_server = [found for found in OURS if found.importer.split(".")[0] == "server"]
    assert of_the_server
    assert not [found for found in of_the_server if found.imported in APPLICATION]


def test_the_application_needs_no_server() -> None:
    of_the_app = [found for found in OURS if found.importer in APPLICATION]
    servers = {f.importer for f in of_the_app if f.imported.split(".")[0] == "server"}
    assert servers <= {"app", "middleware.rate_limit"}  # one counts addresses, as the server


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_waits_for_nothing(module: str) -> None:
    reached, todo = {module}, [module]
    while todo:
        for found in imports_of(todo.pop()):
            assert found.imported.split(".")[0] not in WAITING, f"{found.importer} can wait"
            if (found.importer, found.imported) in ONCE_ASKED_FOR | FOR_TYPES_ONLY:
                assert found.is_for_types or found.is_inside_function
                continue
            if found.is_ours and found.imported not in reached:
                reached.add(found.imported)
                todo.append(found.imported)


def test_a_third_party_import_stands_only_where_its_extra_is_for() -> None:
    third_party: dict[str, set[str]] = {}
    for found in IMPORTS:
        name = found.imported.split(".")[0]
        if not found.is_ours and name not in sys.stdlib_module_names:
            third_party.setdefault(found.importer, set()).add(name)
    assert third_party == EXTRAS


def test_only_packages_hand_on_names() -> None:
    for module, path in MODULES.items():
        names = {
            target.id
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert ("__all__" in names) is (module in HANDS_ON), module


def test_the_public_names_are_those_that_are_listed() -> None:
    listed = microweb.__all__
    assert sorted(listed) == listed
    for name in listed:
        is_alias = name in ("Handler", "Middleware")
        assert is_alias or getattr(microweb, name).__module__.startswith("microweb.")


SERVED_ONCE = """
import asyncio, sys
from microweb import App

app = App()

@app.get("/hello/{name}")
async def hello(name: str) -> dict[str, str]:
    return {"hello": name}

async def main() -> None:
    async with app.serve(host="127.0.0.1", port=0) as server:
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /hello/ann HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
        assert (await reader.read()).endswith(b'{"hello":"ann"}')
        writer.close()
        await writer.wait_closed()

asyncio.run(main())
print(*(name.removeprefix("microweb.") for name in sys.modules if name.startswith("microweb.")))
"""
ROOMS = {"middleware", "sse", "websocket", "channels", "testing", "debug", "sessions"}


def test_an_app_that_served_a_request_has_imported_no_optional_room() -> None:
    """In a fresh interpreter. `sessions.session` is a dict, which each request can have."""
    command = [sys.executable, "-c", SERVED_ONCE]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    imported = set(ended.stdout.split())
    assert {"app", "request", "response", "server.connection"} <= imported
    optional = {name for name in imported if name.split(".")[0] in ROOMS}
    optional |= imported & {"static", "templating"}
    assert optional <= {"sessions", "sessions.session", "sessions.store"}
