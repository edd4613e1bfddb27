"""The dispatch of commands, and usage errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.commanding import APP, misuse
from support.processes import run_to_end

import microweb
from microweb import cli
from microweb.cli.command_line import COMMANDS


def test_each_command_has_its_name_and_help_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for command in COMMANDS:
        assert text.count(f" {command.name} {command.help}") == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "expected a command: run, dev, routes, openapi, check, systemd, ps, "),
        (["rout", "hello.py"], ", stacks, got 'rout': did you mean routes?: see"),
        (["run"], "the following arguments are required: target"),
        (["run", "a.py", "b.py"], "unexpected argument 'b.py': see microweb run --help"),
        (["run", "hello.py", "--port"], "--port: expected one argument: see microweb run --help"),
        (
            ["run", "hello.py", "--prot", "1"],
            "--prot is not an option of microweb run: did you mean --port? see microweb run --help",
        ),
        (["run", "hello.py", "--prot=1"], "--prot is not an option of microweb run: did you mean"),
        (["run", "hello.py", "--xyzzy"], "is not an option of microweb run: see microweb run"),
        (["run", "hello.py", "--reload"], "of microweb run: use microweb dev, which starts the"),
        (["dev", "hello.py", "--workers=2"], "microweb dev: dev serves with one process: use "),
        (["dev", "hello.py", "--debug-anywhere"], ": it is an option of microweb run; see "),
        (["ps", "--limt=3"], "--limt is not an option of microweb ps: did you mean --limit?"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    text = misuse(capsys, *argv)
    assert said in text
    assert text.endswith(" --help\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"microweb {microweb.__version__}\n"


def test_script_is_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("microweb")
    if not script.exists():
        pytest.skip("microweb is not installed beside this Python")
    (tmp_path / "hello.py").write_text(APP)
    ended = run_to_end([script, "routes", "hello:app"], tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "hello.index" in ended.stdout
