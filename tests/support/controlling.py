"""Commands to a service in another process, on its control socket."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .processes import DEADLINE_S, ENVIRONMENT, Program
from .supervising import SCRIPT, supervised


@contextmanager
def controlled(
    folder: Path, *, workers: int = 2, options: str = "", more: str = ""
) -> Iterator[tuple[Program, str, Path]]:
    """Yield a service with a control socket in `folder`, its URL and the socket's path."""
    script, path = folder / "app.py", folder / "app.ctl"
    given = f"workers={workers}, control={str(path)!r}{options and ', '}{options}"
    text = SCRIPT.replace("workers=2", given)
    script.write_text(text.replace("if __name__", f"{more}\nif __name__"))
    with supervised(script) as (program, url):
        yield program, url, path


def command(name: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "microweb", name, "--control", str(path), *options],
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )


def connect(path: Path, data: bytes = b"") -> socket.socket:
    """Return a connection to the control socket, on which `data` is sent."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(DEADLINE_S)
    client.connect(str(path))
    client.sendall(data)
    return client


def read_answer(client: socket.socket) -> dict[str, Any]:
    """Return the answer, after the end of the connection."""
    data = b""
    while piece := client.recv(1 << 20):
        data += piece
    client.close()
    answer = json.loads(data)
    assert isinstance(answer, dict)
    return answer


def ask(path: Path, **question: object) -> dict[str, Any]:
    """Return the answer to a question."""
    return read_answer(connect(path, json.dumps(question).encode() + b"\n"))
