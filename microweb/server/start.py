"""The directory and the command that this process was started with, to start it again."""

from __future__ import annotations

import os
import sys
import threading

from ..errors import ConfigurationError

_REMEDY = "Put the app into a file, and serve it by `microweb run app.py --workers N`"

_directory: str | None = None


def note_directory() -> None:
    """Keep the working directory, for workers: before the application changes it."""
    global _directory
    if _directory is None:
        try:
            _directory = _named_directory()
        except OSError:  # the directory is gone
            _directory = os.sep


def start_directory() -> str:
    """Return the directory in which this program was started."""
    note_directory()
    assert _directory is not None
    return _directory


def _named_directory() -> str:
    """Return the working directory by the name that the shell used for it.

    That name may lead over a symbolic link such as `current`, which a deployment switches: the next
    worker then runs the new release.
    """
    here = os.getcwd()
    named = os.environ.get("PWD", "")
    try:
        return named if os.path.isabs(named) and os.path.samefile(named, here) else here
    except OSError:
        return here


def worker_command() -> list[str]:
    """Return the arguments that execute this program again, for a worker.

    Raises: ConfigurationError if the program is no file or module that can run again, or this
    system or this thread can have no workers.
    """
    if os.name != "posix":
        raise ConfigurationError("workers: expected 1 on this system, which passes no sockets on")
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "workers: expected app.run() in the main thread, which gets signals"
        )
    if not sys.executable:
        raise ConfigurationError(f"workers: this Python does not know its own path. {_REMEDY}")
    arguments = sys.orig_argv[1:]
    if reason := _why_not(arguments):
        raise ConfigurationError(f"workers: {reason} can't be started again. {_REMEDY}")
    return [sys.executable, *arguments]


def _why_not(arguments: list[str]) -> str:
    """Return the kind of a program that can't run again, or an empty text."""
    if "_pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ:
        return "a test session"
    if hasattr(sys, "ps1") or sys.flags.interactive:
        return "an interactive session"
    if "ipykernel" in sys.modules:
        return "a notebook"
    if "-c" in arguments:
        return ""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None or not arguments or not os.path.exists(file):
        return "a program that is read from standard input"
    return ""
