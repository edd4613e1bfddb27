"""The totals of workers that have ended: what a reader sees at each moment of a fold."""

from __future__ import annotations

import os
import threading

import pytest

from microweb.server import board as boards
from microweb.server import metrics_totals
from microweb.server.board import Board, Slot
from microweb.server.metrics_registry import Registry
from microweb.server.metrics_series import FAMILY, SERIES, Definition, SeriesMemory
from microweb.server.metrics_text import PROMETHEUS, FamilyOfAll, combine, write_text
from microweb.server.metrics_totals import add_to_totals, read_board

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor")

ORDERS = Definition("orders", "counter", ("country",))
SECONDS = Definition("seconds", "histogram", (), (0.1, 1.0))
JOBS = Definition("jobs", "gauge")


class WorkerMetrics:
    """The metrics of a worker in a slot."""

    def __init__(self, board: Board, slot: Slot) -> None:
        self._registry = Registry()
        self._registry.move_to(slot, board)
        self.board, self.slot = board, slot

    def count(self, country: str, amount: float = 1.0) -> None:
        family = self._registry.family(ORDERS, "Orders", 1000)
        family.cells.words[family.series((country,)) + 1] += amount

    def observe(self, bucket: int, seconds: float) -> None:
        family = self._registry.family(SECONDS, "Seconds", 10)
        at = family.series(())
        family.cells.words[at + 2 + bucket] += 1.0
        family.cells.words[at + 1] += seconds

    def set_jobs(self, value: float) -> None:
        family = self._registry.family(JOBS, "Jobs", 10)
        at = family.series(())
        family.cells.words[at], family.cells.words[at + 1] = 1.0, value

    def end(self) -> None:
        """End, as a process does: its memory stays as it is."""
        self._registry.move_back()


def retire(board: Board, slot: Slot) -> None:
    """Do as the supervisor does when a worker has ended."""
    if slot.has_metrics:
        add_to_totals(board, slot)
    slot.clear()


def values(board: Board) -> dict[str, dict[bytes, list[float]]]:
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, *read_board(board)):
        pass
    return {
        name: {text: numbers[1:] for (_, text), numbers in family.series.items()}
        for name, family in families.items()
        if not name.startswith("microweb_")  # those of the board
    }


def test_two_workers_with_the_same_series_are_summed(board: Board) -> None:
    first, second = (WorkerMetrics(board, board.slots[number]) for number in (0, 2))
    first.count("de", 2.0)
    second.count("fr")
    second.count("de", 5.0)
    assert values(board) == {"orders": {b"de": [7.0], b"fr": [1.0]}}
    first.end()
    second.end()


def test_totals_keep_the_counters_of_a_worker_that_has_ended(board: Board) -> None:
    first, second = (WorkerMetrics(board, board.slots[number]) for number in (0, 1))
    for worker in (first, second):
        worker.count("de", 2.0)
        worker.observe(1, 0.5)
        worker.set_jobs(3.0)
    assert values(board)["jobs"] == {b"": [6.0]}
    first.end()
    retire(board, first.slot)
    assert values(board) == {
        "orders": {b"de": [4.0]},
        "seconds": {b"": [1.0, 0.0, 2.0, 0.0]},
        "jobs": {b"": [3.0]},  # a gauge is the state of a process that lives
    }
    again = WorkerMetrics(board, first.slot)
    assert values(board)["orders"] == {b"de": [4.0]}
    again.count("de")
    assert values(board)["orders"] == {b"de": [5.0]}
    for worker in (again, second):
        worker.end()
        retire(board, worker.slot)
    assert values(board)["orders"] == {b"de": [5.0]}


def test_metrics_without_a_living_worker_are_the_totals(board: Board) -> None:
    for number in range(1, 20):
        worker = WorkerMetrics(board, board.slots[number % 4])
        worker.count("de")
        worker.end()
        retire(board, worker.slot)
        assert values(board)["orders"] == {b"de": [number]}


def test_worker_without_metrics_leaves_the_totals(board: Board) -> None:
    retire(board, board.slots[0])
    assert board.turn == 0
    assert values(board) == {}


def test_supervisor_that_is_killed_within_a_fold_leaves_the_totals_before(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = WorkerMetrics(board, board.slots[0])
    worker.count("de", 3.0)
    retire(board, board.slots[0])
    worker.end()
    worker = WorkerMetrics(board, board.slots[1])
    worker.count("de", 4.0)
    worker.end()
    add_all = metrics_totals._add_all

    def killed(*arguments: object) -> None:
        add_all(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics_totals, "_add_all", killed)
    with pytest.raises(KeyboardInterrupt):
        retire(board, board.slots[1])
    assert values(board)["orders"] == {b"de": [7.0]}
    monkeypatch.undo()
    retire(board, board.slots[1])
    assert values(board)["orders"] == {b"de": [7.0]}


def test_reader_beside_folds_never_sees_a_counter_fall_or_twice(board: Board) -> None:
    counted, is_over, seen = [0], threading.Event(), list[float]()
    wrong = list[tuple[float, float]]()

    def read() -> None:
        while not is_over.is_set():
            now = values(board).get("orders", {}).get(b"de", [0.0])[0]
            if (seen and now < seen[-1]) or now > counted[0]:
                wrong.append((now, counted[0]))
            seen.append(now)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(400):
        worker = WorkerMetrics(board, board.slots[number % 4])
        for _ in range(3):
            counted[0] += 1
            worker.count("de")
        worker.end()
        retire(board, worker.slot)
    is_over.set()
    reader.join()
    assert wrong == []
    assert len(seen) > 1
    assert values(board)["orders"] == {b"de": [1200.0]}


def test_series_without_room_in_the_totals_count_in_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(boards, "_AREA_BYTES", 4096)
    monkeypatch.setattr(metrics_totals, "_has_warned", False)
    board = Board.create(2)
    for start in (0, 50, 100):
        worker = WorkerMetrics(board, board.slots[0])
        for number in range(start, start + 50):
            worker.count(f"country {number}")
        worker.end()
        retire(board, board.slots[0])
    found = values(board)["orders"]
    assert sum(value for (value,) in found.values()) == 150.0
    assert 1 < len(found) < 100
    worker = WorkerMetrics(board, board.slots[0])
    worker.observe(1, 0.5)  # of a metric that the totals do not have yet
    worker.end()
    retire(board, board.slots[0])
    assert values(board)["seconds"] == {b"": [0.5, 0.0, 1.0, 0.0]}
    assert capsys.readouterr().err.count("no room for more series") == 1
    board.close()


def test_board_of_512_workers_takes_little_memory() -> None:
    board = Board.create(4 * 512 + 16)
    worker = WorkerMetrics(board, board.slots[-1])
    worker.count("de")
    assert values(board)["orders"] == {b"de": [1.0]}
    worker.end()
    retire(board, board.slots[-1])
    assert values(board)["orders"] == {b"de": [1.0]}
    used = os.fstat(board.descriptor).st_blocks * 512
    assert used < 16 * 1024 * 1024
    board.close()


DAMAGED = [
    b"\xff\xfe",
    b"[" * 9000,
    b"[1, 2]",
    b'[1, "counter", [], [], "sum"]',
    b'["x", "x", [], [], "sum"]',
    b'["x", "counter", 1, [], "sum"]',
    b'["x", "histogram", [], ["x"], "sum"]',
    b'["x", "gauge", [], [], "x"]',
    Definition("x", "counter").encode() + b"\0\xff",
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_metrics_of_a_worker_end_no_reader(board: Board, text: bytes) -> None:
    worker = WorkerMetrics(board, board.slots[0])
    memory = SeriesMemory(board.slots[0].metrics_memory())
    family = memory.add(FAMILY, 0, text, [1.0])
    empty = memory.add(FAMILY, 0, Definition("empty", "counter").encode() + b"\0", [])
    good = memory.add(FAMILY, 0, Definition("good", "counter", ("a",)).encode() + b"\0", [1.0])
    assert family is not None and empty is not None and good is not None
    for start in (family.start, empty.start, good.start):
        for numbers in ([], [1.0], [1.0] * 9, [1.0, 4.0]):
            memory.add(SERIES, start, b"\xff", numbers)
    memory.release()
    for _ in range(2):  # in the slot, then in the totals
        assert values(board)["good"] == {b"\xff": [4.0]}
        families: dict[str, FamilyOfAll] = {}
        for _ in combine(families, *read_board(board)):
            pass
        assert 'good_total{a="\ufffd"} 4.0' in "".join(write_text(families, PROMETHEUS))
        worker.end()
        retire(board, board.slots[0])
