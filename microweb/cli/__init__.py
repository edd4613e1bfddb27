"""The command line: `microweb run`, `dev`, `routes` and `check`."""

from .command_line import main

__all__ = ["main"]
