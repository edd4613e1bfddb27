"""A place: how soon a crashed worker is replaced."""

from __future__ import annotations

from microweb.server.places import Place


def waits(place: Place, lives_s: list[float], *, is_alone: bool = False) -> list[float]:
    return [place.crash(100.0, lived_s, is_alone=is_alone) for lived_s in lives_s]


def test_each_crash_doubles_the_wait() -> None:
    place = Place()
    assert waits(place, [0.0] * 9) == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert place.starts_at == 130.0


def test_wait_is_short_if_no_other_worker_is_ready() -> None:
    assert waits(Place(), [0.0] * 6, is_alone=True) == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_crash_after_a_long_life_counts_as_the_first() -> None:
    assert waits(Place(), [5.0, 5.0, 61.0, 5.0]) == [0.0, 0.5, 0.0, 0.5]


def test_worker_that_takes_over_ends_the_wait() -> None:
    place = Place()
    waits(place, [0.0, 0.0])
    place.recover()
    assert place.starts_at == 0.0
    assert waits(place, [0.0]) == [0.0]


def test_place_without_a_worker_does_not_serve() -> None:
    assert not Place().is_serving
