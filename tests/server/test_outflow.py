"""The rate at which a peer reads an answer: some bytes in time, and enough per second."""

from __future__ import annotations

import pytest

from microweb.server.config import ServerConfig
from microweb.server.outflow import MAX_CREDIT_S, Outflow

CONFIG = ServerConfig(write_timeout_s=10, min_write_rate=100)


def test_bytes_that_were_taken_are_those_that_wait_no_more() -> None:
    outflow = Outflow(1000, now=0.0)
    assert outflow.measure(1000, 1.0, CONFIG) == 0
    assert outflow.measure(700, 2.0, CONFIG) == 300
    outflow.add(500)
    assert outflow.measure(1200, 3.0, CONFIG) == 0
    assert outflow.measure(0, 4.0, CONFIG) == 1200


def test_bytes_over_tls_count_as_encrypted() -> None:
    """The kernel counts encrypted bytes: 32 for a write of 10."""
    outflow = Outflow(1000, 0.0, 5000)
    for number in range(1, 11):
        outflow.add(10, 5000 + 32 * number)
        assert outflow.measure(1000 + 32 * number, number, CONFIG) == 0
    assert outflow.measure(1000, 11.0, CONFIG) == 320


def test_peer_that_takes_nothing_is_silent_until_it_takes_a_byte() -> None:
    outflow = Outflow(1000, now=0.0)
    outflow.measure(1000, 9.9, CONFIG)
    assert not outflow.is_too_slow(9.9, CONFIG)
    assert outflow.is_silent(10.0, 10)
    assert outflow.is_too_slow(10.0, CONFIG)
    outflow.measure(999, 10.0, CONFIG)
    assert not outflow.is_silent(19.9, 10)


def test_peer_slower_than_the_minimum_rate_is_too_slow_once_its_patience_is_over() -> None:
    outflow = Outflow(10_000, now=0.0)
    unsent = 10_000
    seconds = 0
    while not outflow.is_too_slow(seconds, CONFIG):
        assert seconds <= 20
        seconds += 1
        unsent -= 50  # half of the minimum rate, so each second costs half a second of credit
        outflow.measure(unsent, seconds, CONFIG)
    assert seconds == 20


def test_peer_at_the_minimum_rate_is_never_too_slow() -> None:
    outflow = Outflow(100_000, now=0.0)
    for second in range(1, 1000):
        outflow.measure(100_000 - 100 * second, second, CONFIG)
        assert not outflow.is_too_slow(second, CONFIG)


def test_credit_of_a_fast_peer_is_bounded() -> None:
    outflow = Outflow(10_000_000, now=0.0)
    outflow.measure(1000, 1.0, CONFIG)  # as if it had read a day's worth
    slow_from = MAX_CREDIT_S + CONFIG.write_timeout_s
    unsent, second = 1000, 1
    while not outflow.is_too_slow(second, CONFIG):
        second += 1
        unsent -= 1
        outflow.measure(unsent, second, CONFIG)
    assert slow_from <= second <= slow_from + 2  # 1 byte a second earns a hundredth of a second


def test_time_that_is_excused_does_not_count() -> None:
    outflow = Outflow(1000, now=0.0)
    outflow.excuse(100.0)
    assert outflow.measure(1000, 105.0, CONFIG) == 0
    assert not outflow.is_too_slow(105.0, CONFIG)
    assert outflow.is_too_slow(110.0, CONFIG)


@pytest.mark.parametrize("rate", [0, 100])
def test_minimum_rate_of_0_asks_for_some_bytes_in_time_alone(rate: int) -> None:
    config = ServerConfig(write_timeout_s=10, min_write_rate=rate)
    outflow = Outflow(1000, now=0.0)
    for second in range(1, 100):
        outflow.measure(1000 - second, second, config)
    assert outflow.is_too_slow(99, config) is (rate > 0)
    outflow.measure(901, 109.0, config)
    assert outflow.is_too_slow(109.0, config)
