"""The printed units: their content, `systemd-analyze verify`, and the command that they run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commanding import APP
from support.processes import DEADLINE_S, Program, get, run_to_end

from microweb import cli
from microweb.cli import systemd

pytestmark = pytest.mark.skipif(os.name != "posix", reason="systemd runs on Linux")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


def printed(folder: Path, target: str, *options: str) -> str:
    """Return the units for a user who is named, because this Python may be one of root."""
    options = ("--user", "shop", *options)
    ended = run_to_end(["-m", "microweb", "systemd", target, *options], folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_both_units_or_one(folder: Path) -> None:
    service, unit = (printed(folder, "shop:app", "--only", each) for each in ("service", "socket"))
    assert service.startswith("# /etc/systemd/system/shop.service\n")
    assert unit.startswith("# /etc/systemd/system/shop.socket\n")
    assert printed(folder, "shop:app") == f"{service}\n{unit}"
    for line in ("KillMode=mixed", "Type=notify", "ProtectSystem=strict", "NoNewPrivileges=yes"):
        assert f"\n{line}\n" in service
    assert f"\nWorkingDirectory={folder}\n" in service
    assert "\nListenStream=/run/shop.sock\n" in unit


@pytest.mark.parametrize(
    ("target", "name"),
    [("shop:app", "shop"), ("shop.py", "shop"), ("site/shop.py:app", "shop"), ("a.b:c", "a-b")],
)
def test_name_of_the_units(target: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["systemd", target, "--user", "shop"])
    assert f"/{name}.service\n" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(folder: Path) -> None:
    odd = folder / 'a 100% "odd" $folder'
    odd.mkdir()
    controls = ("/run/shop/shop.ctl", "/run/a/b-1/shop.ctl", "/srv/a@b/shop.ctl")
    for where, target, control in (
        (folder, "shop:app", None), (odd, "shop.py:app", None),
        *((folder, "shop:app", each) for each in controls),
    ):  # fmt: skip
        options = () if control is None else ("--control", control)
        files = []
        for kind in ("service", "socket"):
            files.append(where / f"shop.{kind}")
            files[-1].write_text(printed(where, target, "--only", kind, *options))
        ended = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *files],
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_S,
        )
        assert (ended.returncode, ended.stderr) == (0, "")


def test_command_of_the_unit_serves(folder: Path) -> None:
    (line,) = re.findall(r"(?m)^ExecStart=(.*)$", printed(folder, "shop:app"))
    python, *arguments = shlex.split(line)
    assert python == sys.executable
    source = f"""
import os, socket
bound = socket.create_server(("127.0.0.1", 0))
if bound.fileno() != 3:
    os.dup2(bound.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}}
os.execv({python!r}, {[python, *arguments]!r})
"""
    with Program("-c", source, cwd=folder) as program:
        (url,) = program.urls()
        assert get(url)[0] == 200
        program.stop()


def lines_for(paths: list[Path | str], user: str | None = None) -> list[str]:
    return systemd._user_for([str(path) for path in paths], user).splitlines()[-2:]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with the Python of a virtual environment, which is a link."""
    monkeypatch.setattr(systemd, "_HOMES", (f"{tmp_path}/",))
    (tmp_path / "python").symlink_to("/bin/sh")
    return tmp_path


def test_user_of_code_outside_of_home_directories() -> None:
    assert lines_for(["/srv/shop", "/bin/sh"]) == ["DynamicUser=yes", "ProtectHome=yes"]
    assert lines_for(["/srv/shop", "/bin/sh"], "web") == ["User=web", "ProtectHome=yes"]


@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root changes an owner")
def test_user_of_code_in_a_home_directory_is_its_owner(home: Path) -> None:
    for path in (home, home / "python"):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    lines = ["User=1234", "ProtectHome=read-only"]
    assert lines_for([home, home / "python"]) == lines
    assert lines_for(["/srv/shop", home / "python"]) == lines


@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root makes such a file")
def test_code_of_root_in_a_home_directory_is_refused(home: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        lines_for(["/srv/shop", home / "python"])
    text = str(caught.value)
    assert text.startswith(f"microweb: {home}/python lies in a home directory and belongs to root")
    assert text.endswith(" by --user NAME")
    assert lines_for(["/srv/shop", home / "python"], "web") == ["User=web", "ProtectHome=read-only"]


def test_no_unit_is_printed_for_root(folder: Path) -> None:
    if not os.path.realpath(sys.executable).startswith("/root/"):
        pytest.skip("needs a Python in the home directory of root")
    ended = run_to_end(["-m", "microweb", "systemd", "shop:app"], folder)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "would run as root" in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("user", ["", "a b", "-x", "a\nUser=root"])
def test_wrong_name_of_a_user(folder: Path, user: str) -> None:
    ended = run_to_end(["-m", "microweb", "systemd", "shop:app", f"--user={user}"], folder)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("microweb: --user: expected the name of a user, got ")


def test_service_with_several_workers_names_the_check(folder: Path) -> None:
    said = "`microweb check shop:app --workers 2`"
    assert said in printed(folder, "shop:app")
    (folder / "pyproject.toml").write_text("[tool.microweb]\nworkers = 1\n")
    assert said not in printed(folder, "shop:app")


def test_options_of_the_project_are_not_repeated(folder: Path) -> None:
    project = folder / "pyproject.toml"
    project.write_text('[tool.microweb]\nworkers = 2\ntrusted_proxies = ["10.0.0.10"]\n')
    service = printed(folder, "shop:app", "--only", "service")
    assert (
        service.partition("ExecStart=")[2]
        .partition("\n")[0]
        .endswith(" -m microweb run shop:app --bind systemd --supervised")
    )


def test_systemd_waits_for_the_whole_stop(folder: Path) -> None:
    assert "\nTimeoutStopSec=20\n" in printed(folder, "shop:app")
    project = folder / "pyproject.toml"
    project.write_text("[tool.microweb]\ndrain_delay_s = 10\ngrace_s = 30.5\n")
    assert "\nTimeoutStopSec=51\n" in printed(folder, "shop:app")


def test_systemd_waits_for_the_lifespans_of_a_single_process(folder: Path) -> None:
    project = folder / "pyproject.toml"
    single = "[tool.microweb]\nworkers = 1\nsupervised = false\ngrace_s = 30\n"
    project.write_text(single)
    service = printed(folder, "shop:app")
    assert "\nTimeoutStopSec=70\n" in service
    assert "twice grace_s (30)" in service
    project.write_text(single.replace("false", "true"))
    assert "\nTimeoutStopSec=40\n" in printed(folder, "shop:app")
    project.write_text(single.replace("workers = 1", "workers = 2"))
    assert "\nTimeoutStopSec=40\n" in printed(folder, "shop:app")


def test_wrong_option_of_the_project_is_one_line(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.microweb]\ngrace_s = "long"\n')
    ended = run_to_end(["-m", "microweb", "systemd", "shop:app"], folder)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "grace_s" in ended.stderr and ended.stderr.count("\n") == 1


def test_app_is_not_imported(folder: Path) -> None:
    (folder / "shop.py").write_text("1/0")
    assert printed(folder, "shop:app")


def test_directory_of_the_control_socket(folder: Path) -> None:
    plain = printed(folder, "shop:app")
    assert "RuntimeDirectory" not in plain and "--control" not in plain
    lines = "\nRuntimeDirectory=shop\nRuntimeDirectoryMode=0700\n"
    service = printed(folder, "shop:app", "--control", "/run/shop/shop.ctl")
    assert lines in service and " --supervised --control /run/shop/shop.ctl\n" in service
    (folder / "pyproject.toml").write_text('[tool.microweb]\ncontrol = "/run/shop/shop.ctl"\n')
    service = printed(folder, "shop:app")
    assert lines in service and "--control" not in service
    service = printed(folder, "shop:app", "--control", "/srv/shop/shop.ctl")
    assert "RuntimeDirectory" not in service and "\nReadWritePaths=/srv/shop\n" in service


@pytest.mark.parametrize("path", ["/run/shop.ctl", "shop.ctl", "run/x/a.ctl", "/run/a b/a.ctl"])
def test_control_socket_without_a_directory_of_its_own(folder: Path, path: str) -> None:
    ended = run_to_end(
        ["-m", "microweb", "systemd", "shop:app", "--user", "shop", "--control", path], folder
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"microweb: control: expected a path such as /run/shop/shop.ctl, got {path!r}\n"
    )
