"""The resources of one request until its answer is sent."""

from __future__ import annotations

import pytest

from microweb import ConfigurationError
from microweb.http.exchange import Exchange
from microweb.sessions.session import Session


class Source:
    """A session's source and a time limit that record the calls of their methods."""

    def __init__(self) -> None:
        self.session = Session()
        self.calls: list[str] = []

    def open(self) -> Session:
        return self.session

    def close(self) -> None:
        self.calls.append("close")

    def reopen(self) -> None:
        self.calls.append("reopen")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


class Answer:
    async def discard(self) -> None:
        """Close nothing."""


def test_session_comes_from_its_one_source() -> None:
    exchange, source = Exchange(), Source()
    with pytest.raises(ConfigurationError, match=r"add `app\.use"):
        _ = exchange.session
    exchange.use_session(source)
    assert exchange.session is source.session
    with pytest.raises(ConfigurationError, match="keep the outer one"):
        exchange.use_session(Source())
    assert exchange.session is source.session


def test_answers_are_held_until_they_are_released() -> None:
    exchange, first, second = Exchange(), Answer(), Answer()
    exchange.hold(first)
    exchange.hold(second)
    exchange.release(first)
    assert exchange.held == [second]


def test_first_piece_is_made_with_the_session_closed_and_limits_paused() -> None:
    exchange, source, limit = Exchange(), Source(), Source()
    assert exchange.begin_stream() is None
    exchange.add_limit(limit)
    exchange.use_session(source)
    end = exchange.begin_stream()
    assert (source.calls, limit.calls) == (["close"], ["pause"])
    assert end is not None
    end()
    assert (source.calls, limit.calls) == (["close", "reopen"], ["pause", "resume"])
