"""A Containerfile without a container engine: its steps in a folder, its process in namespaces.

RUN and COPY work on a folder for each stage. CMD runs with that folder as its root, which is
read-only, as the user of USER, as process 1, and in a network of its own. The libraries and the
Python of this machine stand in for those of the base image.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .processes import DEADLINE_S, Program
from .supervising import children

BUILD_S = 300.0  # pip downloads packages
_SYSTEM = [name for name in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(name)]
_PYTHON = sys.base_prefix

# Make the root of the container in a mount namespace, and execute the arguments in it.
_ENTER = r"""
set -eu
root=$1 user=$2 cwd=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
for folder in SYSTEM; do
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
done
mkdir -p "$root/tmp" "$root/proc" "$root/dev"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o size=256m,mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ip link set lo up
exec chroot "$root" sh -c 'cd "$0"; exec "$@"' "$cwd" setpriv --reuid="${user%:*}" \
    --regid="${user#*:}" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
""".replace("SYSTEM", " ".join(map(shlex.quote, [*_SYSTEM, _PYTHON])))

PROGRAMS = ("unshare", "nsenter", "setpriv", "chroot", "mount", "ip")


def why_not() -> str:
    """Return why this machine can't do this, or an empty text."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "needs root on Linux"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], check=False)
    return "may not make namespaces" if tried.returncode else ""


@dataclass
class Stage:
    """What one FROM and the instructions behind it have made."""

    root: Path
    base: str
    workdir: str = "/"
    user: str = "0:0"
    variables: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The working directory, outside the container."""
        return self.root / self.workdir.lstrip("/")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Containerfile with their arguments."""
    lines = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(name, rest.strip()) for name, rest in re.findall(r"(?m)^([A-Z]+) (.+)$", joined)]


def build(containerfile: Path, folder: Path) -> Stage:
    """Carry out the instructions, with the folder of the file as context; return the last stage."""
    stages: dict[str, Stage] = {}
    stage = Stage(folder, "")
    for name, rest in instructions(containerfile.read_text()):
        words = rest.split()
        if name == "FROM":
            stage = Stage(folder / f"stage{len(stages)}", words[0])
            stages[words[2] if words[1:2] == ["AS"] else ""] = stage
            stage.root.mkdir(parents=True)
        elif name == "WORKDIR":
            stage.workdir = rest
            stage.folder.mkdir(parents=True)
        elif name == "RUN":
            run(rest, stage)
        elif name == "COPY":
            copy(words, stage, stages, containerfile.parent)
        else:
            describe(name, rest, stage)
    return stage


def run(line: str, stage: Stage) -> None:
    python = {"PATH": f"{_PYTHON}/bin:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["sh", "-euc", line],
        cwd=stage.folder,
        env=os.environ | stage.variables | python,
        capture_output=True,
        encoding="utf-8",
        timeout=BUILD_S,
    )
    assert ended.returncode == 0, (line, ended.stdout, ended.stderr)


def copy(words: list[str], stage: Stage, stages: dict[str, Stage], context: Path) -> None:
    if words[0].startswith("--from="):
        root = stages[words.pop(0).removeprefix("--from=")].root
    else:
        root = context
    *sources, target = words
    for source in sources:
        found, placed = root / source.lstrip("/"), stage.folder / target
        if found.is_dir():
            shutil.copytree(found, placed, symlinks=True)
        else:
            shutil.copy(found, placed)


def describe(name: str, rest: str, stage: Stage) -> None:
    if name == "USER":
        stage.user = rest
    elif name == "ENV":
        stage.variables |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    elif name == "CMD":
        stage.command = json.loads(rest)
    elif name == "HEALTHCHECK":
        stage.health = json.loads(rest.partition(" CMD ")[2])
    else:
        assert name == "EXPOSE", f"unknown instruction {name}"


@dataclass
class Container:
    """A running container: the program that waits for its process 1, and that process."""

    stage: Stage
    program: Program
    pid: int

    def executes(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user."""
        user, _, group = self.stage.user.partition(":")
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root"]
        drop = [
            "setpriv",
            f"--reuid={user}",
            f"--regid={group}",
            "--clear-groups",
            "--no-new-privs",
        ]
        return subprocess.run(
            [*enter, f"--wdns={self.stage.workdir}", *drop, "--bounding-set=-all", *command],
            env=self.stage.variables,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_S,
        )


@contextmanager
def running(stage: Stage) -> Iterator[Container]:
    """Start CMD as process 1, and end it with the block."""
    enter = ["sh", "-c", _ENTER, "sh", str(stage.root), stage.user, stage.workdir, *stage.command]
    command = ["unshare", "--mount", "--pid", "--net", "--fork", *enter]
    variables = {"PATH": os.environ["PATH"]} | stage.variables
    source = f"import os; os.execvpe('unshare', {command!r}, {variables!r})"
    with Program("-c", source) as program:
        program.out.wait_for("listening on")
        (pid,) = children(program)
        try:
            yield Container(stage, program, pid)
        finally:
            if program.process.poll() is None:  # `unshare` waits for this process
                os.kill(pid, signal.SIGKILL)
                program.process.wait(DEADLINE_S)
