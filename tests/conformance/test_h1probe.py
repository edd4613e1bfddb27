"""The project's probe on its contract application: both live beside the repository."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support import contract_asgi
from support.certificates import authority
from support.over_tls import MisbehavingOverTLS
from support.processes import DEADLINE_S, ENVIRONMENT, Program

PROBE = Path(__file__).parents[2].parent / "shared" / "conformance"
ASGI = Path(contract_asgi.__file__)

# Groups of cases that an ASGI application does not have, and why. Closed.
NOT_OF_ASGI = {
    "files": "ranges and conditions of a file are features of `app.static`",
    "static": "so are the paths that lead out of a folder",
}

pytestmark = pytest.mark.skipif(
    not (PROBE / "h1probe.py").exists(), reason=f"no conformance probe in {PROBE}"
)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_every_case_passes(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [sys.executable, PROBE / "make_files.py", tmp_path]
    subprocess.run(made, check=True, capture_output=True, timeout=DEADLINE_S)
    monkeypatch.setitem(ENVIRONMENT, "CONTRACT_FILES", str(tmp_path))
    check(PROBE / "contract_app.py", loop)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_every_case_of_the_wire_passes_for_an_asgi_application(loop: str) -> None:
    check(ASGI, loop, "--groups", ",".join(f"!{group}" for group in NOT_OF_ASGI))


def check(app: Path, loop: str, *options: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Program(app, "0", loop) as program:
        address = urlsplit(program.urls()[0]).netloc
        probe = subprocess.run(
            [sys.executable, PROBE / "h1probe.py", address, "--show", "--fail", *options],
            env=ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
    assert probe.returncode == 0, probe.stdout + probe.stderr
    assert " 0 failed" in probe.stdout


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_every_case_passes_over_tls(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe speaks to a pipe of this test, which speaks TLS to the application."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    made = [sys.executable, PROBE / "make_files.py", tmp_path]
    subprocess.run(made, check=True, capture_output=True, timeout=DEADLINE_S)
    files = authority().issue(tmp_path)
    monkeypatch.setitem(ENVIRONMENT, "CONTRACT_FILES", str(tmp_path))
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_TLS_CERTIFICATE", files.certificate)
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_TLS_KEY", files.key)
    with Program(PROBE / "contract_app.py", "0", loop) as program:
        place = urlsplit(program.urls()[0])
        async with piping(place.hostname or "", place.port or 0) as address:
            probe = await asyncio.create_subprocess_exec(
                *(sys.executable, PROBE / "h1probe.py", address, "--show", "--fail"),
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            async with asyncio.timeout(300):
                output = (await probe.communicate())[0].decode()
    failed = re.findall(r"(?m)^(?:FAIL|not ok) .*", output)
    assert probe.returncode == 0, output + "\n".join(failed)
    assert " 0 failed" in output


@asynccontextmanager
async def piping(host: str, port: int) -> AsyncIterator[str]:
    """Yield the address of a port whose connections go to a TLS port."""
    open_pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_pipes.add(task)
        async with MisbehavingOverTLS(host, port, timeout_s=60) as peer:
            sending = asyncio.create_task(send(reader, peer))
            try:
                while data := await peer.receive():
                    writer.write(data)
                    await writer.drain()
            except (OSError, ssl.SSLError, TimeoutError):
                writer.transport.abort()
            finally:
                sending.cancel()
                writer.close()
        open_pipes.discard(task)

    async with await asyncio.start_server(pipe, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in open_pipes:
            task.cancel()
    await asyncio.gather(*open_pipes, return_exceptions=True)


async def send(reader: asyncio.StreamReader, peer: MisbehavingOverTLS) -> None:
    try:
        while data := await reader.read(65536):
            await peer.send(data)
        await peer.half_close()
    except ConnectionResetError:
        await peer.reset()
    except (OSError, ssl.SSLError):
        return  # the server has closed
