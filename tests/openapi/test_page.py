"""The page of the document: its files, its policy, and its work in a browser without a network."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, urljoin
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import browser
from support.nginx import IS_INSTALLED, nginx
from support.processes import DEADLINE_S, ENVIRONMENT, ROOT

import microweb.openapi.page
from microweb import App, Handler, Request, Response, Router
from microweb.errors import ConfigurationError, Unauthorized
from microweb.middleware.authentication import BearerAuth
from microweb.middleware.compression import Compression
from microweb.middleware.security import SecurityHeaders
from microweb.openapi.page import FILES, POLICY, SWAGGER_UI, add_page, relative_url
from microweb.testing import live_server
from microweb.typed import Json, Meta

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from playwright.sync_api import Route as PlaywrightRoute

FOLDER = Path(microweb.openapi.page.__file__).parent
NO_BROWSER = browser.why_not()
TITLE = "Notes </script><script>document.title = 'taken'</script>"

# Of swagger-ui-dist 5.35.0, as npm has it.
HASHES = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


# --- the files of Swagger UI ----------------------------------------------------------


@pytest.mark.parametrize("name", HASHES)
def test_the_files_are_those_of_the_publisher(name: str) -> None:
    assert sha256((FOLDER / "swagger_ui" / name).read_bytes()).hexdigest() == HASHES[name]


def test_the_version_is_that_of_the_files() -> None:
    bundle = (FOLDER / "swagger_ui/swagger-ui-bundle.js").read_text("utf-8")
    assert re.findall(r'PACKAGE_VERSION:"([\d.]+)"', bundle) == [SWAGGER_UI]


def test_the_licences_are_beside_the_files() -> None:
    licence = (FOLDER / "swagger_ui/LICENSE").read_text()
    assert "Apache License\n" in licence and "Version 2.0, January 2004" in licence
    assert "SmartBear Software" in (FOLDER / "swagger_ui/NOTICE").read_text()
    bundle = (FOLDER / "swagger_ui/swagger-ui-bundle.js").read_text("utf-8")
    (named,) = re.findall(r"^/\*! For license information please see (\S+) \*/", bundle)
    assert "MIT" in (FOLDER / "swagger_ui" / named).read_text("utf-8")
    assert named in FILES


def test_the_package_names_both_licences() -> None:
    assert metadata("microweb")["License-Expression"] == "MIT AND Apache-2.0"


# --- answers --------------------------------------------------------------------------


def app_with_page(path: str = "/docs", document: str = "/openapi.json") -> App:
    app = App()
    add_page(app, path, document, title=TITLE)
    return app


async def test_the_page_has_a_strict_policy_and_nothing_inline() -> None:
    async with app_with_page().test_client() as client:
        answer = await client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-cache"
    assert "&lt;script&gt;" in answer.text
    assert re.findall(r"<script(?! src=\"[^\"]+\"></script>)", answer.text) == []
    assert "<style" not in answer.text and " style=" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/", "/internal/api docs/", "/a/b:c"])
async def test_each_file_is_compressed_and_never_asked_for_again(path: str) -> None:
    async with app_with_page(path).test_client() as client:
        page = await client.get(quote(path))
        found = re.findall(r'(?:href|src)="(\./[^"]+(?:css|js))"', page.text)
        assert len(found) == 4
        for url in found:
            packed = await client.get(urljoin(str(page.url), url))
            plain = await client.get(packed.url, headers={"accept-encoding": "identity"})
            assert packed.headers["content-encoding"] == "gzip"
            assert "content-encoding" not in plain.headers
            assert packed.content == plain.content
            assert len(gzip.compress(plain.content, 6)) >= int(packed.headers["content-length"]) - 9
            for answer in (packed, plain):
                assert answer.headers["cache-control"] == "max-age=31536000, immutable"
                assert answer.headers["vary"] == "Accept-Encoding"


async def test_the_licences_of_the_bundle_are_beside_it() -> None:
    async with app_with_page().test_client() as client:
        page = await client.get("/docs")
        (bundle,) = re.findall(r'src="([^"]+bundle.js)"', page.text)
        answer = await client.get(f"/{bundle}.LICENSE.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "MIT License" in answer.text


@pytest.mark.parametrize("name", ["LICENSE", "page.py", "%2e%2e/page.py", "..%2fpage.py", ""])
async def test_another_file_is_not_found(name: str) -> None:
    async with app_with_page().test_client() as client:
        page = await client.get("/docs")
        (folder,) = re.findall(r'src="\./([^"]+)/page.js"', page.text)
        answer = await client.get(f"/{folder}/{name}")
    assert answer.status_code == 404


async def test_a_head_request_has_the_length_of_the_file() -> None:
    async with app_with_page().test_client() as client:
        page = await client.get("/docs")
        (url,) = re.findall(r'src="\.([^"]+page.js)"', page.text)
        answer = await client.head(url)
        assert answer.headers["content-length"] == (await client.get(url)).headers["content-length"]


async def test_middleware_of_the_page_is_around_its_files_too() -> None:
    async def refuse(request: Request, call_next: Handler) -> Response:
        raise Unauthorized

    app, closed = app_with_page(), App()
    add_page(closed, "/docs", "/openapi.json", title=TITLE, use=[refuse])
    async with app.test_client() as client:
        text = (await client.get("/docs")).text
    (url,) = re.findall(r'src="\.([^"]+page.js)"', text)
    async with closed.test_client() as client:
        assert (await client.get("/docs")).status_code == 401
        assert (await client.get(url)).status_code == 401


async def test_middleware_of_the_app_keeps_the_policy_and_codes_nothing_twice() -> None:
    app = app_with_page()
    app.use(SecurityHeaders())
    app.use(Compression())
    async with app.test_client() as client:
        page = await client.get("/docs")
        (url,) = re.findall(r'src="\.([^"]+bundle.js)"', page.text)
        bundle = await client.get(url)
    assert page.headers["content-security-policy"] == POLICY
    assert page.headers["x-content-type-options"] == "nosniff"
    assert sha256(bundle.content).hexdigest() == HASHES["swagger-ui-bundle.js"]


@pytest.mark.parametrize(("path", "document"), [("/{a}/docs", "/d"), ("/docs", "/{a}/d")])
def test_a_path_with_parameters_is_refused(path: str, document: str) -> None:
    with pytest.raises(ConfigurationError, match="leave the parameters out"):
        add_page(App(), path, document, title=TITLE)


SEGMENTS = st.lists(st.text("ab:/ %?#.", min_size=1).filter(lambda text: "." not in text))
PATHS = SEGMENTS.map("/".join).map(lambda path: re.sub("/+", "/", f"/{path}"))


@given(PATHS, PATHS)
def test_a_relative_url_leads_to_the_target(base: str, target: str) -> None:
    url = f"https://a.example/prefix{quote(base)}"
    assert urljoin(url, relative_url(base, target)) == f"https://a.example/prefix{quote(target)}"


def test_import_of_microweb_imports_no_page() -> None:
    command = "import sys, microweb; print(*(name for name in sys.modules if 'openapi' in name))"
    ended = subprocess.run(
        [sys.executable, "-c", command], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("\n", "")


def test_a_wheel_has_the_files(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=60)
    (path,) = tmp_path.glob("*.whl")
    with ZipFile(path) as wheel:
        for name in [*FILES.values(), "swagger_ui/LICENSE", "swagger_ui/NOTICE"]:
            assert wheel.read(f"microweb/openapi/{name}") == (FOLDER / name).read_bytes()


# --- in a browser ---------------------------------------------------------------------


@dataclass
class Note:
    text: Annotated[str, Meta(min_length=1, examples=("milk",))]


def app_in_use(description: str = "") -> App:
    app = App()
    router = Router("/notes", use=[BearerAuth(["sesame"])])

    @router.post("")
    async def add(note: Json[Note]) -> tuple[Note, Literal[201]]:
        """Add a note."""
        return note, 201

    app.include(router)
    app.openapi(TITLE, "1", description=description)
    return app


@pytest.fixture
def chromium() -> Iterator[Browser]:
    if NO_BROWSER:
        pytest.skip(NO_BROWSER)
    with browser.chromium() as started:
        yield started


WATCH = """
window.faults = [];
addEventListener("securitypolicyviolation",
  e => faults.push(`${e.violatedDirective} ${e.blockedURI}`));
addEventListener("error", e => faults.push(`error ${e.message}`));
"""


def open_page(chromium: Browser, origin: str, path: str, **options: Any) -> tuple[Page, list[str]]:
    """Return the page in a browser that reaches only `origin`, and the list of its failures."""
    failures: list[str] = []
    context = chromium.new_context(viewport={"width": 1200, "height": 1000}, **options)

    def cut(route: PlaywrightRoute) -> None:
        failures.append(f"request {route.request.url}")
        route.abort()

    context.route(lambda url: not url.startswith((origin, "data:")), cut)
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(DEADLINE_S * 1000)
    page.on("console", lambda message: failures.append(f"{message.type} {message.text}"))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(origin + path)
    return page, failures


def authorize(page: Page) -> None:
    page.click("button.authorize")
    page.fill(".auth-container input", "sesame")
    page.click(".auth-btn-wrapper button[type=submit]")
    page.click(".auth-btn-wrapper button.btn-done")


def execute(page: Page) -> str:
    """Send the request that the page suggests, and return the status that the page shows."""
    authorize(page)
    page.click(".opblock-summary-control")
    page.click("button.execute")
    return page.inner_text(".live-responses-table tbody .response-col_status")


def assert_it_works(page: Page, failures: list[str]) -> None:
    assert execute(page) == "201"
    assert page.title() == TITLE
    assert TITLE in page.inner_text("h1.title, h2.title")
    assert page.evaluate("faults") == []
    assert failures == []


def test_it_works_without_a_network_and_breaks_no_policy(chromium: Browser) -> None:
    with live_server(app_in_use()) as server:
        assert_it_works(*open_page(chromium, server.url, "/docs"))


def test_it_works_in_a_mounted_app(chromium: Browser) -> None:
    site = App()
    site.mount("/v1", app_in_use())
    with live_server(site) as server:
        assert_it_works(*open_page(chromium, server.url, "/v1/docs"))


@pytest.mark.skipif(not IS_INSTALLED, reason="needs nginx")
def test_it_works_below_a_prefix_that_nginx_removes(chromium: Browser) -> None:
    with live_server(app_in_use()) as server, nginx(server.port, prefix="/api/") as (port, _):
        assert_it_works(*open_page(chromium, f"http://127.0.0.1:{port}", "/api/docs"))


def test_a_description_runs_no_script(chromium: Browser) -> None:
    text = "<img src=data:, onerror=window.taken=1><script>window.taken=1</script> *Notes*"
    with live_server(app_in_use(text)) as server:
        page, _ = open_page(chromium, server.url, "/docs")
        assert page.inner_text(".description em") == "Notes"
        assert page.evaluate("window.taken") is None


def test_a_policy_that_is_broken_is_noticed(chromium: Browser) -> None:
    """So that the tests above can fail."""
    app = App()
    headers = {"Content-Security-Policy": POLICY}

    @app.get("/docs")
    async def show() -> Response:
        return Response.html("<script>1</script><img src=https://a.example/x>", headers=headers)

    with live_server(app) as server:
        page, failures = open_page(chromium, server.url, "/docs")
        assert {fault.split()[0] for fault in page.evaluate("faults")} == {
            "script-src-elem",
            "img-src",
        }
        assert failures


def test_its_colours_follow_the_system(chromium: Browser) -> None:
    with live_server(app_in_use()) as server:
        page, _ = open_page(chromium, server.url, "/docs", color_scheme="dark")
        assert page.get_attribute("html", "class") == "dark-mode"
        page.emulate_media(color_scheme="light")
        page.wait_for_selector("html:not(.dark-mode)")
