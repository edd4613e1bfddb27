"""The files whose change restarts the app."""

from __future__ import annotations

from pathlib import Path

import pytest

from microweb.development import watching
from microweb.development.watching import Watched, changes, is_watched


def test_files_of_the_app_and_below(tmp_path: Path) -> None:
    for name in (
        "app.py",
        "pkg/__init__.py",
        "templates/mail/hello.txt",
        "notes.txt",
        "__pycache__/app.py",
        ".git/hooks.py",
        "env/pyvenv.cfg",
        "env/lib/other.py",
        "node_modules/x.py",
        ".env",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    found = {str(Path(path).relative_to(tmp_path)) for path in Watched(tmp_path).scan()}
    assert found == {"app.py", "pkg/__init__.py", "templates/mail/hello.txt", ".env"}


def test_modules_elsewhere_with_the_folders_around_them(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root, other, other / "below"):
        folder.mkdir()
        (folder / "code.py").write_text("x")
    watched = Watched(root)
    watched.add([str(other / "code.py")], [])
    before = watched.scan()
    (other / "new.py").write_text("x")
    (other / "below" / "new.py").write_text("x")
    assert changes(before, watched.scan()) == [str(other / "new.py")]


@pytest.mark.parametrize("name", ["4913", ".app.py.swp", "app.py~", "#app.py#", ".#app.py"])
def test_temporary_files_of_editors(name: str) -> None:
    assert not is_watched(name, is_template=False)
    assert not is_watched(name, is_template=True)


def test_folders_that_are_too_many_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "b/c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").touch()
    monkeypatch.setattr(watching, "_MAX_FOLDERS", 4)  # the last one is the app's own
    assert len(Watched(tmp_path).scan()) == 3
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(watching, "_MAX_FOLDERS", 3)
    watched = Watched(tmp_path)
    for _ in range(2):
        assert len(watched.scan()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path} has more than 3 folders" in line


def test_all_files_in_a_folder_of_templates(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    (pages / "mail").mkdir(parents=True)
    (pages / "mail" / "hello.html").write_text("x")
    watched = Watched(tmp_path)
    assert watched.scan() == {}
    watched.add([], [str(pages)])
    assert list(watched.scan()) == [str(pages / "mail" / "hello.html")]
