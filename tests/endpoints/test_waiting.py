"""Waits of plain `def` code for the rest of a body."""

from __future__ import annotations

import pytest
from support.requesting import FakeBody, request_of

from microweb import from_thread
from microweb.concurrency.threads import ThreadPool, open_pools
from microweb.endpoints.waiting import reserve_wait, run_with_wait


class Ahead(FakeBody):
    """A body that can be read ahead of its reader."""

    was_read_ahead = False

    async def read_ahead(self, limit: int | None) -> None:
        self.was_read_ahead = True
        self.waits_for_peer = False


async def test_a_wait_is_reserved_without_reading() -> None:
    pool, body = ThreadPool(1), Ahead([b"x"])
    assert await reserve_wait(pool, request_of("/", {}, body, "POST"))
    assert not body.was_read_ahead
    pool.close()


async def test_at_the_limit_the_body_is_read_ahead() -> None:
    pool, body = ThreadPool(1), Ahead([b"x"])
    assert pool.try_reserve()
    assert not await reserve_wait(pool, request_of("/", {}, body, "POST"))
    assert body.was_read_ahead
    pool.end_wait()
    assert pool.try_reserve()  # it holds no wait
    pool.close()


@pytest.mark.parametrize("is_at_limit", [False, True])
async def test_the_work_reads_the_body(is_at_limit: bool) -> None:
    pools, body = open_pools(1), Ahead([b"abc"])
    if is_at_limit:
        assert pools.application.try_reserve()
    request = request_of("/", {}, body, "POST")
    assert await run_with_wait("work", lambda: from_thread(request.body()), request) == b"abc"
    assert pools.application.try_reserve() is not is_at_limit
    pools.close()
