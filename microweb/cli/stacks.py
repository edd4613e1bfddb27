"""`microweb stacks`: where the threads of a running service stand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..server.survey import STACKS_S
from .command import Command, write_out
from .controlling import Answer, add_control, ask, objects, shown


def _run(given: argparse.Namespace) -> None:
    answer = ask(given, {"command": "stacks"})
    write_out("".join(f"{line}\n" for line in _lines(answer)))


def _lines(answer: Answer) -> Iterator[str]:
    for worker in objects(answer.get("workers")):
        text = worker.get("stacks")
        if isinstance(text, str):
            yield f"worker {shown(worker.get('pid'))}:"
            yield from map(shown, text.splitlines())
        else:
            yield f"worker {shown(worker.get('pid'))}: nothing within {STACKS_S:g} s"


COMMAND = Command(
    "stacks", "Show the stacks of all threads of a running service.", add_control, _run
)
