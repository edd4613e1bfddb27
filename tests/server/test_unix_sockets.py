"""Unix sockets: their files, their peers, and servers that listen on them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, Program

from microweb.errors import ConfigurationError
from microweb.server.unix_sockets import (
    SocketFile,
    bind_unix,
    remove_socket_files,
    uid_of_peer,
)

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

APP = """
from microweb import App, Request

app = App()

@app.get("/")
async def index(request: Request) -> str:
    return f"{request.peer.host} {request.client.host} {request.scheme}"

@app.get("/large")
async def large() -> bytes:
    return b"x" * 10_000_000
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.sock"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        bind_unix(str(path), 0o660)
    return str(caught.value)


def mode_of(path: Path) -> str:
    return subprocess.check_output(["stat", "-c", "%a", path], encoding="ascii").strip()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_file_has_its_mode(path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        with bind_unix(str(path), mode):
            assert mode_of(path) == f"{mode:o}"
    finally:
        os.umask(before)


def test_stale_file_is_replaced(path: Path) -> None:
    bind_unix(str(path), 0o660).close()
    assert path.is_socket()
    with bind_unix(str(path), 0o660) as bound:
        bound.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_live_socket_is_refused(path: Path) -> None:
    with bind_unix(str(path), 0o660) as bound:
        bound.listen(1)
        holder = "this process" if sys.platform == "linux" else "another process"
        assert refusal(path) == (
            f"unix:{path} is in use by {holder}: stop it, or choose another path"
        )
        with ExitStack() as stack:  # also if its queue is full
            for _ in range(3):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect_ex(str(path))
            assert "is in use" in refusal(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net/unix")
def test_socket_of_a_server_that_starts_is_refused(path: Path) -> None:
    """It is bound, and listens only after its lifespan."""
    with bind_unix(str(path), 0o660):
        assert "is in use" in refusal(path)


def test_other_file_is_not_removed(path: Path) -> None:
    path.write_text("text")
    assert refusal(path) == f"can't listen on unix:{path}: it is a file of another kind"
    path.unlink()
    path.symlink_to(path.with_name("app.py"))
    assert "a file of another kind" in refusal(path)


def test_missing_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "app.sock"
    assert refusal(path) == f"can't listen on unix:{path}: there is no directory {path.parent}"


def test_long_path_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 108)).endswith("path too long: choose a shorter path")


def test_only_the_process_that_made_the_file_removes_it(path: Path) -> None:
    with bind_unix(str(path), 0o660) as bound:
        made = SocketFile.of(bound)
        made._replace(process=made.process + 1).remove()
        assert path.exists()
    path.unlink()
    path.write_text("of another process")
    made.remove()
    assert path.exists()


def test_all_files_of_this_process_are_removed(path: Path) -> None:
    other = path.with_name("other.sock")
    with bind_unix(str(path), 0o660) as one, bind_unix(str(other), 0o660) as two:
        SocketFile.of(one)
        SocketFile.of(two).remove()
        other.write_text("of another process")
        remove_socket_files()
        assert not path.exists() and other.exists()


def test_user_of_the_peer() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert uid_of_peer(one) == os.getuid()


# --- servers --------------------------------------------------------------------------


@contextmanager
def served(path: Path, *options: str) -> Iterator[Program]:
    arguments = ["-m", "microweb", "run", "app:app", "--bind", f"unix:{path}?mode=600", *options]
    with Program(*arguments, cwd=path.parent) as program:
        line = program.out.wait_for("listening on")
        assert f"listening on unix:{path} " in line
        yield program


def curl(path: Path, target: str = "/", *options: str) -> str:
    """Return the output of curl; the status is checked by `--fail`."""
    command = [
        "curl",
        "-qsS",
        "--fail",
        "--unix-socket",
        path,
        *options,
        f"http://localhost{target}",
    ]
    return subprocess.check_output(command, encoding="ascii", timeout=DEADLINE_S)


FORWARDED = ("-H", "X-Forwarded-For: 192.0.2.1", "-H", "X-Forwarded-Proto: https")
ONE = ("--loop", "asyncio"), ("--loop", "uvloop")
BOTH = (*ONE, ("--workers", "2"), ("--supervised", "--loop", "uvloop"))


@needs_curl
@pytest.mark.parametrize("options", BOTH)
def test_curl_over_a_unix_socket(path: Path, options: tuple[str, ...]) -> None:
    if "uvloop" in options:
        pytest.importorskip("uvloop")
    user = f"uid={os.getuid()}"
    with served(path, *options) as program:
        assert mode_of(path) == "600"
        assert curl(path) == f"{user} {user} http"
        assert curl(path, "/", *FORWARDED) == f"{user} {user} http"
        assert len(curl(path, "/large")) == 10_000_000
        program.stop()
    assert not path.exists()


@pytest.mark.parametrize("options", BOTH)
def test_second_signal_removes_the_file_too(path: Path, options: tuple[str, ...]) -> None:
    if "uvloop" in options:
        pytest.importorskip("uvloop")
    with served(path, *options, "--drain-delay-s", "60") as program:
        program.process.send_signal(signal.SIGINT)
        program.out.wait_for("stopping")
        program.stop(signal.SIGTERM, status=128 + signal.SIGTERM)
    assert not path.exists()


@needs_curl
def test_proxy_over_a_unix_socket_is_trusted_by_name(path: Path) -> None:
    with served(path, "--trusted-proxies", "unix") as program:
        user = f"uid={os.getuid()}"
        assert curl(path, "/", *FORWARDED) == f"{user} 192.0.2.1 https"
        assert curl(path) == f"{user} {user} http"
        program.stop()


@needs_curl
@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_second_server_is_refused_and_takes_no_file(path: Path, options: tuple[str, ...]) -> None:
    with served(path, *options) as program:
        arguments = ["-m", "microweb", "run", "app:app", "--bind", f"unix:{path}", *options]
        with Program(*arguments, cwd=path.parent) as second:
            second.ends(1)
            assert f"unix:{path} is in use by " in second.err.rest()
        curl(path)
        program.stop()


@needs_curl
def test_file_of_a_killed_server_is_replaced(path: Path) -> None:
    with served(path) as program:
        program.stop(signal.SIGKILL, status=-signal.SIGKILL)
    assert path.is_socket()
    with served(path) as program:
        curl(path)
        program.stop()


def test_one_of_two_servers_that_start_together_has_the_path(path: Path) -> None:
    bind_unix(str(path), 0o660).close()  # both find a stale file
    source = (
        "import sys, time; from microweb.server.unix_sockets import bind_unix\n"
        "sys.stdin.readline()\n"
        f"try: bound = bind_unix({str(path)!r}, 0o660); print('bound', flush=True)\n"
        "except Exception as error: print('refused', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    for _ in range(5):
        with Program("-c", source) as one, Program("-c", source) as other:
            for program in (one, other):
                program.stdin.write("\n")
                program.stdin.flush()
            said = {program.out.wait_for("") for program in (one, other)}
            assert said == {"bound", "refused"}


NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream app {{ server unix:{folder}/app.sock; keepalive 8; }}
    server {{
        listen unix:{folder}/nginx.sock;
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}
}}
"""


@needs_curl
@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_client_and_scheme_behind_nginx(path: Path, options: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = path.with_name("nginx.conf")
    configuration.write_text(NGINX.format(folder=path.parent, port=port))
    with served(path, "--trusted-proxies", "unix", *options) as program:
        command = ["nginx", "-c", str(configuration), "-e", "stderr"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as nginx:
            try:
                wait_for_file(path.with_name("nginx.sock"))
                command = ["curl", "-qsS", "--fail", f"http://127.0.0.1:{port}/"]
                for _ in range(3):
                    answer = subprocess.check_output(command, encoding="ascii", timeout=DEADLINE_S)
                    assert answer == f"uid={os.getuid()} 127.0.0.1 https"
            finally:
                nginx.terminate()
        program.stop()


def wait_for_file(path: Path) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < ends_at
        time.sleep(0.01)
