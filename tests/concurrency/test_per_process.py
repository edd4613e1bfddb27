"""State that each worker has for itself, and the lines that name it."""

from __future__ import annotations

import gc
from pathlib import Path
from sys import _getframe

import pytest

from microweb.channels import Channels, MemoryBroker
from microweb.concurrency.per_process import PerProcess, all_per_process
from microweb.middleware.rate_limit import RateLimit
from microweb.middleware.sessions import Sessions
from microweb.sessions.memory import MemoryStore

KEY = "a key for tests, of 32 characters"


def made_since(before: list[PerProcess]) -> list[PerProcess]:
    return [each for each in all_per_process() if each not in before]


@pytest.mark.parametrize(
    ("made", "name", "remedy", "is_wrong"),
    [
        (lambda: Sessions(KEY, store=MemoryStore()), "MemoryStore", "RedisStore", True),
        (lambda: Channels(), "MemoryBroker", "RedisBroker", True),
        (lambda: Channels(broker=MemoryBroker()), "MemoryBroker", "RedisBroker", True),
        (lambda: RateLimit(10, 60), "RateLimit", "the number of workers", False),
    ],
)
def test_line_names_the_place_and_the_remedy(
    made: object, name: str, remedy: str, is_wrong: bool
) -> None:
    before = all_per_process()
    assert callable(made)
    kept = made()
    (noted,) = made_since(before)
    place = f"{Path(__file__)}:{made.__code__.co_firstlineno}"
    assert str(noted).startswith(f"{name} ({place}): ")
    assert remedy in str(noted) and "\n" not in str(noted)
    assert noted.is_wrong is is_wrong
    del kept


def test_state_that_is_gone_is_not_named() -> None:
    before = all_per_process()
    store = MemoryStore()
    line = _getframe().f_lineno - 1
    assert [f":{line})" in str(each) for each in made_since(before)] == [True]
    del store
    gc.collect()
    assert made_since(before) == []


def test_cookie_sessions_are_no_such_state() -> None:
    before = all_per_process()
    sessions = Sessions(KEY)
    assert made_since(before) == []
    del sessions
