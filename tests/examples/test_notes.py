"""The notes site of the examples: the pages of each user, their privacy, and the layout."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING
from zlib import compress, crc32

import pytest
from support import browser
from support.processes import ENVIRONMENT, ROOT, Program, get

from microweb import App
from microweb.testing import TestClient, live_server

if TYPE_CHECKING:
    from httpx import Response
    from playwright.sync_api import Browser, Page

FOLDER = ROOT / "examples" / "notes"
MODULES = [path.stem for path in FOLDER.glob("*.py")]
NO_BROWSER = browser.why_not()

PASSWORD = "correct horse battery"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The site, imported anew, with its own folder."""
    monkeypatch.setenv("NOTES_FOLDER", str(tmp_path / "kept"))
    monkeypatch.setenv("SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz")
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    site: App = importlib.import_module("app").app
    monkeypatch.setattr("users.COST", 2)  # nearly every test registers a user
    yield site
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
async def client(app: App) -> AsyncIterator[TestClient]:
    async with app.test_client(follow_redirects=True) as client:
        yield client


@pytest.fixture
async def ada(client: TestClient) -> TestClient:
    """A client with which Ada has registered."""
    response = await register(client, "Ada")
    assert response.status_code == 200
    return client


async def register(client: TestClient, name: str, password: str = PASSWORD) -> Response:
    return await client.post("/register", data={"name": name, "password": password})


async def write(
    client: TestClient, title: str, text: str = "", file: tuple[str, bytes, str] | None = None
) -> Response:
    # A browser sends an empty name and content if the user chose no file.
    files = {"file": file or ("", b"", "application/octet-stream")}
    return await client.post("/", data={"title": title, "text": text}, files=files)


def png(width: int, height: int) -> bytes:
    """Return a picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", crc32(kind + data))

    rows = (b"\x00" + b"\x4a\x8f\xc7" * width) * height
    header = pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# Accounts


async def test_stranger_is_asked_to_log_in_and_sent_back(client: TestClient) -> None:
    await register(client, "Ada")
    shown = await write(client, "milk")
    await client.post("/logout")
    asked = await client.get(shown.url.path)
    assert asked.url.path == "/login"
    back = await client.post(str(asked.url), data={"name": "ada", "password": PASSWORD})
    assert back.url.path == shown.url.path
    assert "Welcome, Ada!" in back.text


@pytest.mark.parametrize("next", ["https://evil.example/", "//evil.example", "/\\evil.example"])
async def test_nobody_is_sent_to_another_site(app: App, next: str) -> None:
    async with app.test_client() as client:
        data = {"name": "Ada", "password": PASSWORD}
        response = await client.post("/register", params={"next": next}, data=data)
    assert (response.status_code, response.headers["location"]) == (303, "/")


async def test_flash_is_shown_once(ada: TestClient) -> None:
    await write(ada, "milk")
    assert "Your note is saved." not in (await ada.get("/")).text


@pytest.mark.parametrize(
    ("name", "password"), [("Ada", "wrong password"), ("Eve", PASSWORD), ("Ada", "")]
)
async def test_wrong_name_or_password_is_refused(ada: TestClient, name: str, password: str) -> None:
    await ada.post("/logout")
    response = await ada.post("/login", data={"name": name, "password": password})
    assert response.status_code == 422
    assert "Wrong name or password." in response.text
    assert re.search(r'name="password"[^>]* autofocus', response.text)  # the name is filled in
    assert (await ada.get("/")).url.path == "/login"


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("ADA", PASSWORD, "This name is taken."),
        ("  ", PASSWORD, "A name has"),
        ("Eve", "short", "A name has"),
    ],
)
async def test_registration_is_refused(
    ada: TestClient, name: str, password: str, problem: str
) -> None:
    response = await register(ada, name, password)
    assert response.status_code == 422
    assert problem in response.text


async def test_password_is_kept_as_a_hash(ada: TestClient, tmp_path: Path) -> None:
    kept = b"".join(path.read_bytes() for path in (tmp_path / "kept").glob("notes.sqlite3*"))
    assert b"Ada" in kept
    assert PASSWORD.encode() not in kept


async def test_guessing_is_slowed_down(client: TestClient) -> None:
    data = {"name": "Ada"}  # no password: refused before anything is hashed
    statuses = [(await client.post("/login", data=data)).status_code for _ in range(11)]
    assert statuses == [400] * 10 + [429]


# Notes


async def test_note_is_shown_escaped(ada: TestClient) -> None:
    await write(ada, "<b>milk</b>", "<script>alert(1)</script>")
    for path in ("/", (await write(ada, "<i>bread</i>", "<script>")).url.path):
        page = (await ada.get(path)).text
        assert "<script>" not in page
        assert "&lt;" in page


async def test_latest_note_comes_first(ada: TestClient) -> None:
    await write(ada, "milk")
    await write(ada, "bread")
    page = (await ada.get("/")).text
    assert 0 < page.index("bread") < page.index("milk")


async def test_note_without_title_is_asked_for_again(ada: TestClient) -> None:
    response = await write(ada, "  ", "a text that took long to write")
    assert response.status_code == 422
    assert "a text that took long to write</textarea>" in response.text


async def test_note_of_another_is_not_found(ada: TestClient, app: App, tmp_path: Path) -> None:
    path = (await write(ada, "secret", file=("a.png", png(1, 1), "image/png"))).url.path
    async with app.test_client(follow_redirects=True, lifespan=False) as eve:
        await register(eve, "Eve")
        assert "secret" not in (await eve.get("/")).text
        assert (await eve.get(path)).status_code == 404
        assert (await eve.get(f"{path}/file")).status_code == 404
        assert (await eve.post(f"{path}/delete")).status_code == 404
    assert (await ada.get(f"{path}/file")).content == png(1, 1)


async def test_deleted_note_is_gone_with_its_file(ada: TestClient, tmp_path: Path) -> None:
    path = (await write(ada, "milk", file=("a.txt", b"text", "text/plain"))).url.path
    assert len(list((tmp_path / "kept" / "uploads").iterdir())) == 1
    assert "The note is deleted." in (await ada.post(f"{path}/delete")).text
    assert (await ada.get(path)).status_code == 404
    assert list((tmp_path / "kept" / "uploads").iterdir()) == []


# Files


async def test_picture_is_shown_in_the_page(ada: TestClient) -> None:
    shown = await write(ada, "milk", file=("Milk.PNG", png(2, 2), "text/html"))
    assert f'<img src="{shown.url.path}/file"' in shown.text
    response = await ada.get(f"{shown.url.path}/file")
    assert response.headers["content-type"] == "image/png"
    assert response.headers["cache-control"].startswith("private")
    assert response.content == png(2, 2)


@pytest.mark.parametrize("name", ["page.html", "image.svg", "a.png.html", "program", "page.xhtml"])
async def test_other_file_is_only_saved(ada: TestClient, name: str) -> None:
    content = b"<script>alert(1)</script>"
    shown = await write(ada, "milk", file=(name, content, "text/html"))
    assert "<img src" not in shown.text.partition("<main>")[2]
    response = await ada.get(f"{shown.url.path}/file")
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.content == content


async def test_name_of_a_file_leads_nowhere(ada: TestClient, tmp_path: Path) -> None:
    shown = await write(ada, "milk", file=("../../../evil.png", png(1, 1), "image/png"))
    assert (await ada.get(f"{shown.url.path}/file")).status_code == 200
    (stored,) = (tmp_path / "kept" / "uploads").iterdir()
    assert stored.name == shown.url.path.removeprefix("/notes/")


async def test_file_that_is_too_large_is_refused(ada: TestClient, tmp_path: Path) -> None:
    response = await write(ada, "milk", file=("a.png", bytes(8 * 1024 * 1024), "image/png"))
    assert response.status_code == 413
    assert "<h1>Content Too Large</h1>" in response.text
    assert "up to 8 MiB" in response.text
    assert list((tmp_path / "kept" / "uploads").iterdir()) == []


# The site


async def test_another_site_can_change_nothing(ada: TestClient) -> None:
    path = (await write(ada, "milk")).url.path
    cross = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for target in ("/", "/logout", f"{path}/delete"):
        response = await ada.post(target, data={"title": "spam"}, headers=cross)
        assert (response.status_code, "Forbidden" in response.text) == (403, True)
    assert (await ada.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/nowhere", 404), ("/notes/7", 404), ("/static/site.css", 200)],
)
async def test_each_answer_is_under_the_policy(ada: TestClient, path: str, status: int) -> None:
    response = await ada.get(path)
    assert response.status_code == status
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_error_is_a_page_of_the_site(ada: TestClient) -> None:
    page = (await ada.get("/nowhere")).text
    assert "<h1>Not Found</h1>" in page
    assert 'class="name">Ada<' in page


async def test_pages_name_nothing_that_is_not_there(app: App) -> None:
    app.debug = True  # in debug mode templates are strict
    async with app.test_client(follow_redirects=True) as client:
        for path in ("/login", "/register"):
            assert (await client.get(path)).status_code == 200
            wrong = await client.post(path, data={"name": "Ada", "password": "wrong"})
            assert wrong.status_code == 422
        await register(client, "Ada")
        assert (await write(client, "")).status_code == 422
        for file in (None, ("a.png", png(1, 1), "image/png"), ("a.txt", b"", "text/plain")):
            assert (await write(client, "milk", file=file)).status_code == 200
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/nowhere")).status_code == 404


def test_site_starts_without_a_key_and_says_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "NOTES_FOLDER", str(tmp_path / "kept"))
    with Program("-m", "microweb", "run", FOLDER / "app.py", "--port", "0") as program:
        for url in program.urls():
            status, page = get(url, "/login")
            assert (status, "<h1>Log in</h1>" in page) == (200, True)
        program.stop()
        assert "SECRET_KEY is not set" in program.err.rest()
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


# In a browser


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


@pytest.fixture
def page(app: App, chromium: Browser) -> Iterator[Page]:
    """The site in a browser; an error in the browser fails the test."""
    with live_server(app) as server:
        context = chromium.new_context(base_url=server.url, viewport={"width": 1000, "height": 800})
        faults: list[str] = []

        def hear(kind: str, text: str) -> None:
            if kind in ("error", "warning"):  # a breach of the policy, a 404
                faults.append(text)

        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: hear(said.type, said.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        context.close()
    assert faults == []


def style_of(page: Page, selector: str, name: str) -> str:
    value = page.locator(selector).first.evaluate(
        "(element, name) => getComputedStyle(element)[name]", name
    )
    assert isinstance(value, str)
    return value


def sign_up(page: Page, name: str = "Ada") -> None:
    page.goto("/")
    page.get_by_role("link", name="Register").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    page.get_by_text(f"Welcome, {name}!").wait_for()


def keep_note(page: Page, title: str, text: str, name: str, content: bytes) -> None:
    page.get_by_label("Title").fill(title)
    page.get_by_label("Text").fill(text)
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.get_by_label("A picture or file").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Keep it").click()
    page.get_by_text("Your note is saved.").wait_for()


@pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")
def test_day_in_a_browser(page: Page) -> None:
    sign_up(page)
    keep_note(page, "Milk & <b>bread</b>", "from the corner shop", "shelf.png", png(64, 48))
    assert page.get_by_role("heading").inner_text() == "Milk & <b>bread</b>"
    picture = page.get_by_role("img", name="shelf.png")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    assert style_of(page, ".flash", "borderLeftWidth") == "4px"  # from the stylesheet

    page.get_by_role("link", name="All notes").click()
    assert page.locator(".flash").count() == 0
    assert page.locator(".notes h2").all_inner_texts() == ["Milk & <b>bread</b>"]

    page.get_by_role("button", name="Log out").click()
    page.get_by_text("You are logged out.").wait_for()
    page.goto("/")
    assert page.url.endswith("/login?next=%2F")


@pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")
def test_file_that_is_no_picture_is_downloaded(page: Page) -> None:
    sign_up(page)
    keep_note(page, "A page", "", "page.html", b"<script>alert(1)</script>")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="page.html").click()
    download = downloading.value
    assert download.suggested_filename == "page.html"
    assert Path(download.path()).read_bytes() == b"<script>alert(1)</script>"


@pytest.mark.skipif(NO_BROWSER is not None, reason=NO_BROWSER or "")
def test_site_fits_a_phone_and_the_dark(page: Page) -> None:
    page.goto("/login")
    light = style_of(page, "body", "backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert style_of(page, "body", "backgroundColor") != light
    page.set_viewport_size({"width": 320, "height": 640})
    sign_up(page, "Somebody with a name of forty characters")
    keep_note(page, "W" * 100, "long" * 200, "x" * 90 + ".png", png(900, 90))
    for path in (page.url, "/", "/register"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
