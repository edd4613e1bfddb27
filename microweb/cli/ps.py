"""`microweb ps`: the workers and the connections of a running service."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

from ..server.survey import DEFAULT_LIMIT, MAX_LIMIT, STUCK
from .command import Command, fail_usage, write_out
from .controlling import Answer, add_control, ask, objects, shown

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_control(parser)
    parser.add_argument("--json", action="store_true", help="print one object of JSON")
    parser.add_argument(
        "--limit",
        type=_limit_of,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"connections to show, up to {MAX_LIMIT} (default: {DEFAULT_LIMIT})",
    )


def _limit_of(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text)
    fail_usage(f"--limit: expected an int from 1 to {MAX_LIMIT}, got {text!r:.80}")


def _run(given: argparse.Namespace) -> None:
    answer = ask(given, {"command": "ps", "limit": given.limit})
    report = {name: answer.get(name) for name in ("workers", "connections", "more")}
    text = json.dumps(report) if given.json else "\n".join(_lines(report))
    write_out(f"{text}\n")


COMMAND = Command(
    "ps", "Show the workers and the connections of a running service.", _add_arguments, _run
)


def _lines(report: Answer) -> list[str]:
    """Return the report as two tables."""
    workers = objects(report["workers"])
    lines = _table(
        ("WORKER", "STATE", "UP", "REQUESTS", "MEMORY", "CONNECTIONS"), map(_of_worker, workers)
    )
    if any(worker.get("state") == STUCK for worker in workers):
        lines.append("A stuck worker gives no answer: `microweb stacks` shows where it stands.")
    connections = objects(report["connections"])
    if connections:
        lines.append("")
        lines += _table(
            ("WORKER", "STATE", "AGE", "IN", "OUT", "PEER", "REQUEST"),
            map(_of_connection, connections),
        )
    if report["more"]:
        lines.append(f"and {shown(report['more'])} more")
    return lines


def _of_worker(worker: Answer) -> tuple[str, ...]:
    states = worker.get("states")
    parts = [f"{shown(count)} {shown(state)}" for state, count in _items(states)]
    state, connections = shown(worker.get("state")), shown(worker.get("connections", ""))
    if state == STUCK:
        state += f" for {_duration(worker.get('heartbeat_s'))}"
    return (
        shown(worker.get("pid")),
        state,
        _duration(worker.get("up_s")),
        shown(worker.get("requests", "")),
        _size(worker.get("memory")),
        f"{connections}{': ' if parts else ''}{', '.join(parts)}",
    )


def _of_connection(row: Answer) -> tuple[str, ...]:
    client = row.get("client")
    peer = shown(row.get("peer")) + (f" for {shown(client)}" if client else "")
    target = row.get("route") or row.get("path")
    request = f"{shown(row.get('method'))} {shown(target)}" if target else ""
    return (
        shown(row.get("worker")),
        shown(row.get("state")),
        _duration(row.get("age_s")),
        _size(row.get("received")),
        _size(row.get("sent")),
        peer,
        request,
    )


def _items(value: object) -> list[tuple[object, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _duration(seconds: object) -> str:
    """Return a duration for people: `0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: object) -> str:
    """Return a number of bytes for people: `512 B`, `1.5 KiB`."""
    if not isinstance(size, int | float):
        return ""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.0f} B" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"
