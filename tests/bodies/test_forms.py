"""Uploaded files: read, iterated, saved, in memory and on disk."""

from __future__ import annotations

import gc
import os
import stat
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from microweb import App, Headers, Request, UploadFile, from_thread
from microweb.bodies.forms import Files, Form, Spool
from microweb.errors import MissingValue

IN_MEMORY, ON_DISK = 1000, 3 << 20


async def upload_of(content: bytes, name: str = "a.bin") -> UploadFile:
    """Return the second of three files of a form."""
    spool = Spool()
    await spool.write(b"before")
    for at in range(0, len(content), 100_000):
        await spool.write(content[at : at + 100_000])
    await spool.write(b"behind")
    await spool.finish()
    return UploadFile(name, Headers(), spool, 6, len(content))


@pytest.mark.parametrize("size", [0, IN_MEMORY, 1 << 20, ON_DISK])
async def test_content_is_read_as_often_as_is_wanted(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    upload = await upload_of(content)
    for _ in range(2):
        assert await upload.read() == content
        pieces = [piece async for piece in upload]
        assert b"".join(pieces) == content
        assert all(0 < len(piece) <= 256 * 1024 for piece in pieces)
    saved = await upload.save(tmp_path / "saved")
    assert saved == tmp_path / "saved"
    assert saved.read_bytes() == content
    assert (upload.size, upload.content_type) == (size, "application/octet-stream")
    assert repr(upload) == f"<UploadFile 'a.bin', {size} bytes>"


async def test_a_dropped_file_does_not_warn_in_any_order_of_finalization() -> None:
    spool = Spool()
    cycle: list[object] = [spool]
    cycle.append(cycle)
    gc.freeze()  # objects that are made after this are finalized before the spool
    await spool.write(bytes(ON_DISK))
    gc.collect()
    gc.unfreeze()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del spool, cycle
        gc.collect()
    assert [str(each.message) for each in caught] == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts by /proc")
async def test_a_dropped_file_gives_its_descriptor_back() -> None:
    gc.collect()  # closes descriptors of earlier tests, which would be counted
    before = sorted(os.listdir("/proc/self/fd"))
    upload = await upload_of(bytes(ON_DISK))
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    del upload
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("size", [IN_MEMORY, ON_DISK])
async def test_save_replaces_only_when_told(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    upload = await upload_of(content)
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        await upload.save(str(target))
    assert target.read_bytes() == b"old"
    assert await upload.save(str(target), overwrite=True) == target
    assert target.read_bytes() == content
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("is_dangling", [True, False])
async def test_save_does_not_follow_a_link(is_dangling: bool, tmp_path: Path) -> None:
    upload = await upload_of(b"new")
    elsewhere = tmp_path / "elsewhere"
    if not is_dangling:
        elsewhere.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        await upload.save(link)
    await upload.save(link, overwrite=True)
    assert not link.is_symlink() and link.read_bytes() == b"new"
    assert elsewhere.exists() is not is_dangling
    assert is_dangling or elsewhere.read_bytes() == b"old"


@pytest.mark.parametrize("overwrite", [True, False])
async def test_a_save_that_fails_leaves_nothing(overwrite: bool, tmp_path: Path) -> None:
    upload = await upload_of(bytes(ON_DISK))
    upload.close()
    with pytest.raises(ValueError, match="the files of its form are closed"):
        await upload.save(tmp_path / "a", overwrite=overwrite)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        await upload.save(tmp_path / "missing" / "a", overwrite=overwrite)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
@pytest.mark.parametrize("overwrite", [True, False])
async def test_saved_files_have_the_usual_mode(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    saved = await (await upload_of(b"x")).save(tmp_path / "a", overwrite=overwrite)
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


async def test_files_of_a_form() -> None:
    first, second = await upload_of(b"1"), await upload_of(b"2")
    form = Form([("x", "y")], [("f", first), ("f", second), ("g", second)])
    files = form.files
    assert (files["f"], files.get("f"), files.get_all("f")) == (first, first, [first, second])
    assert files.get("h") is None and files.get("h", "none") == "none"
    assert "g" in files and "x" not in files
    assert files.pairs() == [("f", first), ("f", second), ("g", second)]
    assert isinstance(files, Mapping)
    assert (len(files), list(files), len(Files())) == (2, ["f", "g"], 0)
    assert dict(files) == dict(files.items()) == {"f": first, "g": second}
    with pytest.raises(MissingValue, match="expected a file for 'h'"):
        files["h"]
    with pytest.raises(KeyError):
        files["h"]


async def test_the_line_that_everyone_writes_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("uploads").mkdir()
    app = App()

    @app.post("/")
    async def keep(request: Request) -> str:
        upload = (await request.form()).files["f"]
        return str(await upload.save(f"uploads/{upload.filename}"))

    async with app.test_client() as client:
        for raw in ("../a", "/etc/passwd", "..\\..\\b", "..", ".ssh/authorized_keys", "C:\\c"):
            answer = await client.post("/", files={"f": (raw, b"x")})
            assert answer.status_code == 200
            assert Path(answer.text).parent == Path("uploads")
    names = sorted(path.name for path in Path("uploads").iterdir())
    assert names == ["a", "authorized_keys", "b", "c", "passwd", "unnamed"]
    assert [path.name for path in tmp_path.iterdir()] == ["uploads"]


async def test_a_plain_def_endpoint_saves(tmp_path: Path) -> None:
    app = App()

    @app.post("/")
    def keep(request: Request) -> str:
        form = from_thread(request.form())
        return str(from_thread(form.files["f"].save(tmp_path / "a")).stat().st_size)

    async with app.test_client() as client:
        answer = await client.post("/", files={"f": ("a", bytes(ON_DISK))})
    assert answer.text == str(ON_DISK)


async def test_plain_def_that_awaits_a_large_upload_needs_no_second_thread() -> None:
    app = App()

    @app.post("/")
    def size(request: Request) -> str:
        form = from_thread(request.form())
        return str(form.files["f"].size)

    async with app.serve(port=0, threads=1) as server, httpx.AsyncClient() as client:
        files = {"f": ("a.bin", bytes(3 << 20), "application/octet-stream")}
        assert (await client.post(server.url, files=files)).text == str(3 << 20)
