"""Ask all workers one question, and note which do not answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from .board import WorkerState
from .questions import Frame, Question
from .spawned import Spawned

LATE_S = 1.0  # without a frame of the answer: the worker is shown as stuck
LIMIT_S = 5.0  # for the whole answer
MAX_LIMIT = 10_000  # connections of one answer
DEFAULT_LIMIT = 1000

READY = "ready"
STARTING = "starting"
DRAINING = "draining"
STUCK = "stuck"  # no answer: its event loop stands still
UNKNOWN = "unknown"  # its answer can't be understood
ENDED = "ended"  # between the question and the answer
INCOMPLETE = "incomplete"  # the answer took too long

_MAX_MEMBERS = 32  # of a row, or of the counts
_MAX_ROW = 4096  # characters of the values of a row: a worker sends five texts of 200

STACKS_S = 2.0  # for a worker to write its stacks, also if its event loop stands still
MAX_STACKS = 4 * 1024 * 1024  # characters of all workers

Report = dict[str, object]


class _Part:
    """The answer of one worker, as it arrives."""

    def __init__(self, worker: Spawned, share: int, now: float) -> None:
        self.worker = worker
        self._share = share
        self.asked_at = now
        self.late_at = now + LATE_S
        self.is_heard = False
        self.is_over = False
        self.trouble = ""
        self.rows: list[Report] = []
        self.counts: Report = {}
        self.more = 0

    def take(self, frame: Frame, now: float) -> None:
        """Add a frame. One of another form ends the part."""
        self.is_heard = True
        self.late_at = min(now + LATE_S, self.asked_at + LIMIT_S)
        rows, counts, more = frame.get("rows", []), frame.get("counts", {}), frame.get("more", 0)
        if not isinstance(rows, list) or not isinstance(counts, dict) or not isinstance(more, int):
            self.end(UNKNOWN)
            return
        rows = rows[: self._share - len(self.rows)]
        if not all(map(_is_flat, (*rows, counts))):
            self.end(UNKNOWN)
            return
        self.rows += rows
        if "counts" in frame:
            self.counts, self.more = counts, more
            self.is_over = True

    def check(self, now: float) -> None:
        """End the part of a worker that has ended, or is late."""
        if self.is_over:
            return
        questions = self.worker.questions
        if questions is None or questions.is_over:
            self.end(UNKNOWN if questions is not None and questions.is_garbled else ENDED)
        elif now >= self.late_at:
            self.end(INCOMPLETE if self.is_heard else STUCK)

    def end(self, trouble: str) -> None:
        """End the part without its last frame."""
        self.trouble, self.is_over = trouble, True


class Survey:
    """A question to all workers, and their answers."""

    def __init__(self, number: int, limit: int, workers: Sequence[Spawned], now: float) -> None:
        share = -(-limit // max(len(workers), 1))  # each worker describes its busiest connections
        question = Question(number, share, now + LIMIT_S)
        self._begun = now
        self._parts = {worker.pid: _Part(worker, share, now) for worker in workers}
        for part in self._parts.values():
            if not part.worker.is_ready:
                part.end(STARTING)
            elif part.worker.questions is not None:
                part.worker.questions.ask(question)

    def take(self, worker: Spawned, frame: Frame, now: float) -> None:
        """Add a frame of the answer of a worker."""
        part = self._parts.get(worker.pid)
        if part is not None and not part.is_over:
            part.take(frame, now)

    def is_over(self, now: float) -> bool:
        """Return whether all workers have answered, or will not."""
        for part in self._parts.values():
            part.check(now)
        return all(part.is_over for part in self._parts.values())

    def deadline(self) -> float:
        """Return when to call `is_over` again."""
        late = [part.late_at for part in self._parts.values() if not part.is_over]
        return min(late, default=self._begun)

    def report(self, now: float) -> Report:
        """Return what is known: the workers, and their connections."""
        parts = self._parts.values()
        return {
            "workers": [_of_worker(part, now) for part in parts],
            "connections": [
                {"worker": part.worker.pid, **row} for part in parts for row in part.rows
            ],
            "more": sum(part.more for part in parts),
        }


def _is_flat(value: object) -> bool:
    """Whether a value is an object of a few members without further values in them."""
    if not isinstance(value, dict) or len(value) > _MAX_MEMBERS:
        return False
    members = value.values()
    is_plain = all(each is None or isinstance(each, str | int | float) for each in members)
    return is_plain and sum(len(str(each)) for each in (*value, *members)) <= _MAX_ROW


def _of_worker(part: _Part, now: float) -> Report:
    worker, slot = part.worker, part.worker.slot
    questions = worker.questions
    is_over = questions is None or questions.is_over  # perhaps after its answer
    if part.trouble == ENDED or (
        is_over and part.trouble != UNKNOWN
    ):  # another worker may have its slot
        return {"pid": worker.pid, "state": ENDED}
    is_draining = slot.state == WorkerState.DRAINING
    return {
        "pid": worker.pid,
        "state": part.trouble or (DRAINING if is_draining else READY),
        "up_s": round(now - worker.started_at, 1),
        "heartbeat_s": round(max(now - worker.heartbeat(), 0.0), 1),
        "requests": slot.requests,
        "memory": slot.rss,
        "connections": slot.connections,
        "states": part.counts,
    }


class StackSurvey:
    """The stacks of the threads of all workers."""

    def __init__(self, workers: Sequence[Spawned], now: float) -> None:
        self._ends_at = now + STACKS_S
        self._share = MAX_STACKS // max(len(workers), 1)
        self._texts: dict[int, str | None] = {}
        self._asked: list[tuple[Spawned, Callable[[str], None]]] = []
        for worker in workers:
            self._texts[worker.pid] = None
            if worker.stacks is not None:
                take = partial(self._take, worker.pid)
                self._asked.append((worker, take))
                worker.stacks.takers.append(take)
                worker.write_stacks()

    def _take(self, pid: int, text: str) -> None:
        self._texts[pid] = text[: self._share]

    def is_over(self, now: float) -> bool:
        """Return whether all workers have written their stacks, or are late."""
        return now >= self._ends_at or all(text is not None for text in self._texts.values())

    def deadline(self) -> float:
        """Return when to call `is_over` again."""
        return self._ends_at

    def close(self) -> None:
        """Leave stacks that come from now on to the log."""
        for worker, take in self._asked:
            if worker.stacks is not None and take in worker.stacks.takers:
                worker.stacks.takers.remove(take)

    def report(self) -> Report:
        """Return the stacks of each worker, None of one that is late."""
        return {"workers": [{"pid": pid, "stacks": text} for pid, text in self._texts.items()]}
