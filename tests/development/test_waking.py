"""Notices of the operating system that files may have changed."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import DEADLINE_S

from microweb.development import waking
from microweb.development.waking import Waker


@pytest.fixture
def waker() -> Iterator[Waker]:
    made = Waker()
    yield made
    made.close()


def is_woken(waker: Waker, timeout_s: float = DEADLINE_S) -> bool:
    ready, _, _ = select.select([waker], [], [], timeout_s)
    return bool(ready)


def test_each_write_in_a_folder_is_noticed(waker: Waker, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    below = tmp_path / "below"
    below.mkdir()
    assert waker.is_awake and not waker.is_due()
    for folders in ([tmp_path], [tmp_path, below]):
        waker.watch({str(folder) for folder in folders})
        for folder in folders:
            number = 0
            while not is_woken(waker, 0.1):  # the thread may still start
                number += 1
                (folder / "app.py").write_text(f"{number}")
            assert waker.is_due()
            while is_woken(waker, 0.3):
                waker.is_due()


def test_folder_that_can_give_no_notices(waker: Waker, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    waker.watch({os.fsdecode(bytes(tmp_path) + b"/\xff")})  # a name that is no UTF-8
    assert is_woken(waker)
    assert waker.is_due() and not waker.is_awake


def test_without_the_package(waker: Waker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "watchfiles", None)
    waker.watch({"/missing"})
    assert not waker.is_awake and not waker.is_due()
