"""Commands to a service in another process, on its control socket."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
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
    given = f"workers={workers}, control={str(path)!r}, {options or 'grace_s=5'}"
    text = SCRIPT.replace("workers=2, grace_s=5", given)
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


def command_on_a_full_disk(name: str, path: Path, answer: object) -> tuple[int, str]:
    """Run a command that gets `answer`; return its exit status and its stderr."""
    with OneAnswer(path, json.dumps(answer).encode()), open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "microweb", name, "--control", str(path)],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=DEADLINE_S,
        )
    return ended.returncode, ended.stderr


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


class OneAnswer:
    """A control socket at `path` that gives one client an answer, and keeps its question."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.question = b""
        self._answer = answer
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> OneAnswer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(20)
        self._listening.close()

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        with client:
            while not self.question.endswith(b"\n"):
                self.question += client.recv(1000)
            client.sendall(self._answer)
