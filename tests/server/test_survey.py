"""A survey of workers: in time, late, ended, and not ready; over its limit."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from microweb.server.config import ServerConfig
from microweb.server.pool import WorkerPool
from microweb.server.questions import Asking
from microweb.server.spawned import Spawned
from microweb.server.survey import LATE_S, LIMIT_S, Survey

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")

NOW = 1000.0


@pytest.fixture
def workers() -> Iterator[list[Spawned]]:
    """Two workers that sleep, and count as ready: the test answers for them."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    pool = WorkerPool(ServerConfig(control="x"), command, [], 2)
    for place in pool.places:
        pool.start(place).is_ready = True
    yield pool.workers()
    pool.close()


def states(survey: Survey, now: float) -> list[object]:
    found: Any = survey.report(now)["workers"]
    return [worker["state"] for worker in found]


def test_survey_is_over_when_all_have_answered(workers: list[Spawned]) -> None:
    survey = Survey(1, 10, workers, NOW)
    for worker in workers:
        assert not survey.is_over(NOW)
        survey.take(worker, {}, NOW)
        survey.take(worker, {"rows": [{"state": "idle"}]}, NOW)
        survey.take(worker, {"counts": {"idle": 4}, "more": 3}, NOW)
    assert survey.is_over(NOW)
    report = survey.report(NOW)
    assert report["more"] == 6
    assert report["connections"] == [{"worker": each.pid, "state": "idle"} for each in workers]
    assert states(survey, NOW) == ["ready", "ready"]


def test_worker_without_a_sign_of_life_is_stuck(workers: list[Spawned]) -> None:
    survey = Survey(1, 10, workers, NOW)
    survey.take(workers[0], {"counts": {}, "more": 0}, NOW)
    assert survey.deadline() == NOW + LATE_S
    assert not survey.is_over(NOW + LATE_S - 0.01)
    assert survey.is_over(NOW + LATE_S)
    assert states(survey, NOW + LATE_S) == ["ready", "stuck"]
    survey.take(workers[1], {"counts": {"idle": 1}, "more": 0}, NOW + LATE_S)  # too late
    assert states(survey, NOW + LATE_S) == ["ready", "stuck"]


def test_answer_that_goes_on_for_ever_is_incomplete(workers: list[Spawned]) -> None:
    survey = Survey(1, 10, workers[:1], NOW)
    now = NOW
    while not survey.is_over(now):
        assert now < NOW + LIMIT_S
        survey.take(workers[0], {"rows": [{"state": "idle"}] * 3}, now)
        now += LATE_S / 2
    assert states(survey, now) == ["incomplete"]
    rows: Any = survey.report(now)["connections"]
    assert len(rows) == 10  # not more than it was asked for


def test_worker_that_ends_before_its_answer(workers: list[Spawned]) -> None:
    survey = Survey(1, 10, workers, NOW)
    survey.take(workers[0], {"counts": {}, "more": 0}, NOW)
    assert workers[1].questions is not None
    workers[1].kill()
    workers[1].questions.close()
    assert survey.is_over(NOW)
    assert states(survey, NOW) == ["ready", "ended"]


def test_worker_that_starts_is_not_awaited(workers: list[Spawned]) -> None:
    workers[0].is_ready = False
    survey = Survey(1, 10, workers[:1], NOW)
    assert survey.is_over(NOW) and states(survey, NOW) == ["starting"]


def test_limit_is_shared_by_the_workers(workers: list[Spawned]) -> None:
    asked: list[int] = []
    for worker in workers:
        assert isinstance(worker.questions, Asking)
        worker.questions.ask = lambda question: asked.append(question.limit)  # type: ignore[method-assign]
    Survey(1, 5, workers, NOW)
    assert asked == [3, 3]


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "frame",
    [
        {"rows": "x"},
        {"rows": [1]},
        {"rows": [{"state": nested(2)}]},
        {"rows": [{"state": nested(100_000)}]},
        {"rows": [{"state": {}}]},
        {"rows": [{"path": "x" * 5000}]},
        {"rows": [{"x" * 5000: 1}]},
        {"rows": [{str(number): 1 for number in range(100)}]},
        {"counts": [1]},
        {"counts": {"idle": nested(100_000)}},
        {"counts": {}, "more": "x"},
    ],
    ids=range(11),
)
def test_frame_that_can_not_be_understood(workers: list[Spawned], frame: dict[str, Any]) -> None:
    survey = Survey(1, 10, workers, NOW)
    survey.take(workers[0], {"rows": [{"state": "idle"}]}, NOW)
    survey.take(workers[0], frame, NOW)
    survey.take(workers[0], {"rows": [{"state": "head"}], "counts": {"idle": 4}}, NOW)  # too late
    survey.take(workers[1], {"counts": {"idle": 1}, "more": 0}, NOW)
    assert survey.is_over(NOW)
    assert states(survey, NOW) == ["unknown", "ready"]
    report = survey.report(NOW)
    assert report["connections"] == [{"worker": workers[0].pid, "state": "idle"}]
    json.dumps(report)


def test_worker_that_sends_no_json_is_unknown_from_then_on(workers: list[Spawned]) -> None:
    questions = workers[0].questions
    assert questions is not None
    ours, theirs = socket.socketpair()
    questions.close()
    workers[0].questions = Asking(ours)
    with theirs:
        theirs.sendall(b"\xff\n")
        assert workers[0].questions.receive() == []
        for number in (1, 2):
            survey = Survey(number, 10, workers[:1], NOW)
            assert survey.is_over(NOW) and states(survey, NOW) == ["unknown"]
