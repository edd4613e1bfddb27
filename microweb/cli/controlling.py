"""Ask a running service a question on its control socket."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from ..errors import ConfigurationError
from ..server.console import say
from ..server.control import MAX_ANSWER
from ..server.env_file import read_env_file
from ..server.settings import read_settings, variable_of
from .command import fail
from .options import flag_of, server_options

_OPTION = "control"
_ANSWER_S = 10.0  # far more than a service needs that does not wait for an outcome
_PAUSE_S = 0.02
_INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT

Answer = dict[str, object]


def add_control(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the control socket is."""
    parser.add_argument(
        flag_of(_OPTION),
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the control socket of the service "
        f"(default: {variable_of(_OPTION)}, or control in the nearest pyproject.toml)",
    )
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="a file of variables NAME=value"
    )


def ask(given: argparse.Namespace, question: dict[str, object], *, waits: bool = False) -> Answer:
    """Return the answer of the service; with `waits` it may take any time.

    Raises: SystemExit with status 1 if the service can't be reached or does not answer, with the
    status of an answer without success, and with 130 at Ctrl-C.
    """
    path = _path(given)
    try:
        received = _exchange(path, json.dumps(question).encode() + b"\n", waits=waits)
    except OSError as error:
        fail(f"control socket {path}: {_reason(error)}")
    except KeyboardInterrupt:
        _end_interrupted("the service was not asked")
    try:
        answer = json.loads(received)
        status = int(answer["status"])
    except (ValueError, LookupError, TypeError):
        fail(f"control socket {path}: the service has ended, or does not answer as expected")
    if status:
        print(f"microweb: {shown(answer.get('text'))}", file=sys.stderr)
        sys.exit(status)
    return dict(answer)


def shown(value: object) -> str:
    """Return a value as text for a terminal: whatever is no printable ASCII is escaped."""
    text = str(value)
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii")


def objects(value: object) -> list[Answer]:
    """Return the objects of a list, as far as it is one."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _path(given: argparse.Namespace) -> str:
    options = server_options(given)
    try:
        variables = read_env_file(given.env_file) if given.env_file is not None else {}
        environment = {**variables, **os.environ}
        settings = read_settings(options, Path.cwd(), environment, source=flag_of, names=[_OPTION])
    except ConfigurationError as error:
        fail(str(error))
    path = settings.options.get("control")
    if not path:
        fail(
            "no control socket is named: run the service with --control PATH, and give the same "
            f"path here, by {variable_of(_OPTION)} or by control in pyproject.toml"
        )
    return path


def _exchange(path: str, question: bytes, *, waits: bool) -> bytes:
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.settimeout(_ANSWER_S)
        _connect(connected, path)
        try:
            connected.sendall(question)
            if waits:
                connected.settimeout(None)
            while len(received) <= MAX_ANSWER and (data := connected.recv(1 << 16)):
                received += data
        except KeyboardInterrupt:
            _end_interrupted("the service goes on with it")
    return bytes(received)


def _end_interrupted(text: str) -> NoReturn:
    say(f"interrupted: {text}", sys.stderr)
    sys.exit(_INTERRUPTED)


def _connect(connected: socket.socket, path: str) -> None:
    """Connect, also if many clients wait. Raises: OSError."""
    ends_at = time.monotonic() + _ANSWER_S
    while True:
        try:
            return connected.connect(path)
        except BlockingIOError as error:  # the queue of the socket is full
            if time.monotonic() >= ends_at:
                raise TimeoutError from error
            time.sleep(_PAUSE_S)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file: is the service running, with this path as control?"
    if isinstance(error, ConnectionRefusedError):
        return "no process listens there: the service has ended"
    if isinstance(error, PermissionError):
        return "permission denied: only the user of the service and root may connect"
    if isinstance(error, TimeoutError):
        return f"no answer within {_ANSWER_S:g} s"
    return error.strerror or str(error)
