"""`microweb stacks`: where the workers of a service stand, also one that is blocked."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest
from support.controlling import (
    OneAnswer,
    ask,
    command,
    command_on_a_full_disk,
    connect,
    controlled,
    read_answer,
)
from support.processes import DEADLINE_S
from support.supervising import HANGING, kill_group, workers_that_answer

from microweb import cli

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")


@pytest.mark.parametrize("path", ["/sleep", "/regex"])
def test_stacks_of_a_blocked_worker_beside_another(tmp_path: Path, path: str) -> None:
    options = "worker_stall_s=0"
    with controlled(tmp_path, options=options, more=HANGING) as (program, url, control):
        workers = workers_that_answer(url, 2)
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), DEADLINE_S) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            program.out.wait_for("hangs")
            ended = command("stacks", control)
            assert (ended.returncode, ended.stderr) == (0, "")
            assert all(f"worker {pid}:\n" in ended.stdout for pid in workers)
            assert ended.stdout.count("most recent call first") >= 2
            assert f" in {path[1:]}\n" in ended.stdout
        kill_group(program)
        assert "stacks of worker" not in program.err.rest()  # the log has none of it


def test_worker_that_is_stopped_is_named_without_stacks(tmp_path: Path) -> None:
    with controlled(tmp_path, options="grace_s=0.5, worker_stall_s=0") as (program, url, path):
        stopped, other = sorted(workers_that_answer(url, 2))
        os.kill(stopped, signal.SIGSTOP)
        try:
            text = command("stacks", path).stdout
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert f"worker {stopped}: nothing within 2 s\n" in text
        assert f"worker {other}:\n" in text
        program.err.wait_for(f"stacks of worker {stopped}")  # later, and so in the log
        program.stop()


def test_log_has_the_stacks_that_a_signal_asks_for_too(tmp_path: Path) -> None:
    options = "grace_s=0.5, worker_stall_s=0"
    with controlled(tmp_path, workers=1, options=options) as (program, url, path):
        (worker,) = workers_that_answer(url, 1)
        os.kill(worker, signal.SIGSTOP)
        try:
            client = connect(path, b'{"command": "stacks"}\n')
            program.process.send_signal(signal.SIGQUIT)
            ask(path, command="none")  # the supervisor has taken both
        finally:
            os.kill(worker, signal.SIGCONT)
        assert read_answer(client)["workers"][0]["pid"] == worker
        program.err.wait_for(f"stacks of worker {worker}")
        program.stop()


def test_control_characters_are_escaped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "app.ctl"
    workers = [{"pid": "\x1b", "stacks": "a\x1b[0m\nb"}, {"pid": 7, "stacks": None}, 8]
    with OneAnswer(path, json.dumps({"status": 0, "workers": workers}).encode()):
        cli.main(["stacks", "--control", str(path)])
    expected = "worker \\x1b:\na\\x1b[0m\nb\nworker 7: nothing within 2 s\n"
    assert capfd.readouterr().out == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_is_cut_is_a_failure(tmp_path: Path) -> None:
    answer = {"status": 0, "workers": [{"pid": 7, "stacks": "x\n" * 100_000}]}
    status, text = command_on_a_full_disk("stacks", tmp_path / "app.ctl", answer)
    assert (status, text) == (1, "microweb: stdout: No space left on device\n")
