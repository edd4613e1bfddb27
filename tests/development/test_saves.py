"""Which files have been saved: once for each burst."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from microweb.development import waking
from microweb.development.link import Report
from microweb.development.saves import Saves
from microweb.development.watching import Watched


@pytest.fixture(autouse=True)
def without_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "watchfiles", None)


class Clock:
    """Looks at each time that `Saves` asks for, without waiting."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.saves = Saves(Watched(folder))

    def looks(self, count: int) -> list[list[str]]:
        """Return what the next looks have found."""
        return [self.look() for _ in range(count)]

    def look(self) -> list[str]:
        self.now = self.saves.look_at
        return [os.path.relpath(path, self.folder) for path in self.saves.look(self.now)]


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    (tmp_path / "app.py").write_text("old")
    clock = Clock(tmp_path)
    assert clock.looks(2) == [[], []]
    yield clock
    clock.saves.close()


def test_a_burst_counts_once(clock: Clock) -> None:
    (clock.folder / "app.py").write_text("new")
    assert clock.look() == []
    (clock.folder / "pages.py").write_text("new")
    assert clock.look() == []
    assert clock.looks(3) == [["app.py", "pages.py"], [], []]


def test_an_emptied_file_gets_time_to_be_written(clock: Clock) -> None:
    begun = clock.now
    (clock.folder / "app.py").write_text("")
    while clock.now < begun + 0.3:
        assert clock.look() == []
    (clock.folder / "app.py").write_text("new")
    assert clock.looks(3) == [[], ["app.py"], []]


def test_a_file_that_stays_empty_counts(clock: Clock) -> None:
    (clock.folder / "app.py").write_text("")
    assert ["app.py"] in clock.looks(20)


def test_files_that_never_rest_count_after_a_second(clock: Clock) -> None:
    begun, found = clock.now, list[str]()
    while not found:
        (clock.folder / "app.py").write_text(f"new {clock.now}")
        found = clock.look()
    assert 1.0 <= clock.now - begun < 1.5


def test_rename_over_the_file_and_deletion(clock: Clock) -> None:
    (clock.folder / "4913").write_text("probe")
    (clock.folder / "app.py~").write_text("backup")
    assert clock.looks(2) == [[], []]
    (clock.folder / "app.py~").replace(clock.folder / "app.py")
    assert clock.looks(2) == [[], ["app.py"]]
    (clock.folder / "app.py").unlink()
    assert ["app.py"] in clock.looks(20)


def test_same_size_within_a_second(clock: Clock) -> None:
    status = os.stat(clock.folder / "app.py")
    (clock.folder / "app.py").write_text("new")
    os.utime(clock.folder / "app.py", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert clock.looks(2) == [[], ["app.py"]]


def test_a_file_that_was_imported_is_no_change(clock: Clock, tmp_path: Path) -> None:
    other = tmp_path.parent / f"{tmp_path.name}_other.py"
    other.write_text("x")
    clock.saves.add(Report([str(other)], [], True))
    assert clock.looks(2) == [[], []]
    other.write_text("changed")
    assert clock.looks(2) == [[], [os.path.relpath(other, tmp_path)]]
    other.unlink()
