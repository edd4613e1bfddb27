"""The command line: `microweb run`, `microweb dev`, `microweb routes`."""

from .command_line import main

__all__ = ["main"]
