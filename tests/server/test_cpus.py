"""How many workers `auto` is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from microweb.server.cpus import available_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({}, 8),
        ({"app": "max 100000"}, 8),
        ({"app": "350000 100000"}, 3),
        ({"app": "20000 100000"}, 1),
        ({"": "200000 100000", "app": "max 100000"}, 2),
        ({"app": "malformed"}, 8),
    ],
)
def test_quota_of_version_2(quotas: dict[str, str], expected: int, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/app\n")
    (tmp_path / "app").mkdir()
    for group, quota in quotas.items():
        (tmp_path / group / "cpu.max").write_text(quota)
    assert available_cpus(tmp_path, own) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("250000", 2)])
def test_quota_of_version_1(quota: str, expected: int, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/app\n3:memory:/app\n")
    folder = tmp_path / "cpu,cpuacct" / "app"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path, own) == expected


def test_without_control_groups(tmp_path: Path) -> None:
    assert available_cpus(tmp_path, tmp_path / "missing") == 8


def test_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert available_cpus(tmp_path, tmp_path / "missing") == 3
