"""The control socket of a running service: its file, its commands, and clients that misbehave."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.controlling import ask, connect, controlled, read_answer
from support.processes import DEADLINE_S, Program, get, run_to_end
from support.supervising import SCRIPT, is_alive, pids_in, until, workers_that_answer

from microweb.errors import ConfigurationError
from microweb.server.control import MAX_WAITING, open_control

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")


# --- the socket and its file


def test_file_is_for_its_user_only_and_removed_at_the_end(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with controlled(tmp_path, workers=1) as (program, _, path):
            found = path.stat()
            assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
            program.stop()
            assert not path.exists()
    finally:
        os.umask(before)


def test_file_of_a_killed_service_is_replaced(tmp_path: Path) -> None:
    with controlled(tmp_path, workers=1) as (program, _, path):
        program.process.kill()
        program.process.wait(DEADLINE_S)
        assert path.exists()
    with controlled(tmp_path, workers=1) as (program, url, path):
        assert ask(path, command="reload")["status"] == 0
        assert get(url)[0] == 200
        program.stop()


def test_second_service_with_the_same_path_does_not_start(tmp_path: Path) -> None:
    with controlled(tmp_path, workers=1) as (program, _, path):
        ended = run_to_end([tmp_path / "app.py"], tmp_path)
        assert ended.returncode == 1
        assert f"control: unix:{path} is in use by process {program.process.pid}" in ended.stderr
        assert ask(path, command="reload")["status"] == 0
        program.stop()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("x" * 120, "choose a shorter path"),
        ("missing/app.ctl", "there is no directory"),
        ("app.py", "it is a file of another kind"),
    ],
)
def test_path_that_can_not_be_had(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "app.py").write_text(SCRIPT)
    with ExitStack() as stack, pytest.raises(ConfigurationError, match=f"control: .*{reason}"):
        open_control(str(tmp_path / path), stack)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
def test_other_users_may_not_connect(tmp_path: Path) -> None:
    with controlled(tmp_path, workers=1) as (program, _, path):
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_mode & 0o001 == 0 and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        connecting = (
            "import os, socket, sys; os.setuid(65534); "
            "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        )
        ended = subprocess.run(
            [sys.executable, "-c", connecting, path], capture_output=True, timeout=DEADLINE_S
        )
        assert b"PermissionError" in ended.stderr
        program.stop()


# --- reload and drain


def end_by_two_signals(program: Program) -> None:
    program.process.send_signal(signal.SIGINT)
    program.out.wait_for("stopping (Ctrl-C again exits immediately)")
    program.stop(status=128 + signal.SIGTERM)


def test_reload_waits_until_all_workers_are_replaced(tmp_path: Path) -> None:
    with controlled(tmp_path) as (program, url, path):
        before = workers_that_answer(url, 2)
        answer = ask(path, command="reload")
        assert answer["status"] == 0 and "reload complete: workers" in answer["text"]
        assert not before & set(pids_in(answer["text"]))
        until(lambda: not any(map(is_alive, before)))
        program.err.wait_for(f"reload: asked on the control socket by uid={os.geteuid()}")
        program.stop()


def test_reload_of_code_that_does_not_start_fails(tmp_path: Path) -> None:
    with controlled(tmp_path) as (program, url, path):
        before = workers_that_answer(url, 2)
        script = tmp_path / "app.py"
        script.write_text(script.read_text().replace("app = App()", "app = App()\n1 / 0"))
        answer = ask(path, command="reload")
        assert answer["status"] == 1 and "reload failed: worker" in answer["text"]
        assert before == workers_that_answer(url, 2)
        program.stop()


def test_reload_during_a_reload_waits_for_its_own(tmp_path: Path) -> None:
    with controlled(tmp_path, workers=1) as (program, url, path):
        clients = [connect(path, b'{"command": "reload"}\n') for _ in range(2)]
        answers = [read_answer(client) for client in clients]
        assert [answer["status"] for answer in answers] == [0, 0]
        first, second = (pids_in(answer["text"]) for answer in answers)
        assert first != second
        until(lambda: [int(get(url)[1])] == second)
        program.stop()


def test_drain_waits_for_the_end(tmp_path: Path) -> None:
    with controlled(tmp_path) as (program, url, path):
        workers = workers_that_answer(url, 2)
        answer = ask(path, command="drain", wait=True)
        assert answer == {"status": 0, "text": "the service ended with status 0"}
        assert not any(map(is_alive, workers))
        program.ends(0)
        program.err.wait_for("stopping: asked on the control socket")


def test_drain_without_a_wait_returns_at_once(tmp_path: Path) -> None:
    with controlled(tmp_path, options="drain_delay_s=600") as (program, url, path):
        assert ask(path, command="drain")["text"] == "the service is stopping"
        assert ask(path, command="drain")["text"] == "the service is stopping already"
        assert ask(path, command="reload")["status"] == 1
        assert get(url)[0] == 200  # until `drain_delay_s` is over
        end_by_two_signals(program)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_after_a_drain_cuts_no_request(tmp_path: Path, number: int) -> None:
    with controlled(tmp_path, options="grace_s=60") as (program, url, path):
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), DEADLINE_S) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
            until(lambda: "body" in str(ask(path, command="ps")))
            assert ask(path, command="drain")["status"] == 0
            program.process.send_signal(number)
            for _ in range(3):  # turns of the supervisor, which has the signal after the first
                assert ask(path, command="drain")["text"] == "the service is stopping already"
            client.sendall(b"xxxxxxxx")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        program.ends(0)


def test_reload_that_a_drain_interrupts_fails(tmp_path: Path) -> None:
    with controlled(tmp_path) as (program, _, path):
        script = tmp_path / "app.py"
        script.write_text(script.read_text().replace("app = App()", "time.sleep(60)"))
        reloading = connect(path, b'{"command": "reload"}\n')
        program.err.wait_for("reload: replacing")
        draining = connect(path, b'{"command": "drain", "wait": true}\n')
        answer = read_answer(reloading)
        assert answer == {"status": 1, "text": "the service stops, and has not reloaded"}
        assert read_answer(draining)["status"] == 0
        program.ends(0)


def test_clients_that_wait_leave_room_for_others(tmp_path: Path) -> None:
    with controlled(tmp_path, options="drain_delay_s=600") as (program, _, path):
        question = b'{"command": "drain", "wait": true}\n'
        clients = [connect(path, question) for _ in range(MAX_WAITING)]
        refused = ask(path, command="drain", wait=True)
        assert refused["status"] == 1 and "4 clients wait" in refused["text"]
        clients.pop().close()  # and another one may wait
        clients.append(connect(path, question))
        assert ask(path, command="drain")["status"] == 0
        end_by_two_signals(program)
        answers = [read_answer(client) for client in clients]
        assert {answer["status"] for answer in answers} == {1}


# --- clients that misbehave


INVALID = [
    (b"ps\n", "expected a line of JSON"),
    (b"\xff\x00\x1b[31m\n", "expected a line of JSON"),
    (b"[" * 8000 + b"\n", "expected a line of JSON"),
    (b"[1]\n", "expected an object of JSON"),
    (b'{"command": "\\u001b[31m"}\n', "expected a command of"),
    (b'{"command": ["drain"]}\n', "expected a command of"),
    (b"{}\n", "expected a command of"),
    (b"x" * (1 << 20), "expected a line of at most"),
]


def test_requests_that_are_not_valid_are_refused(tmp_path: Path) -> None:
    with controlled(tmp_path, workers=1) as (program, url, path):
        for request, reason in INVALID:
            answer = read_answer(connect(path, request))
            assert answer["status"] == 2 and reason in answer["text"]
            assert answer["text"].isprintable()
        assert get(url)[0] == 200
        program.stop()


def test_clients_that_send_nothing_delay_no_replacement(tmp_path: Path) -> None:
    with ExitStack() as stack, controlled(tmp_path) as (program, url, path):
        for _ in range(8):
            stack.enter_context(connect(path, b'{"command": "rel'))
        dead = min(workers_that_answer(url, 2))
        os.kill(dead, signal.SIGKILL)
        program.err.wait_for(f"worker {dead} was killed by SIGKILL")
        program.err.wait_for("is ready")
        assert ask(path, command="reload")["status"] == 0
        program.stop()


def test_a_hundred_clients_are_served(tmp_path: Path) -> None:
    with controlled(tmp_path, options="drain_delay_s=600") as (program, _, path):
        answers = []
        for _ in range(100):
            silent = connect(path)
            answers.append(ask(path, command="drain")["status"])
            silent.detach()
        assert answers == [0] * 100
        end_by_two_signals(program)
