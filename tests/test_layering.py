"""A module imports only from its own floor of the house and from the floors below it."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest
from support.processes import ENVIRONMENT
from support.serving import DEADLINE_S, get, on_loopback

import microweb
from microweb import App

PACKAGE = Path(microweb.__file__).parent

# From the ground up. A module stands on the floor of its name, else on that of its package.
FLOORS = [
    "errors extras faults logs markup remedies",
    "http concurrency sessions typed",
    "bodies routing sse",
    "response",
    "request",
    "parser router",
    "server static templating errorpages",
    "endpoints",
    "websocket middleware debug",
    "dispatch channels testing openapi",
    "interop",
    "app",
    "suggestions microweb development",  # `microweb` is the public names
    "cli __main__",
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}

# Who may import whom inside functions: a module or package -> modules or packages. Closed.
INSIDE_FUNCTIONS = {
    # run(), serve(), asgi(), test_client(), folders, documents, mounted applications
    "app": "server testing static openapi interop",
    "bodies.incoming": "bodies.forms bodies.multipart concurrency.threads",  # for large content
    "cli.check": "server.tls_context",  # only if there are certificates
    "cli.interfaces": "interop",  # an App needs none of it
    "cli.openapi": "openapi",  # other commands do not need it
    "cli.dev": "development",  # workers of `microweb run` do not need it
    "cli.target": "debug",  # only for an error
    "channels.message": "sse.event websocket.frames",  # encoded once for all subscribers
    "dispatch": "debug websocket",
    # `microweb.WSGI`, `microweb.WebSocket`, and names that microweb lacks
    "microweb": "debug interop websocket",
    "response": "sse",  # the shorthand for events
    "server.metered": "server.metrics_meter",  # only for an app with `Metrics`
    "server.metrics_registry": "server.metrics_totals",  # a single process has none
    "server.process": "server.supervisor server.stalled_loop",  # only with their options
    "server.server": "server.tls",
    "server.spawned": "server.metrics_totals",  # only if a worker had metrics
    "server.supervisor": "server.tls_context server.metrics_socket",  # with their options
    "testing": "testing.websocket",  # which needs an extra
    "testing.client": "middleware.sessions",
}

# Who answers requests; the server needs nothing of it but a handler.
APPLICATION = set(
    "routing router errorpages endpoints websocket middleware debug dispatch channels static"
    " templating app microweb".split()
)

# Modules and packages that bytes alone can test: nothing that they import can wait.
PURE = (
    "errors markup http routing parser request sse.event testing.eventsource sessions.session"
    " sessions.store bodies.json bodies.json_readers bodies.json_types bodies.parts"
    " bodies.annotations bodies.incoming"
).split()
WAITING = {"asyncio", "socket", "ssl", "select", "selectors", "threading", "concurrent"}

# The packages whose `__init__` hands on their public names.
HANDS_ON = {"microweb", "channels", "cli", "openapi", "sessions", "sse", "testing", "websocket"}

# The module that an extra is for -> what it brings.
EXTRAS = {
    "bodies.json_msgspec": {"msgspec"},
    "websocket.deflate": {"websockets"},
    "websocket.protocol": {"websockets"},
    "middleware.compression": {"brotli", "zstandard"},
    "server.process": {"uvloop"},
    "development.waking": {"watchfiles"},
    "testing.httpx_backend": {"httpx", "httpcore"},
    "testing.websocket": {"httpx", "websockets"},
    "testing.events": {"httpx"},
    "testing.transport": {"httpx"},
    "testing.client": {"httpx"},
    "sessions.redis_client": {"redis"},
    "sessions.redis_urls": {"redis"},
    "channels.redis": {"redis"},
    "channels.redis_listener": {"redis"},
    "sessions.signed": {"itsdangerous"},
    "templating": {"jinja2"},
    "development.certificate": {"trustme"},
    "middleware.tracing": {"opentelemetry"},
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
        if isinstance(child, ast.expr):
            continue  # most nodes; only statements import
        for name, is_ours in _names(child, module):
            yield Import(module, name, is_ours, is_for_types, is_inside_function)
        is_types_block = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
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


@cache  # read by the first test, not by each process that collects the tests
def all_imports() -> list[Import]:
    return [found for module in MODULES for found in imports_of(module)]


def own_imports() -> list[Import]:
    return [found for found in all_imports() if found.is_ours]


@cache
def own_edges() -> set[tuple[str, str]]:
    edges = {(found.importer, found.imported) for found in own_imports()}
    return {(importer, imported) for importer, imported in edges if importer != imported}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def floor_of(module: str) -> int:
    return FLOOR_OF[package_of(module)]


def is_named(module: str, names: Iterable[str]) -> bool:
    """Whether a module, or a package that it lies in, is one of `names`."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def may_stand_in_a_function(importer: str, imported: str) -> bool:
    return any(
        is_named(importer, [name]) and is_named(imported, allowed.split())
        for name, allowed in INSIDE_FUNCTIONS.items()
    )


def circular(edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the imports by which a module imports itself in the end."""
    graph = defaultdict[str, set[str]](set)
    for importer, imported in edges:
        graph[importer].add(imported)
    reached = {module: _reached_from(module, graph) for module in list(graph)}
    return {
        (importer, imported)
        for importer, found in graph.items()
        for imported in found
        if importer in reached.get(imported, ())
    }


def _reached_from(module: str, graph: Mapping[str, set[str]]) -> set[str]:
    reached, todo = set[str](), [module]
    while todo:
        for imported in graph.get(todo.pop(), set()) - reached:
            reached.add(imported)
            todo.append(imported)
    return reached


def upward(edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    return {edge for edge in edges if floor_of(edge[1]) > floor_of(edge[0])}


def hidden(imports: Iterable[Import]) -> set[tuple[str, str]]:
    """Return the imports inside functions that are on no list."""
    edges = {(each.importer, each.imported) for each in imports if each.is_inside_function}
    return {edge for edge in edges if not may_stand_in_a_function(*edge)}


def test_every_module_has_a_floor() -> None:
    without = {module for module in MODULES if package_of(module) not in FLOOR_OF}
    assert not without, f"give {without} a floor in FLOORS"


def test_no_floor_is_for_a_module_that_is_not_there() -> None:
    assert set(FLOOR_OF) == {package_of(module) for module in MODULES}


def test_imports_are_found() -> None:
    """So that the tests below can fail."""
    assert Import("parser", "http.headers", True, False, False) in all_imports()
    assert Import("dispatch.boundary", "response", True, False, False) in all_imports()
    assert Import("app", "server.config", True, True, False) in all_imports()
    assert Import("app", "server.process", True, False, True) in all_imports()
    assert Import("microweb", "app", True, False, False) in all_imports()
    assert Import("server.server", "asyncio", False, False, False) in all_imports()


def test_circles_are_found() -> None:
    circle = {("b", "c"), ("c", "b"), ("d", "e"), ("e", "f"), ("f", "d")}
    assert circular(circle | {("a", "b"), ("c", "d")}) == circle
    assert circular([("a", "b"), ("b", "c"), ("a", "c")]) == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_the_floors(module: str) -> None:
    """Imports for type checkers too."""
    wrong = sorted(imported for importer, imported in upward(own_edges()) if importer == module)
    assert not wrong, f"{module} imports {wrong}, which stand above it"


def test_no_module_imports_itself_in_the_end() -> None:
    assert sorted(circular(own_edges())) == []


def test_imports_inside_functions_are_a_closed_list() -> None:
    assert sorted(hidden(own_imports())) == []


def test_the_closed_list_names_no_import_that_is_gone() -> None:
    inside = {(each.importer, each.imported) for each in own_imports() if each.is_inside_function}
    for importer, allowed in INSIDE_FUNCTIONS.items():
        for imported in allowed.split():
            used = [a for a, b in inside if is_named(a, [importer]) and is_named(b, [imported])]
            assert used, f"take ({importer}, {imported}) off INSIDE_FUNCTIONS"


def test_the_server_imports_nothing_of_the_application() -> None:
    of_the_server = [found for found in own_imports() if package_of(found.importer) == "server"]
    assert of_the_server
    assert not [found for found in of_the_server if package_of(found.imported) in APPLICATION]


def test_the_application_needs_no_server() -> None:
    of_the_app = [found for found in own_imports() if package_of(found.importer) in APPLICATION]
    servers = {f.importer for f in of_the_app if package_of(f.imported) == "server"}
    # One counts addresses, as the server; one shows what the server measures.
    assert servers <= {"app", "middleware.rate_limit", "middleware.metrics"}


@pytest.mark.parametrize("module", [module for module in MODULES if is_named(module, PURE)])
def test_a_pure_module_waits_for_nothing(module: str) -> None:
    """Imports inside functions may: large JSON and a form with files wait for threads."""
    reached, todo = {module}, [module]
    while todo:
        for found in imports_of(todo.pop()):
            assert package_of(found.imported) not in WAITING, f"{found.importer} can wait"
            if found.is_for_types or found.is_inside_function or not found.is_ours:
                continue
            if found.imported not in reached:
                reached.add(found.imported)
                todo.append(found.imported)


STANDARD = sys.stdlib_module_names | {"annotationlib"}  # of Python 3.14


def test_a_third_party_import_stands_only_where_its_extra_is_for() -> None:
    third_party: dict[str, set[str]] = {}
    for found in all_imports():
        name = found.imported.split(".")[0]
        if not found.is_ours and name not in STANDARD:
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
print(*(name.removeprefix("microweb.") for name in sys.modules))
"""
ROOMS = set(
    "middleware sse websocket channels testing debug sessions development openapi interop".split()
)


def test_an_app_that_served_a_request_has_imported_no_optional_room() -> None:
    """In a fresh interpreter. `sessions.session` is a dict, which each request can have."""
    command = [sys.executable, "-c", SERVED_ONCE]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    imported = set(ended.stdout.split())
    assert {"app", "request", "response", "server.connection"} <= imported
    optional = {name for name in imported if name.split(".")[0] in ROOMS}
    optional |= imported & {"static", "templating"}
    optional |= {name for name in imported if name.startswith("server.tls")}
    assert optional <= {"sessions", "sessions.session", "sessions.store"}
    workers = "supervisor control survey pool spawned stalled_loop stack_samples".split()
    assert imported & {f"server.{name}" for name in workers} == set()
    assert imported & {*LAZY, "tomllib", "difflib", "sysconfig"} == set()


# --- the reading order ----------------------------------------------------------------

# The way of a request, in the order of `microweb.__doc__`.
READING = """
    server/server.py server/state.py server/connection.py server/network.py parser.py
    http/request_head.py http/framing.py http/headers.py http/response_head.py request.py app.py
    dispatch/dispatcher.py routing/tree.py endpoints/handler.py response.py
""".split()

# Which a kept GET enters besides. Closed.
HELPERS = """
    bodies/json.py bodies/json_msgspec.py bodies/json_writers.py bodies/writers.py
    endpoints/arguments.py endpoints/results.py endpoints/parameters.py endpoints/scalars.py
    http/multidict.py http/urlencoded.py routing/patterns.py server/context.py server/inflow.py
""".split()
MAX_HELPERS = 13

MAX_READING = 4500  # lines


def test_the_reading_order_is_there() -> None:
    assert [path for path in READING if not (PACKAGE / path).is_file()] == []


def test_the_reading_order_is_stated_where_one_begins() -> None:
    assert microweb.__doc__ is not None
    stated = re.findall(r"`([\w/]+\.py)`", microweb.__doc__)
    assert stated == READING


def test_the_reading_order_is_read_in_an_afternoon() -> None:
    lines = {path: len((PACKAGE / path).read_text("utf-8").splitlines()) for path in READING}
    assert sum(lines.values()) <= MAX_READING, lines


async def test_a_kept_get_stays_in_the_reading_order() -> None:
    app = App()

    @app.get("/users/{id}")
    async def show(id: int, page: int = 1) -> dict[str, int]:
        return {"id": id, "page": page}

    entered: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            entered.add(Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix())

    async with on_loopback(app, tick_s=3600) as server, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(get("/users/1?page=2"))
        assert await reader.readuntil(b"}")
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            writer.write(get("/users/7?page=3"))
            answer = await reader.readuntil(b"}")
        finally:
            sys.setprofile(before)
        writer.close()
        await writer.wait_closed()
    assert answer.endswith(b'{"id":7,"page":3}')
    assert "parser.py" in entered
    assert entered <= {*READING, *HELPERS}
    assert len(HELPERS) <= MAX_HELPERS


LAZY = "tempfile shutil random secrets hashlib hmac html multiprocessing email http.client".split()


def test_an_import_loads_no_module_that_few_applications_need() -> None:
    code = "import asyncio, sys; before = {*sys.modules}; import microweb\n"
    code += "print(*sorted({*sys.modules} - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert "microweb.app" in loaded
    assert [name for name in loaded if name in LAZY] == []
    rooms = "channels cli debug development interop middleware openapi sse static testing websocket"
    inside = [name.split(".")[1] for name in loaded if name.startswith("microweb.")]
    assert {*inside} & {*rooms.split(), "templating"} == set()
