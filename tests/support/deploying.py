"""The deployment kit in use: a copy of its folder, and its app as systemd or a container starts it.

Only paths, ports and the certificate differ from the files of the kit.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from .processes import ROOT, Program

KIT = ROOT / "examples" / "deploy"
HOST = "example.org"
MAX_UPLOAD: int = runpy.run_path(str(KIT / "app.py"))["MAX_UPLOAD"]

# Execute the arguments with a listening socket as descriptor 3, as systemd does: a path, or a port.
_WITH_SOCKET = """
import os, socket, sys
address, backlog, *command = sys.argv[1:]
if address.startswith("/"):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(int(backlog))
else:
    listener = socket.create_server(("127.0.0.1", int(address)), backlog=int(backlog))
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(command[0], command)
"""


def copied(folder: Path) -> Path:
    """Copy the kit into `folder`, as its users do, and return the copy."""
    return Path(shutil.copytree(KIT, folder / "app", ignore=shutil.ignore_patterns("__pycache__")))


def setting(text: str, name: str) -> str:
    """Return the value of the only line `name=value` of a unit file."""
    (value,) = re.findall(rf"(?m)^{name}=(.*)$", text)
    return str(value)


def replaced(text: str, changes: dict[str, str]) -> str:
    """Replace each pattern in `text`. Fail if one is not there."""
    for pattern, new in changes.items():
        text, count = re.subn(pattern, new.replace("\\", r"\\"), text)
        assert count, f"expected {pattern!r} in the file of the kit"
    return text


@contextmanager
def served_by_the_units(
    kit: Path, *options: str, address: str = "", variables: Sequence[str] = ()
) -> Iterator[Program]:
    """Start the app by the command of app.service, on a socket as app.socket has it.

    `address` is a port, and by default the path of the Unix socket. `variables` are `NAME=value`.
    """
    command = shlex.split(setting((kit / "app.service").read_text(), "ExecStart"))
    backlog = setting((kit / "app.socket").read_text(), "Backlog")
    run = ["/usr/bin/env", *variables, sys.executable, *command[1:], *options]
    arguments = [address or str(kit / "app.sock"), backlog, *run]
    with Program("-c", _WITH_SOCKET, *arguments, cwd=kit, is_session=True) as program:
        program.out.wait_for("listening on")
        yield program


def program_on_a_port(kit: Path, port: int, *options: str) -> Program:
    """Start the app as a container does, on `port` of this machine."""
    arguments = ["app:app", "--bind", f"127.0.0.1:{port}", "--trusted-proxies", "127.0.0.1"]
    return Program("-m", "microweb", "run", *arguments, *options, cwd=kit, is_session=True)


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Write site.pem and site.key for the host of the kit, and authority.pem for its clients.

    Return a client's context.
    """
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (folder / "site.pem").write_bytes(chain)
    issued.private_key_pem.write_to_path(folder / "site.key")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return context
