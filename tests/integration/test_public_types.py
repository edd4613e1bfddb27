"""Handler, Middleware and the keywords of an app, as a type checker sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

HEAD = """from asyncio import Task
from collections.abc import Callable

from microweb import App, Handler, Middleware, Request, Response

app = App()
"""
RIGHT = """
@app.middleware
async def first(request: Request, call_next: Handler) -> Response:
    return await call_next(request)

async def second(request: Request, call_next: Handler) -> tuple[str, int]:
    return "no", 403

class Third:
    async def __call__(self, request: Request, call_next: Handler) -> Response:
        return await call_next(request)

several: list[Middleware] = [first, second, Third()]
app.use(Third())

@app.get("/", use=several)
async def show(request: Request) -> Response:
    request.app.spawn(show(request))
    for name, value in request.query.items():
        request.app.state.name = name + value
    return request.app.templates.render("a.html", name=request.app.state.name)

@app.errorhandler(404)
async def missing(request: Request) -> Response:
    task: Task[Response] = request.app.spawn(show(request), name="show")
    debugs: bool = request.app.debug
    path: str = request.app.url_for("show", task=task, debugs=debugs)
    default: Callable[[object], object] | None = request.app.json_default
    if isinstance(request.app, App):
        whole: App = request.app
    return request.app.templates.stream("b.html", path=path, default=default)
"""
WRONG = [
    "@app.middleware\nasync def f(request: Request) -> str: return ''",
    "@app.middleware\ndef f(request: Request, call_next: Handler) -> str: return ''",
    "@app.middleware\nasync def f(request: Request, call_next: Handler) -> None: pass",
    "@app.middleware\nasync def f(request: Request, call_next: str) -> str: return ''",
    "app.use('http')",
    "app.use(Response)",
    "async def h(request: Request) -> str:\n    request.app.spwan\n    return ''",
    "async def h(r: Request) -> str:\n    return r.app.templates.render('a.html')",
    "async def h(r: Request) -> Response:\n    return r.app.templates.rendr('a.html')",
    "async def h(r: Request) -> None:\n    r.app.spawn(h)",
    "async def h(r: Request) -> str:\n    for a, b in r.query: pass\n    return ''",
    "async def h(request: str) -> Response: return Response()\nx: Handler = h",
    "async def h(request: Request) -> str: return ''\nx: Handler = h",
    "app.get('/', dependencies=[])",
    "App(__name__)",
    "App(title='a')",
    "Response('', status_code=404)",
]


def test_a_type_checker_sees_what_is_wrong(tmp_path: Path) -> None:
    names = [f"wrong{number}" for number in range(len(WRONG))]
    for name, code in zip(names, WRONG, strict=True):
        (tmp_path / f"{name}.py").write_text(f"{HEAD}\n{code}\n")
    (tmp_path / "right.py").write_text(HEAD + RIGHT)
    cache = os.environ.get("MYPY_CACHE_DIR", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, "."]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    found = {line.partition(".py:")[0] for line in ended.stdout.splitlines() if " error: " in line}
    assert found == set(names), ended.stdout + ended.stderr
