from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, run_to_end

PROGRAM = """
import sys, tempfile, threading, time
from microweb.server import dump_timer

def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()
"""


def run(tmp_path: Path, source: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "timer.py"
    script.write_text(PROGRAM + source)
    return run_to_end([script], tmp_path)


def test_stacks_are_written_while_c_code_holds_the_gil(tmp_path: Path) -> None:
    source = """
file = tempfile.TemporaryFile()
in_thread(dump_timer.write_later, 0.05, file.fileno())
size = 10**6
while not file.seek(0, 2):
    size *= 2
    sum(range(size))  # one call of C
file.seek(0)
sys.stdout.write(file.read().decode())
"""
    ended = run(tmp_path, source)
    assert ended.returncode == 0
    assert f'File "{tmp_path}/timer.py", line ' in ended.stdout


def test_a_later_call_replaces_the_earlier_one_and_can_be_cancelled(tmp_path: Path) -> None:
    source = """
file = tempfile.TemporaryFile()
in_thread(dump_timer.write_later, 0.05, file.fileno())
in_thread(dump_timer.write_later, 1000, file.fileno())
in_thread(dump_timer.write_later, 0.05, file.fileno())
in_thread(dump_timer.cancel)
time.sleep(0.2)
print(file.seek(0, 2))
"""
    assert run(tmp_path, source).stdout == "0\n"


@pytest.mark.parametrize(
    "call", ["in_thread(dump_timer.write_later, 1000, 2)", "in_thread(dump_timer.cancel)"]
)
def test_nothing_stops_the_end(tmp_path: Path, call: str) -> None:
    source = f"dump_timer.end_later(0.1, 2)\n{call}\ntime.sleep({DEADLINE_S})\nprint('on')"
    ended = run(tmp_path, source)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Timeout (" in ended.stderr


def test_the_end_replaces_a_sample(tmp_path: Path) -> None:
    source = f"""
file = tempfile.TemporaryFile()
in_thread(dump_timer.write_later, 1000, file.fileno())
dump_timer.end_later(0.1, 2)
time.sleep({DEADLINE_S})
"""
    assert run(tmp_path, source).returncode == 1
