"""How many CPUs this process may use: its affinity, and the quota of its control group."""

from __future__ import annotations

import os
from pathlib import Path

from .config import ServerConfig

_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the CPUs that this process may use, a quota rounded down, at least 1."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    return max(1, min([count, *_quotas(root, own)]))


def _quotas(root: Path, own: Path) -> list[int]:
    """Return the quotas of the control group and of those above it, in whole CPUs."""
    found = []
    for folder in _groups(root, own):
        try:
            quota, period = (folder / "cpu.max").read_text().split()  # version 2
        except (OSError, ValueError):
            try:
                quota = (folder / "cpu.cfs_quota_us").read_text()  # version 1
                period = (folder / "cpu.cfs_period_us").read_text()
            except OSError:
                continue
        if quota.strip() not in ("max", "-1"):
            found.append(int(quota) // int(period))
    return found


def _groups(root: Path, own: Path) -> list[Path]:
    """Return the folders of this process's control groups, and of all groups above them."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root if not controllers else root / controllers
        group = base / path.lstrip("/")
        folders += [group, *(each for each in group.parents if each.is_relative_to(base))]
    return folders


def worker_count(config: ServerConfig) -> int:
    """Return how many workers `config` asks for, with "auto" counted."""
    return available_cpus() if config.workers == "auto" else config.workers
