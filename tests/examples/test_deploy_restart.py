"""A restart of the deployment kit's service: systemd keeps the socket, and clients wait in it."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from support.deploying import setting
from support.fronts import clients_of, nginx
from support.processes import Program

# Hold the socket as systemd does. For each line of the input, stop the command and start it again.
HOLDER = """
import ctypes, os, signal, socket, sys
path, backlog, *command = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(int(backlog))

def start():
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with this process
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    os.execv(command[0], command)

def stop(pid):
    os.kill(pid, signal.SIGTERM)
    print("ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

pid = start()
for line in sys.stdin:
    stop(pid)
    pid = start()
stop(pid)
"""


@pytest.mark.skipif(
    shutil.which("nginx") is None or sys.platform != "linux", reason="needs nginx on Linux"
)
async def test_no_request_fails_while_systemd_restarts_the_app(tmp_path: Path) -> None:
    with nginx(tmp_path, with_app=False) as front:
        command = shlex.split(setting((front.kit / "app.service").read_text(), "ExecStart"))
        backlog = setting((front.kit / "app.socket").read_text(), "Backlog")
        arguments = [str(front.kit / "app.sock"), backlog, sys.executable, *command[1:]]
        with Program("-c", HOLDER, *arguments, "--workers", "1", cwd=front.kit) as holder:
            await asyncio.to_thread(holder.out.wait_for, "listening on")
            clients = clients_of(front)
            async with asyncio.TaskGroup() as tasks:
                for each in clients:
                    tasks.create_task(each.run(2))
                holder.stdin.write("restart\n")
                holder.stdin.flush()
                for text in ("ended with 0", "listening on"):
                    await asyncio.to_thread(holder.out.wait_for, text)
                for each in clients:
                    each.stop()
            assert [each.failed for each in clients] == [[]] * len(clients)
            assert all(each.answered for each in clients)
            holder.stdin.close()
            holder.ends(0)
