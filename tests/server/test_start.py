"""Each way to start a program, and whether it can start again as a worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.processes import Program, get, run_to_end
from support.supervising import until

from microweb import ConfigurationError
from microweb.server.start import worker_command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")

SOURCE = """
import os
from microweb import App

app = App()

@app.get("/")
async def index() -> str:
    return os.getcwd()

os.chdir("/")
if __name__ == "__main__":
    app.run(port=0, supervised=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["served.py"],
        ["-m", "served"],
        ["-c", "import served; served.app.run(port=0, supervised=True)"],
        ["-m", "microweb", "run", "served:app", "--supervised", "--port", "0"],
    ],
)
def test_program_starts_again(arguments: list[str], folder: Path) -> None:
    with Program(*arguments, cwd=folder) as program:
        (url, *_) = program.urls()
        assert get(url) == (200, "/")
        program.stop()
        assert program.err.rest() == ""


@pytest.mark.parametrize("arguments", [["-"], []])
def test_program_from_standard_input_is_refused(arguments: list[str], folder: Path) -> None:
    with Program(*arguments, cwd=folder) as program:
        program.stdin.write(SOURCE)
        program.stdin.close()
        program.ends(1)
        assert "standard input can't be started again" in program.err.rest()
        assert "microweb run" in program.err.rest()


def test_session_of_a_repl_is_refused(folder: Path) -> None:
    with Program("-i", "served.py", cwd=folder) as program:
        program.stdin.close()
        program.process.wait(20)
        assert "an interactive session can't be started again" in program.err.rest()


def test_test_session_is_refused(folder: Path) -> None:
    (folder / "test_it.py").write_text(
        "import served\n\ndef test_it():\n    served.app.run(port=0, workers=2)\n"
    )
    session = "import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider']))"
    plugins = "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'; "
    ended = run_to_end(["-c", plugins + session], folder)
    assert ended.returncode == 1
    assert "a test session can't be started again" in ended.stdout


def test_this_session_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a test session"):
        worker_command()


def test_directory_keeps_the_name_by_which_it_was_entered(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A deployment switches a link, then reloads: the new workers run the new release."""
    base = tmp_path_factory.mktemp("releases")
    new = base / "new"
    new.mkdir()
    (new / "served.py").write_text(SOURCE.replace("os.getcwd()", '"new"'))
    link = base / "current"
    link.symlink_to(folder)
    starting = f"cd {link} && exec {sys.executable} served.py"
    with Program(
        "-c", f"import os; os.execvp('sh', ['sh', '-c', {starting!r}])", cwd=base
    ) as program:
        (url, *_) = program.urls()
        assert get(url) == (200, "/")
        link.unlink()
        link.symlink_to(new)
        program.process.send_signal(1)
        program.err.wait_for("reload complete")
        until(
            lambda: get(url) == (200, "new")
        )  # the old worker may answer until it stops accepting
        program.stop()
