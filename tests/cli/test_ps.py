"""`microweb ps`: two tables, or one object of JSON; nothing of a client reaches the terminal."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from support.controlling import OneAnswer, ask, command, command_on_a_full_disk, controlled
from support.processes import DEADLINE_S, get
from support.supervising import kill_group, until

from microweb import cli

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")


def printed(
    report: dict[str, object], path: Path, capfd: pytest.CaptureFixture[str], *options: str
) -> str:
    """Return what the command prints if the service answers with `report`."""
    with OneAnswer(path, json.dumps({"status": 0, **report}).encode()):
        cli.main(["ps", "--control", str(path), *options])
    return capfd.readouterr().out


WORKER = {"pid": 71, "state": "ready", "up_s": 7300.0, "heartbeat_s": 0.4, "requests": 12345,
          "memory": 48_000_000, "connections": 3, "states": {"handler": 1, "idle": 2}}  # fmt: skip
ROW = {"worker": 71, "state": "handler", "age_s": 3.24, "peer": "127.0.0.1:5012",
       "received": 75, "sent": 1536, "client": None, "method": "GET",
       "path": "/users/7", "route": "/users/{id}"}  # fmt: skip
IDLE = {"worker": 71, "state": "idle", "age_s": None, "peer": "uid=33", "received": None,
        "sent": None}  # fmt: skip


def test_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = {"workers": [WORKER], "connections": [ROW, IDLE], "more": 1}
    assert printed(report, tmp_path / "app.ctl", capfd).splitlines() == [
        "WORKER  STATE  UP   REQUESTS  MEMORY    CONNECTIONS",
        "71      ready  2 h  12345     45.8 MiB  3: 1 handler, 2 idle",
        "",
        "WORKER  STATE    AGE    IN    OUT      PEER            REQUEST",
        "71      handler  3.2 s  75 B  1.5 KiB  127.0.0.1:5012  GET /users/{id}",
        "71      idle                           uid=33",
        "and 1 more",
    ]


def test_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = {"workers": [WORKER], "connections": [ROW, IDLE], "more": 0}
    assert json.loads(printed(report, tmp_path / "app.ctl", capfd, "--json")) == report


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_control_characters_are_escaped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    evil = "\x1b]0;owned\x07\r\n\u202e\u0085"
    texts = dict.fromkeys(("state", "peer", "client", "method", "path", "worker"), evil)
    worker = {**WORKER, "pid": evil, "state": evil, "states": {evil: evil}, "memory": evil}
    report = {"workers": [worker], "connections": [{**ROW, **texts, "route": None}], "more": evil}
    text = printed(report, tmp_path / "app.ctl", capfd, *options)
    assert text.isascii() and text.replace("\n", "").isprintable()
    assert text.count("\n") == (1 if options else 6)


def test_answers_of_another_form_are_shown_as_far_as_possible(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report: dict[str, object] = {"workers": [1, {}], "connections": "x", "more": None}
    assert printed(report, tmp_path / "app.ctl", capfd).count("\n") == 2


@pytest.mark.parametrize("limit", ["0", "10001", "x"])
def test_limit_is_checked(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["ps", "--control", "app.ctl", "--limit", limit])
    assert caught.value.code == 2 and "--limit" in capsys.readouterr().err


def test_stuck_worker_is_shown_beside_the_others(tmp_path: Path) -> None:
    with controlled(tmp_path, options="worker_stall_s=0, grace_s=0.5") as (program, url, path):
        address = url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), DEADLINE_S) as client:
            client.sendall(b"GET /block?seconds=600 HTTP/1.1\r\nHost: a\r\n\r\n")
            program.out.wait_for("blocks")
            report = json.loads(command("ps", path, "--json").stdout)
            assert sorted(each["state"] for each in report["workers"]) == ["ready", "stuck"]
            text = command("ps", path).stdout
            assert "  stuck for " in text and "  ready  " in text
            assert "`microweb stacks` shows where it stands" in text
        kill_group(program)


def test_service_that_reloads_is_shown(tmp_path: Path) -> None:
    with controlled(tmp_path, options="grace_s=600") as (program, url, path):
        address = url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), DEADLINE_S) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
            until(lambda: "body" in str(ask(path, command="ps")))
            assert ask(path, command="reload")["status"] == 0
            until(lambda: "draining" in str(ask(path, command="ps")))
            lines = command("ps", path).stdout.splitlines()
            assert sum("  draining  " in line for line in lines) == 1
            assert sum("  ready  " in line for line in lines) == 2
            client.sendall(b"xxxxxxxx")
            until(lambda: "draining" not in str(ask(path, command="ps")))
        assert get(url)[0] == 200
        program.stop()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_is_cut_is_a_failure(tmp_path: Path) -> None:
    answer = {"status": 0, "workers": [WORKER] * 10_000, "connections": [], "more": 0}
    status, text = command_on_a_full_disk("ps", tmp_path / "app.ctl", answer)
    assert (status, text) == (1, "microweb: stdout: No space left on device\n")
