"""The figures of Linux about processes: workers, processor time, memory."""

from __future__ import annotations

import os
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Return the processes that `pid` has started: the workers of a supervisor."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptor_count(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor_s(pid: int) -> float:
    """Return the processor time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def tree_processor_s(pid: int) -> float:
    """Return the processor time of a process and of all its children."""
    return processor_s(pid) + sum(processor_s(child) for child in children_of(pid))


def pss_mib(pid: int) -> float:
    """Return the memory of a process in MiB, with its share of the pages that others have too."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no Pss in smaps_rollup")


def tree_pss_mib(pid: int) -> float:
    """Return the memory of a process and of its children, in MiB."""
    return pss_mib(pid) + sum(pss_mib(child) for child in children_of(pid))
