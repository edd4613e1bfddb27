"""A server in its own process, and the operating system's figures of it."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.processes import Program

HERE = Path(__file__).parent

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
on_both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class MeasuredServer(Program):
    """An application beside this file, on `loop`, with further arguments."""

    def __init__(self, loop: str, *arguments: str, app: str = "measured_app.py") -> None:
        if loop == "uvloop":
            pytest.importorskip("uvloop")
        super().__init__(HERE / app, loop, *arguments)
        self._proc = Path(f"/proc/{self.process.pid}")

    @cached_property
    def url(self) -> str:
        """The URL of the server."""
        return self.urls()[0]

    @property
    def address(self) -> tuple[str, int]:
        """The address of the server as (host, port)."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None and parts.port is not None
        return parts.hostname, parts.port

    def open_files(self) -> int:
        return len(os.listdir(self._proc / "fd"))

    def threads(self) -> int:
        return len(os.listdir(self._proc / "task"))

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        return int((self._proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def reset_peak(self) -> None:
        """Reset `peak_bytes` to the memory in use."""
        (self._proc / "clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """Return the maximum of resident memory since `reset_peak`."""
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")
