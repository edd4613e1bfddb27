from __future__ import annotations

import logging
import os
import signal
import threading

import pytest

from microweb import ConfigurationError
from microweb.server.board import Board
from microweb.server.metrics_registry import Registry
from microweb.server.metrics_series import COUNTER, GAUGE, Definition
from microweb.server.metrics_text import PROMETHEUS, FamilyOfAll, combine, write_text

ORDERS = Definition("orders", COUNTER, ("country",))


def text_of(registry: Registry) -> str:
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, *registry.read()):
        pass
    return "".join(write_text(families, PROMETHEUS))


def test_metric_may_be_defined_again_with_the_same_definition() -> None:
    registry = Registry()
    family = registry.family(ORDERS, "Orders", 10)
    assert registry.family(ORDERS, "Orders", 10) is family
    with pytest.raises(ConfigurationError, match=r"name is taken by .*choose another"):
        registry.family(ORDERS._replace(kind=GAUGE), "Orders", 10)


def test_series_of_the_same_values_is_one() -> None:
    family = Registry().family(ORDERS, "Orders", 10)
    assert family.series(("de",)) == family.series(("de",))
    assert family.series(("de",)) != family.series(("fr",))


def test_further_series_count_in_one_and_the_log_says_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = Registry()
    family = registry.family(ORDERS, "Orders", 3)
    with caplog.at_level(logging.WARNING):
        for number in range(10_000):
            family.cells.words[family.series((f"country {number}",)) + 1] += 1.0
    lines = [line for line in text_of(registry).splitlines() if not line.startswith("#")]
    assert lines == [
        'orders_total{country="country 0"} 1.0',
        'orders_total{country="country 1"} 1.0',
        'orders_total{country="country 2"} 1.0',
        'orders_total{otel_metric_overflow="true"} 9997.0',
    ]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["metrics"]


def test_series_without_room_in_memory_count_in_one(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    family = registry.family(ORDERS, "Orders", 1_000_000)
    for number in range(20_000):
        family.cells.words[family.series((f"country {number}",)) + 1] += 1.0
    lines = [line for line in text_of(registry).splitlines() if not line.startswith("#")]
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 20_000.0
    assert 1000 < len(lines) < 10_000
    assert len(caplog.records) == 1
    with pytest.raises(ConfigurationError, match="no room for more metrics"):
        for number in range(10_000):
            registry.family(Definition(f"metric_{number}", COUNTER), "More", 10)


def test_value_of_a_label_is_cut_and_has_no_controls() -> None:
    registry = Registry()
    family = registry.family(ORDERS, "Orders", 10)
    long = family.series(("x" * 500,))
    assert family.series(("x" * 600,)) == long
    family.series(("a\0b\r\x1b[1mc\ud800",))
    text = text_of(registry)
    assert f'country="{"x" * 127}…"' in text
    assert 'country="a\ufffdb\ufffd\ufffd[1mc?"' in text
    assert "\0" not in text


def test_series_may_be_made_by_many_threads() -> None:
    family = Registry().family(ORDERS, "Orders", 1000)
    found: list[list[int]] = []

    def make() -> None:
        found.append([family.series((str(number),)) for number in range(500)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [found[0]] * 8
    assert len({*found[0]}) == 500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_counts_for_itself() -> None:
    registry = Registry()
    family = registry.family(ORDERS, "Orders", 10)
    at = family.series(("de",))
    family.cells.words[at + 1] = 5.0
    registry.cells.lock.acquire()  # as another thread may hold it at a fork
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        registry.leave_parent()
        with family.cells.lock:
            family.cells.words[family.series(("de",)) + 1] += 100.0
        os._exit(int(family.cells.words[family.series(("de",)) + 1]))
    _, status = os.waitpid(child, 0)
    registry.cells.lock.release()
    assert os.waitstatus_to_exitcode(status) == 105
    assert family.cells.words[at + 1] == 5.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_counts_for_itself_when_the_slot_is_full() -> None:
    board = Board.create(1)
    registry = Registry()
    family = registry.family(ORDERS, "Orders", 1_000_000)
    at = family.series(("de",))
    registry.move_to(board.slots[0], board)
    for number in range(20_000):
        family.series((f"country {number}",))
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        registry.leave_parent()
        family.cells.words[at + 1] += 100.0
        os._exit(int(family.cells.words[family.series(("de",)) + 1]))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 100
    assert family.cells.words[at + 1] == 0.0
    registry.move_back()
    board.close()
