"""The command line: `microweb run`, `dev`, `routes`, `openapi`, `check` and `systemd`."""

from .command_line import main

__all__ = ["main"]
