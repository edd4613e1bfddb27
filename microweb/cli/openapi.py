"""`microweb openapi`: print the OpenAPI document of an app, or compare it with a file."""

from __future__ import annotations

import argparse
from difflib import unified_diff
from pathlib import Path

from ..app import App
from ..errors import ConfigurationError
from .command import Command, fail, fail_usage, write_out
from .target import add_target, load_app


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "--check",
        metavar="FILE",
        type=Path,
        help="print nothing if FILE has this document; else print the difference and end with 1",
    )


def _run(given: argparse.Namespace) -> None:
    written = _read(given.check) if given.check else b""
    document = _document_of(load_app(given.target))
    if given.check is None:
        write_out(document.decode())
    elif written.replace(b"\r\n", b"\n") != document:
        write_out(_difference(written, document, given))
        fail(f"{given.check} is not the document of {given.target}: write it again")


COMMAND = Command(
    "openapi",
    "Print the OpenAPI document of an app, or compare it with a file.",
    _add_arguments,
    _run,
)


def _document_of(app: App) -> bytes:
    from ..openapi.documents import document, encode

    try:
        app.freeze()
        return encode(document(app))
    except ConfigurationError as error:
        fail(str(error))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        fail_usage(f"--check: {file} can't be read: {error.strerror}")


def _difference(written: bytes, document: bytes, given: argparse.Namespace) -> str:
    """Return the lines that differ, with three lines around each."""
    before, after = (each.decode("utf-8", "replace").splitlines() for each in (written, document))
    labels = (str(given.check), str(given.target))
    return "".join(f"{line}\n" for line in unified_diff(before, after, *labels, lineterm=""))
