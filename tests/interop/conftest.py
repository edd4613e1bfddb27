"""Fixtures of the tests of ASGI and WSGI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from conftest import LOOP

from microweb.server.process import loop_factory


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Return a runner of the event loop: Hypothesis calls tests that are not coroutines."""
    with asyncio.Runner(loop_factory=loop_factory(LOOP)) as runner:
        yield runner
