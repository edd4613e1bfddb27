"""Descriptors that are reserved within the limit of this process."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from microweb.concurrency import descriptors
from microweb.concurrency.descriptors import MIN_SPARE, Spare, spare_descriptors, take_descriptor

Limit = Callable[[int], None]


@pytest.fixture
def limit() -> Iterator[Limit]:
    """Set the limit of open files of this process; restore it at the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda files: resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("files", "amount"), [(128, 64), (200, MIN_SPARE), (1024, MIN_SPARE), (4096, 256)]
)
def test_spare_are_the_last_ones_below_the_limit(limit: Limit, files: int, amount: int) -> None:
    limit(files)
    assert spare_descriptors() == Spare(amount, files - amount)


def test_without_a_limit_no_number_is_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = Spare(MIN_SPARE, float("inf"))
    with monkeypatch.context() as patched:
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        patched.setattr(resource, "getrlimit", lambda kind: infinite)
        assert spare_descriptors() == unlimited
    monkeypatch.setattr(descriptors, "resource", None)  # as on Windows
    assert spare_descriptors() == unlimited


def test_descriptor_that_is_taken_is_a_spare_one(limit: Limit, tmp_path: Path) -> None:
    limit(1024)
    file = open(tmp_path / "upload", "w+b")  # noqa: SIM115
    file.write(b"content")
    file.flush()
    number = take_descriptor(file)
    try:
        assert file.closed
        assert 1024 - MIN_SPARE <= number < 1024
        assert os.pread(number, 100, 0) == b"content"
        assert not os.get_inheritable(number)
    finally:
        os.close(number)


def test_descriptor_beyond_a_large_table_is_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a number near a limit of 1,000,000, the kernel's table would have as many entries."""
    monkeypatch.setattr(descriptors, "spare_descriptors", lambda: Spare(62_500, 937_500))
    number = take_descriptor(open(os.devnull, "rb"))  # noqa: SIM115
    try:
        assert number < 1 << 16
        assert not os.get_inheritable(number)
    finally:
        os.close(number)


def test_descriptor_is_any_if_no_spare_one_is_left(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(1024)
    monkeypatch.setattr(descriptors, "spare_descriptors", lambda: Spare(0, 1024))
    number = take_descriptor(open(os.devnull, "rb"))  # noqa: SIM115
    try:
        assert number < 1024
    finally:
        os.close(number)
