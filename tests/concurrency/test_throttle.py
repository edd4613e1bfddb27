"""A limit on how often an action may happen."""

from __future__ import annotations

import pytest

from microweb.concurrency.throttle import Throttle


def test_it_permits_once_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("microweb.concurrency.throttle.monotonic", lambda: now)
    throttle = Throttle(60)
    assert [throttle.permits(), throttle.permits()] == [True, False]
    now += 59.9
    assert not throttle.permits()
    now += 0.1
    assert [throttle.permits(), throttle.permits()] == [True, False]


def test_the_first_is_permitted_right_after_the_machine_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("microweb.concurrency.throttle.monotonic", lambda: 0.0)
    assert Throttle(60).permits()


def test_it_permits_several_and_counts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("microweb.concurrency.throttle.monotonic", lambda: now)
    throttle = Throttle(1.0, times=2)
    assert [throttle.permits() for _ in range(5)] == [True, True, False, False, False]
    assert (throttle.take_skipped(), throttle.take_skipped()) == (3, 0)
    now += 1.0
    assert [throttle.permits() for _ in range(3)] == [True, True, False]
