"""Run plain `def` code that reads a request's body, and may have to wait for its client."""

from __future__ import annotations

from collections.abc import Callable

from ..concurrency.threads import ThreadPool, running_pools
from ..request import Request


async def run_with_wait(label: str, work: Callable[[], object], request: Request) -> object:
    """Run `work` in a thread that may wait for the rest of the body."""
    pool = running_pools().application
    has_reserved = await reserve_wait(pool, request)
    return await pool.run(label, work, has_reserved=has_reserved)


async def reserve_wait(pool: ThreadPool, request: Request) -> bool:
    """Reserve a wait for the rest of a body; return whether the body needs one.

    Each thread that waits is an additional one in the process, so their number is limited. At the
    limit, read the body here first, up to `max_body` of the configuration. If the body is larger,
    wait until one of those threads is free.
    """
    if not pool.try_reserve():
        assert request.source is not None
        await request.source.read_ahead(request.max_body)
        if not request.waits_for_body:
            return False
        await pool.reserve()
    return True
