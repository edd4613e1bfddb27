"""The control socket: a Unix socket on which a running service answers its operator.

The option `control` is its path. Only the user of the service, and root, may connect: the file has
the mode 0600. A request is one line, an object of JSON with the member `command`. The answer is one
line too: an object with `status`, the exit status of the command, and `text` or further members.
The client of `reload` and of `drain` with `wait` gets it when the outcome is known.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from ..errors import ConfigurationError
from .console import say
from .pool import WorkerPool
from .questions import Asking
from .replacements import Replacements
from .shutdown import Shutdown
from .side_sockets import MAX_REQUEST, MAX_UNSENT, SideClient, SideSocket
from .spawned import Spawned
from .survey import DEFAULT_LIMIT, MAX_LIMIT, StackSurvey, Survey
from .unix_sockets import SocketFile, bind_unix

MAX_ANSWER = MAX_UNSENT
MAX_WAITING = 4  # clients that wait for an outcome: the others of the side socket stay free

_MODE = 0o600
_END = b"\n"

Question = dict[str, object]


def open_control(path: str, stack: ExitStack) -> socket.socket:
    """Return the bound socket; the end of `stack` closes it and removes its file.

    Raises: ConfigurationError if another process has it, or the system refuses.
    """
    try:
        bound = stack.enter_context(bind_unix(path, _MODE))
    except ConfigurationError as error:
        raise ConfigurationError(f"control: {error}") from error
    stack.callback(SocketFile.of(bound).remove)
    return bound


class Control:
    """The commands of the control socket, which the supervisor polls."""

    def __init__(
        self,
        bound: socket.socket,
        pool: WorkerPool,
        replacements: Replacements,
        shutdown: Shutdown,
    ) -> None:
        self._pool = pool
        self._replacements = replacements
        self._shutdown = shutdown
        self._side = SideSocket([bound], _END, self._on_request)
        self._reloading: list[SideClient] = []  # that wait for the outcome of a reload
        self._draining: list[SideClient] = []  # that wait for the end of the service
        self._surveys: dict[int, tuple[SideClient, Survey]] = {}  # by the number of the question
        self._numbers = itertools.count()
        self._stack_surveys: list[tuple[SideClient, StackSurvey]] = []
        self._commands: dict[str, Callable[[SideClient, Question], None]] = {
            "ps": self._ps,
            "drain": self._drain,
            "reload": self._reload,
            "stacks": self._stacks,
        }

    # --- for the supervisor

    def register(self, poll: select.poll) -> None:
        """Register the descriptors that are to be polled in this turn."""
        self._side.register(poll)
        for _, asking in self._asked():
            poll.register(asking, select.POLLIN)

    def deadline(self) -> float:
        """Return when to call `go_on`, even if no descriptor is ready."""
        times = [survey.deadline() for _, survey in self._surveys.values()]
        times += [survey.deadline() for _, survey in self._stack_surveys]
        return min(self._side.deadline(), *times, float("inf"))

    def go_on(self, ready: Mapping[int, int], now: float) -> None:
        """Answer the requests that are complete."""
        for worker, asking in self._asked():
            if asking.fileno() in ready:
                for number, frame in asking.receive():
                    if number in self._surveys:
                        self._surveys[number][1].take(worker, frame, now)
        self._side.go_on(ready, now)
        self._end_surveys(now)
        self._end_stack_surveys(now)
        if self._shutdown.is_begun:
            self._end_reloads(1, "the service stops, and has not reloaded")
        self._draining = [each for each in self._draining if not each.is_over]
        self._reloading = [each for each in self._reloading if not each.is_over]

    def close(self) -> None:
        """Tell the clients that wait how the service has ended, and close."""
        status = self._shutdown.status
        how = "immediately, by a second signal" if status is None else f"with status {status}"
        self._end_reloads(1, "the service has ended, and has not reloaded")
        for client in self._draining:
            _answer(client, 1 if status is None else min(status, 1), f"the service ended {how}")
        self._side.close()

    # --- the commands

    def _on_request(self, client: SideClient, request: bytes) -> None:
        try:
            question = _parse(request)
        except ValueError as error:
            _answer(client, 2, str(error))
            return
        command = self._commands.get(str(question.get("command")))
        if command is None:
            known = ", ".join(self._commands)
            _answer(
                client, 2, f"expected a command of {known}, got {question.get('command')!r:.80}"
            )
        elif _waits(question) and self._is_full():
            _answer(client, 1, f"{MAX_WAITING} clients wait for a reload or a drain already")
        else:
            command(client, question)

    def _ps(self, client: SideClient, question: Question) -> None:
        limit = question.get("limit", DEFAULT_LIMIT)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            _answer(client, 2, f"limit: expected an int from 1 to {MAX_LIMIT}, got {limit!r:.80}")
            return
        number = next(self._numbers)
        survey = Survey(number, limit, self._pool.workers(), time.monotonic())
        self._surveys[number] = client, survey

    def _end_surveys(self, now: float) -> None:
        for number, (client, survey) in tuple(self._surveys.items()):
            if client.is_over:
                del self._surveys[number]
            elif survey.is_over(now):
                del self._surveys[number]
                _send(client, {"status": 0, **survey.report(now)})

    def _stacks(self, client: SideClient, question: Question) -> None:
        survey = StackSurvey(self._pool.workers(), time.monotonic())
        self._stack_surveys.append((client, survey))

    def _end_stack_surveys(self, now: float) -> None:
        surveys, self._stack_surveys = self._stack_surveys, []
        for client, survey in surveys:
            if not client.is_over and not survey.is_over(now):
                self._stack_surveys.append((client, survey))
                continue
            survey.close()
            _send(client, {"status": 0, **survey.report()})

    def _asked(self) -> Iterator[tuple[Spawned, Asking]]:
        """Yield the workers that can be asked, with the end of their socket pair."""
        for worker in self._pool.workers():
            if worker.questions is not None and not worker.questions.is_over:
                yield worker, worker.questions

    def _drain(self, client: SideClient, question: Question) -> None:
        if self._shutdown.is_begun:
            text = "the service is stopping already"
        else:
            say(f"stopping: asked on the control socket by {client.user}", sys.stderr)
            self._shutdown.drain(time.monotonic())
            text = "the service is stopping"
        if question.get("wait"):
            self._draining.append(client)
        else:
            _answer(client, 0, text)

    def _reload(self, client: SideClient, question: Question) -> None:
        if self._shutdown.is_begun:
            _answer(client, 1, "the service stops: it does not reload")
            return
        say(f"reload: asked on the control socket by {client.user}", sys.stderr)
        self._reloading.append(client)

        def on_outcome(is_complete: bool, text: str) -> None:
            if client in self._reloading:
                self._reloading.remove(client)
                _answer(client, 0 if is_complete else 1, text)

        self._replacements.request_reload(on_outcome)

    def _is_full(self) -> bool:
        waiting = [each for each in (*self._reloading, *self._draining) if not each.is_over]
        return len(waiting) >= MAX_WAITING

    def _end_reloads(self, status: int, text: str) -> None:
        reloading, self._reloading = self._reloading, []
        for client in reloading:
            _answer(client, status, text)


def _parse(request: bytes) -> Question:
    """Return a request as an object of JSON. Raises: ValueError."""
    if not request.endswith(_END):
        raise ValueError(f"expected a line of at most {MAX_REQUEST} bytes")
    try:
        question = json.loads(request)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected a line of JSON: {error!s:.80}") from error
    if not isinstance(question, dict):
        raise ValueError(f"expected an object of JSON, got {question!r:.80}")
    return question


def _waits(question: Question) -> bool:
    return question["command"] == "reload" or bool(question.get("wait"))


def _answer(client: SideClient, status: int, text: str) -> None:
    _send(client, {"status": status, "text": text})


def _send(client: SideClient, answer: dict[str, object]) -> None:
    data = json.dumps(answer).encode() + _END
    if len(data) > MAX_ANSWER:
        text = f"the answer has over {MAX_ANSWER} bytes: ask with a lower limit"
        data = json.dumps({"status": 1, "text": text}).encode() + _END
    client.finish(data)
