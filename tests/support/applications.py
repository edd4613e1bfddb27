"""Applications of other frameworks that `microweb run` serves: a client for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.processes import DEADLINE_S, ROOT, Program
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ROOT / "tests/applications/programs"
PREFIX = "/below"  # of an application that is mounted in an App

both_ways = pytest.mark.parametrize("is_mounted", [False, True], ids=["alone", "mounted"])


class Site(httpx.Client):
    """A client of a served application. Its paths begin below the application's prefix."""

    def __init__(self, program: Program, prefix: str) -> None:
        self.program, self.prefix = program, prefix
        (self.url,) = program.urls()
        super().__init__(base_url=self.url + prefix, timeout=DEADLINE_S)

    def socket(self, path: str, **options: Any) -> ClientConnection:
        """Open a WebSocket."""
        url = f"ws{self.url.removeprefix('http')}{self.prefix}{path}"
        return connect(url, open_timeout=DEADLINE_S, **options)


Serve = Callable[..., Site]  # of the fixture `serve`
