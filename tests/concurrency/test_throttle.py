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
