"""The command line: `microweb run`, `dev`, `routes` and the other commands."""

from .command_line import main

__all__ = ["main"]
