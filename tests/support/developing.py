"""Programs that `microweb dev` serves, and their files."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import DEADLINE_S, Program, get
from .supervising import children, is_alive, until

APP = """from microweb import App

app = App()


@app.get("/")
async def index() -> str:
    return "version 1"
"""


@contextmanager
def developed(
    folder: Path, *options: str, source: str = APP, prints: str = "listening on"
) -> Iterator[tuple[Program, str]]:
    """Yield a program that serves `source`, and its URL; check that no process of it is left."""
    write(folder / "app.py", source)
    command = ("-m", "microweb", "dev", "app.py", "--port", "0", *options)
    with Program(*command, cwd=folder, is_session=True, is_measured=True) as program:
        line = program.out.wait_for(prints)
        yield program, re.findall(r"https?://[\w.:\[\]]+:\d+", line)[0]
        workers = children(program) if program.process.poll() is None else []
    until(lambda: not any(map(is_alive, workers)))


def write(path: Path, text: str) -> None:
    """Save a file as an editor does: write another one, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    other = path.with_name(f".{path.name}.swp")
    other.write_text(text)
    other.replace(path)


def until_answered(url: str, expected: str, path: str = "/") -> None:
    """Wait until a response contains a text."""
    ends_at = time.monotonic() + DEADLINE_S
    while expected not in (found := get(url, path)[1]):
        assert time.monotonic() < ends_at, found
        time.sleep(0.02)
