"""The process that has an address which is in use."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from support.processes import Program

from microweb.server.holders import AddressInUse, holders_of_path, holders_of_port, rows_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="of /proc")

HOLDS = """
import os, socket, sys, time
family, address = (socket.AF_UNIX, sys.argv[1]) if len(sys.argv) > 1 else (
    socket.AF_INET, ("127.0.0.1", 0)
)
with socket.socket(family) as bound:
    bound.bind(address)
    bound.listen()
    if os.fork():
        print(bound.getsockname(), flush=True)
        os.wait()
    else:
        sys.stdin.read()
"""


@linux
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")]
)
def test_this_process_listens_on_a_port(family: socket.AddressFamily, host: str) -> None:
    if family == socket.AF_INET6 and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    with socket.create_server((host, 0), family=family) as bound:
        port = bound.getsockname()[1]
        assert holders_of_port(port) == " by this process"
    assert holders_of_port(port) == ""


@linux
def test_other_process_is_named_without_its_children(tmp_path: Path) -> None:
    with Program("-c", HOLDS) as program:
        port = int(program.out.wait_for("127.0.0.1").rstrip(")").rpartition(" ")[2])
        name = Path(f"/proc/{program.process.pid}/comm").read_text().strip()
        assert holders_of_port(port) == f" by process {program.process.pid} ({name})"
        program.stdin.close()
        program.ends(0)
        assert holders_of_port(port) == ""


@linux
def test_process_that_has_a_unix_socket_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "an app.sock")
    with Program("-c", HOLDS, path) as program:
        program.out.wait_for("app.sock")
        assert holders_of_path(path).startswith(f" by process {program.process.pid} (")
        assert holders_of_path(path + "2") == ""
        program.stdin.close()
        program.ends(0)


@linux
def test_name_of_a_process_is_escaped(tmp_path: Path) -> None:
    names = "open('/proc/self/comm', 'w').write('a)\\n\\x1b[31m')\n"
    with Program("-c", names + HOLDS) as program:
        port = int(program.out.wait_for("127.0.0.1").rstrip(")").rpartition(" ")[2])
        assert holders_of_port(port).endswith(r"(a)\n\x1b[31m)")
        program.stdin.close()
        program.ends(0)


def test_system_without_these_tables_names_no_process() -> None:
    assert rows_of("no_such_table") == []


def test_error_has_a_fact_and_a_remedy() -> None:
    error = AddressInUse("port 80 is in use", "choose another port")
    assert str(error) == "port 80 is in use: choose another port"
    assert error.fact == "port 80 is in use"
