from __future__ import annotations

import functools
import json
import os
import pdb
import re
import selectors
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from types import FrameType

import pytest
from support.requesting import request_of as make_request_of

from microweb import App, Request
from microweb.server.stack_samples import (
    Line,
    culprit_of,
    is_waiting,
    parse_stack,
    request_of,
    route_of,
    stack_of,
)

TEXT = """Timeout (0:00:00.200000)!
Thread 0x00007f3a5b7fe6c0 [worker] (most recent call first):
  File "/srv/other.py", line 1 in other

Thread 0x00007f3a5c9a9740 (most recent call first):
  File "/usr/lib/python3.11/re/__init__.py", line 166 in match
  File "/srv/my app/app.py", line 14 in <lambda>
  File "/srv/my app/app.py", line 9 in search
  ...
"""


def test_the_stack_of_one_thread_in_the_text_of_faulthandler() -> None:
    assert parse_stack(TEXT, 0x7F3A5C9A9740) == [
        Line("/usr/lib/python3.11/re/__init__.py", 166, "match"),
        Line("/srv/my app/app.py", 14, "<lambda>"),
        Line("/srv/my app/app.py", 9, "search"),
    ]
    assert parse_stack(TEXT, 1) == parse_stack("", 1) == []


def frame_here() -> FrameType:
    return sys._getframe(1)


def test_stack_of_a_frame() -> None:
    first, *outer = stack_of(frame_here())
    assert first._replace(number=0) == Line(__file__, 0, "test_stack_of_a_frame")
    assert first.number > 1
    assert len(outer) > 5
    assert stack_of(None) == []


OURS = Line("/srv/microweb_app/app.py", 3, "search")
STANDARD = Line(re.__file__, 166, "match")
INSTALLED = Line(pytest.__file__, 1, "run")
MICROWEB = Line(sys.modules["microweb.app"].__file__ or "", 1, "handle")


@pytest.mark.parametrize(
    ("stack", "culprit"),
    [
        ([STANDARD, OURS, MICROWEB], OURS),
        ([STANDARD, INSTALLED, OURS, MICROWEB], OURS),
        ([STANDARD, MICROWEB], STANDARD),
        ([Line("<string>", 1, "make"), OURS], OURS),
        ([MICROWEB, OURS], OURS),
    ],
)
def test_the_line_of_the_application_is_named(stack: list[Line], culprit: Line) -> None:
    assert culprit_of(stack) == culprit


@contextmanager
def running(work: Callable[[], object], until: str) -> Iterator[list[Line]]:
    """Yield the stack of a thread that waits in the function `until`."""
    thread = threading.Thread(target=work)
    thread.start()
    while True:
        stack = stack_of(sys._current_frames().get(thread.ident or 0))
        if any(line.function == until for line in stack):
            break
    yield stack
    thread.join()


def test_an_event_loop_without_work_waits() -> None:
    reading, writing = os.pipe()
    selector = selectors.DefaultSelector()
    selector.register(reading, selectors.EVENT_READ)
    with running(selector.select, "select") as stack:
        assert is_waiting(stack)
        os.write(writing, b"x")
    selector.close()
    os.close(reading)
    os.close(writing)
    assert is_waiting([])
    assert not is_waiting([OURS, Line(selectors.__file__, 1, "select")])


def test_a_debugger_waits_for_its_user() -> None:
    reading, writing = os.pipe()
    with open(reading) as commands:
        debugger = pdb.Pdb(stdin=commands, stdout=StringIO(), nosigint=True)

        def work() -> None:
            debugger.set_trace()

        with running(work, "cmdloop") as stack:
            assert is_waiting(stack)
            os.write(writing, b"continue\n")
    os.close(writing)


@pytest.mark.parametrize(
    "file", ["/x/site-packages/debugpy/server/a.py", "/x/pydevd/a.py", "/x/helpers/pydevd.py"]
)
def test_other_debuggers(file: str) -> None:
    assert is_waiting([Line("/x/threading.py", 1, "wait"), Line(file, 1, "stop"), OURS])


def test_the_request_is_in_the_frames_of_microweb() -> None:
    request = make_request_of("/a")
    source = "def _serve(request, go):\n    return go()"
    names: dict[str, object] = {"__name__": "microweb.server.connection"}
    exec(compile(source, "/x/microweb/server/connection.py", "exec"), names)
    found: list[Request | None] = []

    def go() -> None:
        frame = frame_here()
        stack = stack_of(frame)
        found.append(request_of(frame, stack))
        # Meanwhile the same code has called something else.
        found.append(request_of(frame, [STANDARD, *stack]))
        # Meanwhile it serves something else.
        found.append(request_of(frame.f_back, stack))
        found.append(request_of(None, stack))

    names["_serve"](request, go)  # type: ignore[operator]
    assert found == [request, request, None, None]
    frame = frame_here()
    assert request_of(frame, stack_of(frame)) is None


def decorated(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    async def wrapper() -> str:
        return str(json.dumps("x"))

    return wrapper


def test_the_route_of_an_endpoint_in_the_stack() -> None:
    app, inner = App(), App()

    @inner.get("/search/{word}")
    async def search(word: str) -> str:
        return word

    @app.get("/wrapped")
    @decorated
    async def wrapped() -> str:
        return "x"

    app.mount("/inner", inner)
    for function, route in ((search, "GET /inner/search/{word}"), (wrapped, "GET /wrapped")):
        code = functools.partial(function).func
        code = getattr(code, "__wrapped__", code).__code__  # type: ignore[union-attr]
        stack = [STANDARD, Line(code.co_filename, 99, code.co_name), MICROWEB]
        assert route_of(stack, app.all_routes()).endswith(route.partition(" ")[2])
    assert route_of([OURS], app.all_routes()) == ""


@pytest.mark.parametrize("name", ["selectors.py", "process.py", "runners.py"])
def test_file_of_the_application_with_a_name_of_the_loop_is_not_waiting(name: str) -> None:
    assert not is_waiting([Line(f"/srv/shop/{name}", 3, "load")])
    assert is_waiting([Line(selectors.__file__, 468, "select")])
