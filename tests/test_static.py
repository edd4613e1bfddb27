from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT

from microweb import App, ConfigurationError, Request, Response, Router, static
from microweb.bodies.file_memo import KEPT_S, MAX_BYTES, FileMemo
from microweb.errors import LocalProtocolError
from microweb.http.mediatypes import IMMUTABLE
from microweb.static import HASHED_NAME, StaticFiles, redirect_to_folder

SECRET = "SECRET"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with files that may be served, and files in and beside it that must not."""
    files = {
        "site/index.html": "<p>home",
        "site/hello.txt": "hello",
        "site/docs/index.html": "<p>docs",
        "site/docs/a b.txt": "spaced",
        "site/bare/page.txt": "page",
        "site/.env": SECRET,
        "site/.git/config": SECRET,
        "site/docs/.hidden": SECRET,
        "secret.txt": SECRET,
        "site-other/secret.txt": SECRET,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "site"


class Clock:
    """The clock of kept files: a second passes at each look, until a test stops it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = KEPT_S

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture(autouse=True)
def running(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock under which each request gets the file of its moment."""
    clock = Clock()
    monkeypatch.setattr(static, "FileMemo", partial(FileMemo, clock))
    return clock


@pytest.fixture
def clock(running: Clock) -> Clock:
    """The same clock, stopped: a test moves it."""
    running.step = 0.0
    return running


async def ask(app: App, path: str, **fields: str) -> tuple[int, str]:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    async with app.test_client() as client:
        response = await client.get(path, headers=headers)
    return response.status_code, response.text


async def status_of_raw(app: App, target: str) -> int:
    """Return the status for a target that httpx would not send; check that nothing leaks."""
    async with app.test_client() as client:
        answer = await client.raw(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"))
    assert SECRET.encode() not in answer
    assert b"root:" not in answer
    return int(answer[9:12])


def serving(folder: Path, prefix: str = "/static", **options: object) -> App:
    app = App()
    app.static(prefix, folder, **options)  # type: ignore[arg-type]
    return app


# --- files that are served


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/static/hello.txt", "hello"),
        ("/static/docs/a%20b.txt", "spaced"),
        ("/static/", "<p>home"),
        ("/static/docs/", "<p>docs"),
        ("/static/hello.txt?v=3", "hello"),
    ],
)
async def test_file_is_served(site: Path, path: str, text: str) -> None:
    assert await ask(serving(site), path) == (200, text)


@pytest.mark.skipif(sys.getfilesystemencoding() != "utf-8", reason="needs names in UTF-8")
async def test_name_in_any_script(site: Path) -> None:
    (site / "docs" / "größe.txt").write_text("grown")
    assert await ask(serving(site), "/static/docs/gr%C3%B6%C3%9Fe.txt") == (200, "grown")


@pytest.mark.parametrize("prefix", ["/", "/assets", "/assets/", "/a/b"])
async def test_prefix(site: Path, prefix: str) -> None:
    app = serving(site, prefix)
    base = prefix.rstrip("/")
    assert await ask(app, f"{base}/hello.txt") == (200, "hello")
    assert await ask(app, f"{base}/") == (200, "<p>home")


async def test_routes_go_before_files(site: Path) -> None:
    app = serving(site, "/")

    @app.get("/hello.txt")
    async def hello() -> str:
        return "from a route"

    assert await ask(app, "/hello.txt") == (200, "from a route")
    assert await ask(app, "/docs/") == (200, "<p>docs")


async def test_head_ranges_and_conditions_work_as_for_any_file(site: Path) -> None:
    async with serving(site).test_client() as client:
        head = await client.head("/static/hello.txt")
        part = await client.get("/static/hello.txt", headers={"Range": "bytes=0-1"})
        same = await client.get("/static/", headers={"If-None-Match": "*"})
        other = await client.post("/static/hello.txt")
    assert (head.status_code, head.headers["content-length"]) == (200, "5")
    assert (part.status_code, part.text) == (206, "he")
    assert same.status_code == 304
    assert (other.status_code, other.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/static", "/static/"),
        ("/static/docs", "/static/docs/"),
        ("/static/docs?a=b", "/static/docs/?a=b"),
    ],
)
async def test_folder_without_its_slash_is_redirected(site: Path, path: str, location: str) -> None:
    async with serving(site).test_client() as client:
        response = await client.get(path)
    assert (response.status_code, response.headers["location"]) == (308, location)


async def test_redirect_stays_on_this_host(site: Path) -> None:
    app = App()

    @app.get("/{path:path}")
    async def folder(request: Request, path: str) -> Response:
        return redirect_to_folder(request)

    (site / "evil.example").mkdir()
    (site / "evil.example" / "index.html").touch()
    raw = b"GET //evil.example HTTP/1.1\r\nHost: a\r\n\r\n"
    async with app.test_client() as client:
        answer = await client.raw(raw)
    assert answer.startswith(b"HTTP/1.1 308 ")
    assert b"\r\nLocation: /evil.example/\r\n" in answer
    async with serving(site, "/").test_client() as client:
        assert (await client.raw(raw)).startswith(b"HTTP/1.1 404 ")
        moved = await client.get("/evil.example")
    assert (moved.status_code, moved.headers["location"]) == (308, "/evil.example/")


async def test_folders_are_not_listed(site: Path) -> None:
    app = serving(site)
    for path in ("/static/bare", "/static/bare/"):
        assert (await ask(app, path))[0] == 404
    assert await ask(app, "/static/bare/page.txt") == (200, "page")


async def test_folder_without_an_index_answers_for_its_files_alone(site: Path) -> None:
    app = serving(site / "bare")

    @app.get("/static/")
    async def mine() -> str:
        return "mine"

    assert await ask(app, "/static/") == (200, "mine")
    assert await ask(app, "/static/page.txt") == (200, "page")


def test_url_of_a_file(site: Path) -> None:
    app = serving(site)
    app.static("/uploads", site / "docs", name="uploads")
    assert app.url_for("static", path="css/a b.css") == "/static/css/a%20b.css"
    assert app.url_for("uploads", path="x.png") == "/uploads/x.png"


async def test_middleware_of_a_folder(site: Path) -> None:
    async def guard(request: Request, call_next: object) -> tuple[str, int]:
        return "members only", 403

    app = serving(site, use=[guard])
    for path in ("/static", "/static/", "/static/hello.txt", "/static/nothing"):
        assert await ask(app, path) == (403, "members only")


async def test_mounted_app_serves_files_below_its_prefix(site: Path) -> None:
    app, inner = App(), serving(site)
    app.mount("/inner", inner)
    async with app.test_client() as client:
        assert (await client.get("/inner/static/hello.txt")).text == "hello"
        moved = await client.get("/inner/static/docs")
    assert moved.headers["location"] == "/inner/static/docs/"


async def test_router_may_serve_files_by_the_endpoint(site: Path) -> None:
    app, router = App(), Router("/assets")
    router.get("/{path:path}")(StaticFiles(site).serve)
    app.include(router)
    assert await ask(app, "/assets/hello.txt") == (200, "hello")
    assert await status_of_raw(app, "/assets/../secret.txt") == 404


# --- paths that are not served


@pytest.mark.parametrize(
    "path",
    [
        "nothing.txt",
        "hello.txt/",
        "hello.txt/below",
        "../secret.txt",
        "../site/hello.txt",
        "docs/../hello.txt",
        "./hello.txt",
        "docs/./a%20b.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "..%5csecret.txt",
        "..\\secret.txt",
        "docs%5ca%20b.txt",
        "docs%2fa%20b.txt",
        "docs%2Fa%20b.txt",
        "%252e%252e/secret.txt",
        "..%c0%afsecret.txt",
        "../site-other/secret.txt",
        "../../../../../../../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "docs//a%20b.txt",
        "C:/Windows/win.ini",
        "C:%5cWindows%5cwin.ini",
        "file:///etc/passwd",
        "hello.txt%00",
        "hello.txt%00.png",
        "%00",
        ".env",
        ".git/config",
        ".git/",
        "docs/.hidden",
        "%2eenv",
        "~root",
        "x" * 300,
        "x/" * 2000,
        "hello.txt%20",
        "hello.txt.",
        "hello.txt::$DATA",
    ],
)
async def test_path_that_is_no_file_of_the_folder(site: Path, path: str) -> None:
    assert await status_of_raw(serving(site), f"/static/{path}") in (400, 404)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("../../secret.txt", 404),
        ("/etc/passwd", 404),
        ("../.env", 404),
        ("hello.txt", 200),
        ("../hello.txt", 200),  # relative to docs/, so inside
    ],
)
async def test_links_lead_nowhere_outside(site: Path, target: str, status: int) -> None:
    (site / "docs" / "link.txt").symlink_to(target)
    (site / "docs" / "hello.txt").write_text("hello")
    assert await status_of_raw(serving(site), "/static/docs/link.txt") == status


async def test_linked_folder_outside_is_not_entered(site: Path) -> None:
    (site / "out").symlink_to("..")
    (site / "away").symlink_to("../site-other")
    for path in ("out/secret.txt", "out/", "out", "away/secret.txt", "out/site/hello.txt"):
        expected = 200 if path == "out/site/hello.txt" else 404  # `out/site` is the folder again
        assert await status_of_raw(serving(site), f"/static/{path}") == expected


async def test_folder_that_is_a_link_itself_is_served(site: Path) -> None:
    (site.parent / "current").symlink_to(site)
    assert await ask(serving(site.parent / "current"), "/static/hello.txt") == (200, "hello")


@pytest.mark.parametrize("moved", [True, False])
async def test_link_to_a_new_folder_at_the_place_of_the_old_one(site: Path, moved: bool) -> None:
    """A file system may give a new folder the number of a deleted one."""
    current, release = site.parent / "current", site.parent / "release"
    shutil.move(site, release)
    current.symlink_to(release)
    app = serving(current)
    assert await ask(app, "/static/hello.txt") == (200, "hello")
    current.unlink()
    if moved:
        shutil.move(release, site.parent / "kept")
        current.symlink_to(site.parent / "kept")
        expected = "hello"
    else:
        shutil.rmtree(release)
        (site.parent / "next").mkdir()
        (site.parent / "next" / "hello.txt").write_text("new")
        current.symlink_to(site.parent / "next")
        expected = "new"
    release.mkdir()
    (release / "hello.txt").write_text("of no link")
    assert await ask(app, "/static/hello.txt") == (200, expected)


async def test_circle_of_links_is_404(site: Path) -> None:
    (site / "circle").symlink_to("circle")
    assert await status_of_raw(serving(site), "/static/circle") == 404


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
async def test_named_pipe_is_404(site: Path) -> None:
    os.mkfifo(site / "pipe")
    assert await status_of_raw(serving(site), "/static/pipe") == 404


async def test_compressed_neighbour_outside_is_not_served(site: Path) -> None:
    (site / "hello.txt.gz").symlink_to("../secret.txt")
    async with serving(site, precompressed=True).test_client() as client:
        response = await client.get("/static/hello.txt", headers={"Accept-Encoding": "gzip"})
    assert response.text == "hello"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("name", ["con", "NUL.txt", "com1", "hello.txt.", "hello.txt ", "a:b"])
def test_names_that_windows_takes_for_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert static._is_plain("console.txt")
    monkeypatch.setattr(static, "_IS_WINDOWS", True)
    monkeypatch.setattr(static, "_NOT_IN_NAMES", re.compile(static.NOT_IN_WINDOWS_NAMES))
    assert not static._is_plain(name)
    assert static._is_plain("console.txt")


# --- a folder that changes


def after_the_check(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], None], *, by_realpath: bool = False
) -> None:
    """Call `change` once, between the check of a path and the opening of the file.

    `realpath` checks a path with a link in it, and each path where no walk can be.
    """
    changes = [change]

    def changing(check: Callable[[str], Any]) -> Callable[[str], Any]:
        def check_and_change(path: str) -> Any:
            found = check(path)
            if str(path).endswith(".txt") and changes:
                changes.pop()()
            return found

        return check_and_change

    module, name = (os.path, "realpath") if by_realpath else (os, "lstat")
    monkeypatch.setattr(module, name, changing(getattr(module, name)))


def to_a_link(path: Path, target: str) -> None:
    path.rename(path.with_name("moved away"))
    path.symlink_to(target)


async def test_folder_that_becomes_a_link_behind_the_check(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "docs" / "secret.txt").write_text("public")
    app = serving(site)
    assert await ask(app, "/static/docs/secret.txt") == (200, "public")
    after_the_check(monkeypatch, lambda: to_a_link(site / "docs", "../../site-other"))
    (site.parent.parent / "site-other").mkdir()
    (site.parent.parent / "site-other" / "secret.txt").write_text(SECRET)
    assert await status_of_raw(app, "/static/docs/secret.txt") == 404
    assert (site / "docs").is_symlink()


async def test_file_that_becomes_a_link_behind_the_check(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = serving(site)
    after_the_check(monkeypatch, lambda: to_a_link(site / "hello.txt", "../secret.txt"))
    assert await status_of_raw(app, "/static/hello.txt") == 404
    assert (site / "hello.txt").is_symlink()


@pytest.mark.parametrize("can_walk", [True, False])
async def test_target_of_a_link_that_becomes_a_link_behind_the_check(
    site: Path, monkeypatch: pytest.MonkeyPatch, can_walk: bool
) -> None:
    (site / "docs" / "link.txt").symlink_to("../hello.txt")
    monkeypatch.setattr(static, "_CAN_WALK", can_walk)
    app = serving(site)
    change = partial(to_a_link, site / "hello.txt", "../secret.txt")
    after_the_check(monkeypatch, change, by_realpath=True)
    assert await status_of_raw(app, "/static/docs/link.txt") == 404
    assert (site / "hello.txt").is_symlink()


async def test_link_that_is_gone_behind_the_look_is_404(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "link.txt").symlink_to("hello.txt")
    read = os.readlink

    def remove_and_read(path: str, **options: Any) -> str:
        if os.path.basename(path) == "link.txt":
            os.unlink(path)
        return read(path, **options)

    app = serving(site)
    monkeypatch.setattr(os, "readlink", remove_and_read)
    assert await status_of_raw(app, "/static/link.txt") == 404


async def test_file_that_becomes_a_link_where_no_walk_can_be(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "_CAN_WALK", False)
    app = serving(site)
    change = partial(to_a_link, site / "hello.txt", "../secret.txt")
    after_the_check(monkeypatch, change, by_realpath=True)
    assert await status_of_raw(app, "/static/hello.txt") == 404
    assert (site / "hello.txt").is_symlink()


async def test_race_of_a_folder_against_a_link_leads_nowhere(site: Path) -> None:
    """A folder is replaced by a link, and back, while clients request its file."""
    (site / "docs" / "secret.txt").write_text("public")
    (site / "link").symlink_to("../site-other")
    is_over = threading.Event()

    def swap() -> None:
        docs, away, link = site / "docs", site / "away", site / "link"
        while not is_over.is_set():
            docs.rename(away)
            link.rename(docs)
            docs.rename(link)
            away.rename(docs)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        async with serving(site).test_client() as client:
            texts = [(await client.get("/static/docs/secret.txt")).text for _ in range(200)]
    finally:
        is_over.set()
        thread.join()
    assert SECRET not in texts
    assert "public" in texts


async def test_folder_that_is_built_anew_is_served(site: Path) -> None:
    app = serving(site)
    assert await ask(app, "/static/hello.txt") == (200, "hello")
    shutil.rmtree(site)
    assert (await ask(app, "/static/hello.txt"))[0] == 404
    site.mkdir()
    (site / "hello.txt").write_text("anew")
    assert await ask(app, "/static/hello.txt") == (200, "anew")


async def test_link_to_the_folder_may_be_turned(site: Path) -> None:
    (site.parent / "current").symlink_to("site")
    app = serving(site.parent / "current")
    assert await ask(app, "/static/hello.txt") == (200, "hello")
    (site.parent / "release").mkdir()
    (site.parent / "release" / "hello.txt").write_text("two")
    (site.parent / "next").symlink_to("release")
    (site.parent / "next").rename(site.parent / "current")
    assert await ask(app, "/static/hello.txt") == (200, "two")


async def test_absolute_link_that_stays_inside_is_followed(site: Path) -> None:
    (site / "docs" / "absolute.txt").symlink_to(site / "hello.txt")
    (site / "more").symlink_to(site / "docs")
    app = serving(site)
    assert await ask(app, "/static/docs/absolute.txt") == (200, "hello")
    assert await ask(app, "/static/more/a%20b.txt") == (200, "spaced")


@pytest.mark.skipif(os.getuid() == 0, reason="root may list any folder")
async def test_folder_that_one_may_pass_but_not_list(site: Path) -> None:
    (site / "docs").chmod(0o111)
    try:
        assert await ask(serving(site), "/static/docs/a%20b.txt") == (200, "spaced")
    finally:
        (site / "docs").chmod(0o755)


async def test_walk_leaves_nothing_open(site: Path) -> None:
    app = serving(site)
    async with app.test_client() as client:
        for path in ("docs/a%20b.txt", "docs/nothing", "docs/"):
            await client.get(f"/static/{path}")
        before = len(os.listdir("/dev/fd"))
        for path in ("docs/a%20b.txt", "docs/nothing", "docs/"):
            await client.get(f"/static/{path}")
        assert len(os.listdir("/dev/fd")) == before


def test_name_that_the_file_system_cannot_write_is_404(site: Path) -> None:
    program = f"""
import asyncio, sys
from microweb import App
assert sys.getfilesystemencoding() == "ascii"
app = App()
app.static("/static", {str(site)!r})

async def main():
    async with app.test_client() as client:
        for path in ("gr%C3%B6%C3%9Fe.txt", "docs/%F0%9F%98%80/a.txt", "hello.txt"):
            print((await client.get(f"/static/{{path}}")).status_code)

asyncio.run(main())
"""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**ENVIRONMENT, **ascii_only},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert told.stdout.split() == ["404", "404", "200"], told.stderr


# --- small files, which are kept for a second


def undated(answer: bytes) -> bytes:
    return re.sub(rb"\r\nDate: [^\r]*", b"", answer)


async def raw_answers(app: App, *targets: str, fields: str = "") -> list[bytes]:
    async with app.test_client() as client:
        return [
            undated(await client.raw(f"GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()))
            for target in targets
        ]


async def test_kept_file_is_answered_as_one_that_is_read(site: Path, clock: Clock) -> None:
    for path in ("hello.txt", "docs/a%20b.txt", "docs/", ""):
        app = serving(site, cache=60)
        first, second = await raw_answers(app, *[f"/static/{path}"] * 2)
        assert first == second
        assert b"\r\nCache-Control: max-age=60\r\n" in first
        assert b"\r\nContent-Type: text/" in first and b"\r\nETag: " in first


async def test_kept_file_needs_no_disk(
    site: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, opened = serving(site), list[str]()
    open_file = static._open
    monkeypatch.setattr(
        static, "_open", lambda entry: opened.append(entry.path) or open_file(entry)
    )
    for _ in range(3):
        assert await ask(app, "/static/hello.txt") == (200, "hello")
    assert len(opened) == 1
    clock.now += KEPT_S
    assert await ask(app, "/static/hello.txt") == (200, "hello")
    assert len(opened) == 2


def rewritten(path: Path) -> None:
    path.write_text("changed")


def swapped_by_a_link(path: Path) -> None:
    (path.parent / "new").symlink_to(path.parent.parent / "secret.txt")
    (path.parent / "new").rename(path)


def forbidden(path: Path) -> None:
    path.chmod(0)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (rewritten, (200, "changed")),
        (swapped_by_a_link, (404, "Not Found\n")),
        (Path.unlink, (404, "Not Found\n")),
        pytest.param(
            forbidden,
            (404, "Not Found\n"),
            marks=pytest.mark.skipif(os.getuid() == 0, reason="root may read any file"),
        ),
    ],
)
async def test_change_counts_after_a_second(
    site: Path, clock: Clock, change: Callable[[Path], None], answer: tuple[int, str]
) -> None:
    app = serving(site)
    assert await ask(app, "/static/hello.txt") == (200, "hello")
    change(site / "hello.txt")
    clock.now += KEPT_S / 2
    assert await ask(app, "/static/hello.txt") == (200, "hello")
    clock.now += KEPT_S / 2
    assert await ask(app, "/static/hello.txt") == answer
    assert await ask(app, "/static/hello.txt") == answer


async def test_folder_above_that_becomes_a_link_counts_after_a_second(
    site: Path, clock: Clock
) -> None:
    app = serving(site)
    (site.parent / "site-other" / "a b.txt").write_text(SECRET)
    assert await ask(app, "/static/docs/a%20b.txt") == (200, "spaced")
    to_a_link(site / "docs", "../site-other")
    clock.now += KEPT_S
    assert await status_of_raw(app, "/static/docs/a%20b.txt") == 404


async def test_link_that_leads_to_another_file_counts_after_a_second(
    site: Path, clock: Clock
) -> None:
    app = serving(site)
    (site / "link.txt").symlink_to("hello.txt")
    assert await ask(app, "/static/link.txt") == (200, "hello")
    (site / "next").symlink_to("bare/page.txt")
    (site / "next").rename(site / "link.txt")
    assert await ask(app, "/static/link.txt") == (200, "hello")
    clock.now += KEPT_S
    assert await ask(app, "/static/link.txt") == (200, "page")


async def test_missing_file_is_not_kept(site: Path, clock: Clock) -> None:
    app = serving(site)
    assert (await ask(app, "/static/new.txt"))[0] == 404
    (site / "new.txt").write_text("new")
    assert await ask(app, "/static/new.txt") == (200, "new")


async def test_debug_sees_each_change(site: Path, clock: Clock) -> None:
    app, outer = serving(site), App(debug=True)
    outer.mount("/inner", app)
    async with outer.test_client(base_url="http://localhost") as client:
        for text in ("one", "two", "three"):
            (site / "hello.txt").write_text(text)
            assert (await client.get("/inner/static/hello.txt")).text == text


async def test_conditions_ranges_and_head_see_each_change(site: Path, clock: Clock) -> None:
    app = serving(site)
    os.utime(site / "hello.txt", (1_000, 1_000))
    async with app.test_client() as client:
        old = await client.get("/static/hello.txt")
        tag, modified = old.headers["etag"], old.headers["last-modified"]
        same = await client.get("/static/hello.txt", headers={"If-None-Match": tag})
        (site / "hello.txt").write_text("changed")
        os.utime(site / "hello.txt", (2_000, 2_000))
        assert (await client.get("/static/hello.txt")).headers["etag"] == tag  # it is kept
        for fields, status, text in [
            ({"If-None-Match": tag}, 200, "changed"),
            ({"If-Modified-Since": modified}, 200, "changed"),
            ({"If-Match": tag}, 412, None),
            ({"If-Unmodified-Since": modified}, 412, None),
            ({"Range": "bytes=0-1"}, 206, "ch"),
            ({"Range": "bytes=0-1", "If-Range": tag}, 200, "changed"),
            ({"Range": "bytes=90-"}, 416, None),
        ]:
            answer = await client.get("/static/hello.txt", headers=fields)
            assert answer.status_code == status, fields
            assert text is None or answer.text == text
        head = await client.head("/static/hello.txt")
        again = await client.get("/static/hello.txt")
    assert same.status_code == 304
    assert (head.headers["content-length"], head.content) == ("7", b"")
    assert again.text == "hello"  # parts and conditional answers were not kept in its place


@pytest.mark.parametrize("fields", ["Range: bytes=0-1\r\n", 'If-None-Match: "x"\r\n'])
async def test_conditional_answer_is_not_kept(site: Path, clock: Clock, fields: str) -> None:
    app = serving(site)
    await raw_answers(app, "/static/hello.txt", fields=fields)
    (site / "hello.txt").write_text("changed")
    assert await ask(app, "/static/hello.txt") == (200, "changed")


async def test_head_is_not_kept(site: Path, clock: Clock) -> None:
    app = serving(site)
    async with app.test_client() as client:
        await client.head("/static/hello.txt")
        (site / "hello.txt").write_text("changed")
        assert (await client.get("/static/hello.txt")).text == "changed"


async def test_each_client_gets_its_coding_of_a_kept_file(packed: Path, clock: Clock) -> None:
    (packed / "app.js.br").write_bytes(b"in br")
    (packed / "app.js.zst").write_bytes(b"in zstd")
    app = serving(packed, precompressed=True)
    wanted = {"br": b"in br", "zstd": b"in zstd", "": b"let a = 1", "gzip;q=0": b"let a = 1"}
    for _ in range(2):
        for accept, content in wanted.items():
            (answer,) = await raw_answers(
                app, "/static/app.js", fields=f"Accept-Encoding: {accept}\r\n"
            )
            head, _, body = answer.partition(b"\r\n\r\n")
            assert body == content
            assert b"\r\nVary: Accept-Encoding" in head
            assert (b"\r\nContent-Encoding: " + accept.encode() in head) is (
                accept in ("br", "zstd")
            )
            assert b"\r\nContent-Type: text/javascript; charset=utf-8" in head


async def test_texts_of_accept_encoding_take_no_memory(packed: Path, clock: Clock) -> None:
    files, app = StaticFiles(packed, precompressed=True), App()
    files.add_to(app, "/static", name="static")
    sizes = set()
    async with app.test_client() as client:
        for number in range(20):
            headers = {"Accept-Encoding": f"br, x-{number}"}
            await client.head("/static/app.js", headers=headers)
            async with client.stream("GET", "/static/app.js", headers=headers) as response:
                assert response.headers["content-encoding"] == "br"
            sizes.add(files._memo.size)
    assert len(sizes) == 1


async def test_compressed_file_that_comes_or_goes_counts_after_a_second(
    packed: Path, clock: Clock
) -> None:
    app, fields = serving(packed, precompressed=True), "Accept-Encoding: br, gzip\r\n"
    for ending in (".br", ".zst", ".gz"):
        (packed / f"app.js{ending}").unlink()
    (plain,) = await raw_answers(app, "/static/app.js", fields=fields)
    assert plain.endswith(b"let a = 1") and b"Vary" not in plain
    (packed / "app.js.br").write_bytes(b"in br")
    assert await raw_answers(app, "/static/app.js", fields=fields) == [plain]
    clock.now += KEPT_S
    (coded,) = await raw_answers(app, "/static/app.js", fields=fields)
    assert coded.endswith(b"in br")
    (packed / "app.js.br").unlink()
    clock.now += KEPT_S
    assert await raw_answers(app, "/static/app.js", fields=fields) == [plain]


async def test_kept_file_is_new_for_each_client(site: Path, clock: Clock) -> None:
    app = serving(site)

    @app.after_request
    async def change(request: Request, response: Response) -> None:
        response.headers.add("X-For", request.query.get("name", ""))
        response.headers["Cache-Control"] = request.query.get("name", "")
        response.set_cookie("for", request.query.get("name", ""))
        del response.headers["ETag"]
        if request.query.get("name") == "ada":

            async def pieces() -> AsyncIterator[bytes]:
                yield b"for ada"

            response.pieces = pieces()

    async with app.test_client() as client:
        for name, text in [("bob", "hello"), ("ada", "for ada"), ("eve", "hello")] * 2:
            answer = await client.get("/static/hello.txt", params={"name": name})
            assert (answer.status_code, answer.text) == (200, text)
            assert answer.headers.get_list("x-for") == [name]
            assert answer.headers.get_list("cache-control") == [name]
            assert answer.headers.get_list("set-cookie") == [
                f"for={name}; Path=/; HttpOnly; SameSite=Lax"
            ]


async def test_middleware_guards_a_kept_file(site: Path, clock: Clock) -> None:
    async def guard(request: Request, call_next: Any) -> Any:
        if request.headers.get("x-member") != "1":
            return "members only", 403
        return await call_next(request)

    app = serving(site, use=[guard])
    assert await ask(app, "/static/hello.txt", x_member="1") == (200, "hello")
    assert await ask(app, "/static/hello.txt") == (403, "members only")
    assert await ask(app, "/static/hello.txt", x_member="1") == (200, "hello")


async def test_stream_of_a_kept_file_is_that_of_a_read_one(site: Path, clock: Clock) -> None:
    """Middleware sees no difference: both have pieces and are not compressed."""
    app, seen = serving(site), list[Any]()

    @app.middleware
    async def read(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        pieces = b"".join([piece async for piece in response.pieces])
        seen.append((pieces, type(response.source), response.headers.pairs()))
        with pytest.raises(LocalProtocolError, match="no whole body"):
            _ = response.body
        return response

    for _ in range(2):
        assert await ask(app, "/static/hello.txt") == (200, "hello")
    assert seen[0] == seen[1]
    assert seen[0][0] == b"hello"


async def test_same_name_in_two_folders_and_apps(site: Path, clock: Clock) -> None:
    (site / "docs" / "hello.txt").write_text("from docs")
    app, inner = serving(site), serving(site / "docs", cache=7)
    app.static("/docs", site / "docs", name="docs", cache="no-store")
    app.mount("/inner", inner)
    async with app.test_client() as client:
        for _ in range(2):
            answers = [
                await client.get(f"{prefix}/hello.txt")
                for prefix in ("/static", "/docs", "/inner/static")
            ]
            assert [(each.text, each.headers["cache-control"]) for each in answers] == [
                ("hello", "no-cache"),
                ("from docs", "no-store"),
                ("from docs", "max-age=7"),
            ]


@pytest.mark.parametrize(
    "path",
    [
        "docs%2fa%20b.txt",
        "docs//a%20b.txt",
        "./docs/a%20b.txt",
        "docs/a%20b.txt/",
        "docs%5ca%20b.txt",
    ],
)
async def test_other_spelling_of_a_kept_name(site: Path, clock: Clock, path: str) -> None:
    app = serving(site)
    for _ in range(2):
        assert await ask(app, "/static/docs/a%20b.txt") == (200, "spaced")
        assert await status_of_raw(app, f"/static/{path}") == 404


async def test_paths_of_the_fallback_take_no_memory(site: Path, clock: Clock) -> None:
    files, app = StaticFiles(site, fallback="index.html"), App()
    files.add_to(app, "", name="static")
    sizes = set()
    for number in range(5):
        assert await ask(app, f"/users/{number}") == (200, "<p>home")
        sizes.add(files._memo.size)
    assert len(sizes) == 1
    (site / "users").mkdir()
    (site / "users" / "3").write_text("three")
    assert await ask(app, "/users/3") == (200, "three")


@pytest.mark.parametrize(
    ("size", "is_kept"), [(0, False), (1, True), (65_536, True), (65_537, False)]
)
async def test_files_up_to_64_kib_are_kept(
    site: Path, clock: Clock, size: int, is_kept: bool
) -> None:
    app = serving(site)
    (site / "file.bin").write_bytes(b"a" * size)
    assert await ask(app, "/static/file.bin") == (200, "a" * size)
    (site / "file.bin").write_bytes(b"b" * size)
    text = ("a" if is_kept else "b") * size
    assert await ask(app, "/static/file.bin") == (200, text)


async def test_kept_files_of_a_folder_take_at_most_16_mib(site: Path, clock: Clock) -> None:
    files, app = StaticFiles(site), App()
    files.add_to(app, "/static", name="static")
    count = MAX_BYTES // 65_536 + 10
    for number in range(count):
        (site / f"{number}.bin").write_bytes(b"x" * 65_536)
    async with app.test_client() as client:
        for number in range(count):
            assert len((await client.get(f"/static/{number}.bin")).content) == 65_536
            assert files._memo.size <= MAX_BYTES
        for number in range(count):
            (site / f"{number}.bin").write_bytes(b"y")
        newest = (await client.get(f"/static/{count - 1}.bin")).content
        oldest = (await client.get("/static/0.bin")).content
    assert (len(newest), oldest) == (65_536, b"y")


async def test_kept_file_in_one_write_with_others(site: Path, clock: Clock) -> None:
    one = b"GET /static/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /static/docs/a%20b.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with serving(site).test_client() as client:
        answers = await client.raw(one * 3 + last)
    bodies = re.findall(rb"\r\n\r\n(hello|spaced)", answers)
    assert bodies == [b"hello"] * 3 + [b"spaced"]
    assert answers.count(b"Connection: close") == 1


# --- compressed files beside a file


@pytest.fixture
def packed(site: Path) -> Path:
    script = site / "app.js"
    script.write_text("let a = 1")
    os.utime(script, (1_000, 1_000))
    for ending in (".br", ".zst", ".gz"):
        neighbour = site / f"app.js{ending}"
        neighbour.write_bytes(gzip.compress(script.read_bytes()) if ending == ".gz" else b"x")
        os.utime(neighbour, (1_000, 1_000))
    return site


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("br;q=0.1, gzip", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
async def test_coding_is_chosen(packed: Path, accept: str, coding: str | None) -> None:
    async with serving(packed, precompressed=True).test_client() as client:
        headers = {"Accept-Encoding": accept}
        response = await client.head("/static/app.js", headers=headers)
        again = await client.get(
            "/static/app.js", headers={**headers, "If-None-Match": response.headers["etag"]}
        )
    assert response.headers.get("content-encoding") == coding
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["vary"] == "Accept-Encoding"
    assert again.status_code == 304
    assert again.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in again.headers


async def test_content_is_what_the_coding_says(packed: Path) -> None:
    assert await ask(
        serving(packed, precompressed=True), "/static/app.js", accept_encoding="gzip"
    ) == (
        200,
        "let a = 1",
    )


async def test_each_coding_has_a_tag_of_its_own(packed: Path) -> None:
    async with serving(packed, precompressed=True).test_client() as client:
        tags = {
            (await client.head("/static/app.js", headers={"Accept-Encoding": accept})).headers[
                "etag"
            ]
            for accept in ("br", "zstd", "gzip", "identity")
        }
    assert len(tags) == 4


async def test_range_is_of_what_is_sent(packed: Path) -> None:
    whole = (packed / "app.js.gz").read_bytes()
    async with (
        serving(packed, precompressed=True).test_client() as client,
        client.stream(
            "GET",
            "/static/app.js",
            headers={"Accept-Encoding": "gzip", "Range": "bytes=0-3"},
        ) as response,
    ):
        raw = b"".join([piece async for piece in response.aiter_raw()])
    assert response.headers["content-range"] == f"bytes 0-3/{len(whole)}"
    assert raw == whole[:4]


async def test_neighbour_that_is_older_is_not_sent(packed: Path) -> None:
    os.utime(packed / "app.js", (2_000, 2_000))
    async with serving(packed, precompressed=True).test_client() as client:
        response = await client.head("/static/app.js", headers={"Accept-Encoding": "br"})
    assert "content-encoding" not in response.headers
    assert "vary" not in response.headers


async def test_file_without_neighbours_does_not_vary(packed: Path) -> None:
    async with serving(packed, precompressed=True).test_client() as client:
        response = await client.head("/static/hello.txt", headers={"Accept-Encoding": "br"})
    assert "vary" not in response.headers


async def test_compressed_file_by_its_own_name_is_what_it_is(packed: Path) -> None:
    async with serving(packed, precompressed=True).test_client() as client:
        response = await client.head("/static/app.js.gz", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-type"] == "application/gzip"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("precompressed", [False, True])
async def test_compressed_picture_says_its_coding(packed: Path, precompressed: bool) -> None:
    picture = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    (packed / "a.svgz").write_bytes(gzip.compress(picture))
    (packed / "a.svgz.br").write_bytes(b"x")
    app = serving(packed, precompressed=precompressed)

    @app.get("/alone")
    async def alone() -> Response:
        return Response.file(packed / "a.svgz")

    async with app.test_client() as client:
        for path in ("/static/a.svgz", "/alone"):
            response = await client.get(path)
            assert response.headers["content-type"] == "image/svg+xml"
            assert response.headers["content-encoding"] == "gzip"
            assert response.content == picture


async def test_neighbour_alone_is_no_file(packed: Path) -> None:
    (packed / "app.js").unlink()
    assert (await ask(serving(packed, precompressed=True), "/static/app.js", accept_encoding="br"))[
        0
    ] == 404


async def test_neighbours_are_left_out_unless_asked_for(packed: Path) -> None:
    async with serving(packed).test_client() as client:
        response = await client.head("/static/app.js", headers={"Accept-Encoding": "br"})
    assert "content-encoding" not in response.headers


# --- applications that route in the browser


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/", "*/*", 200),
        ("/users/7", "*/*", 200),
        ("/users/7/", "text/html", 200),
        ("/users/john.doe", "text/html,application/xhtml+xml,*/*;q=0.8", 200),
        ("/bare", "*/*", 200),
        ("/assets/missing.js", "*/*", 404),
        ("/missing.png", "image/avif,image/webp,*/*", 404),
        ("/.env", "*/*", 404),
        ("/..%2fsecret", "text/html", 404),
    ],
)
async def test_fallback_answers_for_pages(site: Path, path: str, accept: str, status: int) -> None:
    app = serving(site, "/", fallback="index.html")
    got, text = await ask(app, path, accept=accept)
    assert got == status
    assert (text == "<p>home") is (status == 200)


async def test_fallback_varies_by_accept_and_the_file_itself_does_not(site: Path) -> None:
    app = serving(site, "/", fallback="index.html", cache=3600)
    async with app.test_client() as client:
        page = await client.get("/missing.js", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["Vary"]) == (200, "Accept")
        assert "Vary" not in (await client.get("/index.html")).headers
        page = await client.get("/users", headers={"If-None-Match": page.headers["ETag"]})
        assert (page.status_code, page.headers["Vary"]) == (304, "Accept")


async def test_files_go_before_the_fallback(site: Path) -> None:
    app = serving(site, "/", fallback="index.html")
    assert await ask(app, "/hello.txt") == (200, "hello")
    assert await ask(app, "/docs/") == (200, "<p>docs")


async def test_fallback_is_never_kept_for_a_year(site: Path) -> None:
    app = serving(site, "/", fallback="index.html", immutable="users")
    async with app.test_client() as client:
        response = await client.get("/users/7")
    assert response.headers["cache-control"] == "no-cache"


# --- caching


@pytest.mark.parametrize(
    ("name", "is_hashed"),
    [
        ("app.3f2a9c1b.js", True),
        ("css/site-0a1b2c3d4e5f.css", True),
        ("logo.d41d8cd98f00b204e9800998ecf8427e.svg", True),
        ("app.js", False),
        ("app.3f2a9c1.js", False),  # too short
        ("notes-20261001.txt", False),  # a date
        ("my-deadbeef.txt", False),  # a word
        ("photo-1024x768.jpg", False),
        ("3f2a9c1b/app.js", False),
        ("3f2a9c1b.js", False),
    ],
)
async def test_hashed_names_are_immutable(site: Path, name: str, is_hashed: bool) -> None:
    assert bool(re.search(HASHED_NAME, name)) is is_hashed
    (site / name).parent.mkdir(exist_ok=True)
    (site / name).touch()
    async with serving(site, immutable=True, cache=60).test_client() as client:
        response = await client.get(f"/static/{name}")
    assert response.headers["cache-control"] == (IMMUTABLE if is_hashed else "max-age=60")


async def test_immutable_by_a_pattern_of_ones_own(site: Path) -> None:
    async with serving(site, immutable="^docs/").test_client() as client:
        kept = await client.get("/static/docs/")
        asked = await client.get("/static/hello.txt")
    assert kept.headers["cache-control"] == "max-age=31536000, immutable"
    assert asked.headers["cache-control"] == "no-cache"


# --- wrong registrations


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no folder '/.*/nothing'"):
        App().static("/static", tmp_path / "nothing")


def test_fallback_that_is_not_there(site: Path) -> None:
    for name in ("nothing.html", "../secret.txt", "docs"):
        with pytest.raises(ConfigurationError, match="there is no file"):
            App().static("/", site, fallback=name)


def test_prefix_without_a_slash(site: Path) -> None:
    with pytest.raises(ConfigurationError, match="begin it with '/'"):
        App().static("static", site)


async def test_answer_is_a_response_that_middleware_may_touch(site: Path) -> None:
    app = serving(site)

    @app.after_request
    async def mark(request: Request, response: Response) -> None:
        response.headers["X-Mark"] = "1"

    async with app.test_client() as client:
        assert (await client.get("/static/hello.txt")).headers["x-mark"] == "1"


async def test_relative_folder_stands_beside_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / "assets").mkdir(parents=True)
    (tmp_path / "project" / "assets" / "a.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    app = App()
    names = {"__file__": str(tmp_path / "project" / "app.py"), "app": app}
    exec("app.static('/assets', 'assets')", names)
    async with app.test_client() as client:
        assert (await client.get("/assets/a.txt")).text == "hello"
