"""The files whose change restarts the app, and what has changed among them.

These are the `.py` files and `.env` files in the folder of the app and below, and in the folders of
all modules that the app has imported; all files in the folders of its templates; and a few named
files, such as pyproject.toml. Installed packages and files of the app's data are not among them.

A scan notes time, size and inode of each file, and two scans are compared. So it does not matter
how an editor saves: by a rename, by writing into the file, or over temporary files.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..server.console import say

Stamp = tuple[int, int, int]

_MAX_FOLDERS = 2000  # below the app: its folder may be a whole home directory
_SHARE = 0.007  # of the processor that scans may take: with the rest of a turn, 1 %
_MIN_INTERVAL_S, _MAX_INTERVAL_S = 0.2, 5.0

_OTHERS = ("__pycache__", "node_modules", "site-packages")
_TEMPLATES = "templates"
_VIRTUAL_ENVIRONMENT = "pyvenv.cfg"


class Watched:
    """The files of an app below `root`, the `named` ones, and those that `add` is told of."""

    def __init__(self, root: Path, named: Iterable[Path] = ()) -> None:
        self.folders: set[str] = set()  # that the last scan has read
        self.interval_s = _MIN_INTERVAL_S  # until the next scan
        self._is_cut = False  # there are more folders than a scan reads
        self._root = str(root)
        self._named = {str(path) for path in named}
        self._files: set[str] = set()
        self._templates: set[str] = set()

    def add(self, files: Iterable[str], templates: Iterable[str]) -> None:
        """Watch these files with the folders around them, and these folders of templates."""
        self._files.update(files)
        self._templates.update(templates)

    def scan(self) -> dict[str, Stamp]:
        """Return the stamp of each file."""
        begun = time.thread_time()
        self.folders = {os.path.dirname(path) for path in self._named}
        found: dict[str, Stamp] = {}
        for path in self._files | self._named:
            _note(path, found)
        for folder in {os.path.dirname(path) for path in self._files}:
            self._read(folder, found, is_template=False)
        for folder in self._templates:
            for _ in self._walk(folder, found, is_template=True):
                pass
        walk = self._walk(self._root, found, is_template=False)
        for count, _ in enumerate(walk):
            if count == _MAX_FOLDERS:  # this one is not read
                self._tell_cut()
                break
        spent_s = time.thread_time() - begun
        self.interval_s = min(max(spent_s / _SHARE, _MIN_INTERVAL_S), _MAX_INTERVAL_S)
        return found

    def _tell_cut(self) -> None:
        if not self._is_cut:
            self._is_cut = True
            say(
                f"{self._root} has more than {_MAX_FOLDERS} folders: only modules that the app "
                "has imported are watched in the others",
                sys.stderr,
            )

    def _walk(self, folder: str, found: dict[str, Stamp], *, is_template: bool) -> Iterator[str]:
        """Read a folder and those below it, the upper ones first; yield each before it is read."""
        todo = [(folder, is_template)]
        for path, has_templates in todo:
            yield path
            for below in self._read(path, found, is_template=has_templates):
                todo.append((below, has_templates or os.path.basename(below) == _TEMPLATES))

    def _read(self, folder: str, found: dict[str, Stamp], *, is_template: bool) -> list[str]:
        """Note the files of a folder; return the folders in it."""
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError:  # it is gone, or not ours
            return []
        if any(entry.name == _VIRTUAL_ENVIRONMENT for entry in listed):
            return []
        self.folders.add(folder)
        below = []
        for entry in listed:
            if is_watched(entry.name, is_template=is_template):
                _note(entry.path, found)
            elif _may_be_read(entry.name) and entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
        return below


def is_watched(name: str, *, is_template: bool) -> bool:
    """Return whether a change of a file with this name restarts the app."""
    if name.startswith("."):
        return name == ".env" or name.startswith(".env.")
    if name.startswith("#") or name.endswith("~"):  # an editor's own
        return False
    return name.endswith(".py") or (is_template and "." in name and not name.endswith(".pyc"))


def changes(before: Mapping[str, Stamp], after: Mapping[str, Stamp]) -> list[str]:
    """Return the files that are new, gone or changed."""
    return sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )


def _may_be_read(folder: str) -> bool:
    return not folder.startswith(".") and folder not in _OTHERS


def _note(path: str, found: dict[str, Stamp]) -> None:
    try:
        status = os.stat(path)
    except OSError:
        return  # it is gone
    found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
