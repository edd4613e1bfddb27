"""How commands find the control socket of a service, and what they say if they can't."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from support.commanding import Write
from support.controlling import OneAnswer
from support.processes import DEADLINE_S, Program

from microweb import cli
from microweb.cli import controlling
from microweb.cli.controlling import add_control, ask, shown

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


def given(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_control(parser)
    return parser.parse_args(arguments)


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        ask(given(*arguments), {"command": "ps"})
    text = caught.value.code if isinstance(caught.value.code, str) else capsys.readouterr().err
    return caught.value.code, text


@pytest.mark.parametrize("place", ["flag", "variable", "file", "project"])
def test_path_comes_from_each_place_of_an_option(
    place: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = []
    if place == "flag":
        arguments = ["--control", "app.ctl"]
        monkeypatch.setenv("MICROWEB_CONTROL", "other.ctl")
    elif place == "variable":
        monkeypatch.setenv("MICROWEB_CONTROL", str(tmp_path / "app.ctl"))
    elif place == "file":
        write("app.env", "MICROWEB_CONTROL=app.ctl\n")
        arguments = ["--env-file", "app.env"]
    else:
        write("pyproject.toml", '[tool.microweb]\ncontrol = "app.ctl"\n')
    with OneAnswer(tmp_path / "app.ctl", b'{"status": 0, "text": "yes"}\n') as service:
        assert ask(given(*arguments), {"command": "ps"}) == {"status": 0, "text": "yes"}
    assert service.question == b'{"command": "ps"}\n'


def test_no_path_is_named(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = failure(capsys)
    assert "no control socket is named" in text and "MICROWEB_CONTROL" in text


def test_service_does_not_run(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no such file" in failure(capsys, "--control", "app.ctl")[1]
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "app.ctl"))
    assert "no process listens there" in failure(capsys, "--control", "app.ctl")[1]
    write("file", "")
    assert "control socket file: " in failure(capsys, "--control", "file")[1]
    assert "control socket xxx" in failure(capsys, "--control", "x" * 120)[1]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may connect")
def test_permission_is_denied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "app.ctl"))
        bound.listen()
        (tmp_path / "app.ctl").chmod(0)
        assert "permission denied" in failure(capsys, "--control", str(tmp_path / "app.ctl"))[1]


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"{}", b'{"status": "x"}', b"\xff"])
def test_service_does_not_answer_as_expected(
    tmp_path: Path, answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "app.ctl"
    with OneAnswer(path, answer):
        assert (
            "the service has ended, or does not answer"
            in failure(capsys, "--control", str(path))[1]
        )


def test_status_of_the_answer_is_that_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "app.ctl"
    with OneAnswer(path, b'{"status": 2, "text": "\\u001b[31mred"}'):
        assert failure(capsys, "--control", str(path)) == (2, "microweb: \\x1b[31mred\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [("GET /a%20b", "GET /a%20b"), ("\x1b]0;x\x07", "\\x1b]0;x\\x07"), ("\u202e", "\\u202e"),
     ("a\\b", "a\\\\b"), ("a\nb", "a\\nb"), (None, "None"), ("\ud800", "\\ud800")],
)  # fmt: skip
def test_text_for_a_terminal_is_escaped(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("command", [["reload"], ["drain", "--wait"], ["ps"], ["stacks"]])
def test_interrupt_is_one_line(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "app.ctl"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(DEADLINE_S)
        with Program("-m", "microweb", *command, "--control", path) as program:
            client, _ = listening.accept()
            with client:
                client.settimeout(DEADLINE_S)
                assert client.recv(1000).startswith(b'{"command": ')
                program.stop(signal.SIGINT, status=130)
            expected = "microweb: interrupted: the service goes on with it"
            assert (program.out.rest(), program.err.rest()) == ("", expected)


def test_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown_help = capsys.readouterr().out
    assert all(name in shown_help for name in ("ps", "reload", "drain", "stacks"))


@contextmanager
def full_queue(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        bound = stack.enter_context(socket.socket(socket.AF_UNIX))
        bound.bind(str(path))
        bound.listen(0)
        with suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        yield


def test_interrupt_before_the_question_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "app.ctl"
    monkeypatch.setattr(time, "sleep", lambda _: signal.raise_signal(signal.SIGINT))
    with full_queue(path):
        failed = failure(capsys, "--control", str(path))
    assert failed == (130, "microweb: interrupted: the service was not asked\n")


def test_queue_of_the_socket_may_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(controlling, "_ANSWER_S", 0.1)
    path = tmp_path / "app.ctl"
    with full_queue(path):
        assert "no answer within 0.1 s" in failure(capsys, "--control", str(path))[1]
