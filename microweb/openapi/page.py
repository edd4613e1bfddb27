"""The page that shows the document of an application: Swagger UI, all of it from this server.

`swagger_ui/` has the files of Swagger UI as its publisher made them, with their licences. The
page's policy allows only files of its own origin, and no inline script or style. So the URL of the
document stands in an attribute, which `page.js` reads. All URLs are relative, so that the page
works below the prefix of a proxy and in a mounted app. Content Security Policy Level 3.
"""

from __future__ import annotations

import gzip
import pkgutil
from collections.abc import Iterable
from functools import lru_cache, partial
from hashlib import sha256
from itertools import takewhile
from urllib.parse import quote

from ..concurrency.threads import run_short_work
from ..errors import ConfigurationError, NotFound
from ..http.mediatypes import IMMUTABLE, media_type_of
from ..http.negotiation import IDENTITY, choose_coding
from ..markup import html
from ..request import Request
from ..response import Response
from ..router import Middleware, Router

SWAGGER_UI = "5.35.0"  # the version of the files in `swagger_ui/`

# Name in the page's folder -> where it lies. The bundle's first line names its licences' file.
FILES = {
    "page.css": "page.css",
    "page.js": "page.js",
    "swagger-ui-bundle.js": "swagger_ui/swagger-ui-bundle.js",
    "swagger-ui-bundle.js.LICENSE.txt": "swagger_ui/swagger-ui-bundle.js.LICENSE.txt",
    "swagger-ui.css": "swagger_ui/swagger-ui.css",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{folder}/swagger-ui.css">
<link rel="stylesheet" href="{folder}/page.css">
<div id="swagger-ui" data-url="{document}"></div>
<noscript>This page needs JavaScript, <a href="{document}">the document</a> does not.</noscript>
<script src="{folder}/swagger-ui-bundle.js"></script>
<script src="{folder}/page.js"></script>
</html>
"""


def add_page(
    router: Router, path: str, document: str, *, title: str, use: Iterable[Middleware] = ()
) -> None:
    """Register the page at `path`, and its files below. `document` is the path of the document.

    Raises: ConfigurationError for a path with parameters.
    """
    for each in (path, document):
        if "{" in each:
            raise ConfigurationError(f"openapi: path {each!r:.80}: leave the parameters out")
    folder = f"{path.rstrip('/')}/{_build()}"
    page = html(
        _PAGE,
        title=title,
        folder=relative_url(path, folder),
        document=relative_url(path, document),
    )
    middleware = tuple(use)

    @router.get(path, name="openapi.page", use=middleware, documented=False)
    async def show() -> Response:
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return Response.html(page, headers=headers)

    files = router.get(f"{folder}/{{name}}", name="openapi.file", use=middleware, documented=False)
    files(send_file)


async def send_file(request: Request, name: str) -> Response:
    """Answer with a file of the page. Raises: NotFound."""
    if name not in FILES:
        raise NotFound
    coding = choose_coding(request.headers.get("accept-encoding", ""), ("gzip",))
    read = _compressed if coding == "gzip" else _read
    content = await run_short_work("a file of the page", partial(read, name))
    headers = {"Cache-Control": IMMUTABLE, "Vary": "Accept-Encoding"}
    if coding != IDENTITY:
        headers["Content-Encoding"] = coding
    return Response(content, headers=headers, content_type=media_type_of(name))


def relative_url(base: str, target: str) -> str:
    """Return the URL of the path `target` as a page at the path `base` writes it.

    RFC 3986 section 4.2: it begins with a dot, so a colon in its first segment ends no scheme.
    """
    folder, wanted = base.split("/")[1:-1], target.split("/")[1:]
    pairs = zip(folder, wanted[:-1], strict=False)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    up = [".."] * (len(folder) - shared) or ["."]
    return "/".join([*up, *(quote(segment, safe="") for segment in wanted[shared:])])


def _read(name: str) -> bytes:
    content = pkgutil.get_data(__package__, FILES[name])
    assert content is not None  # a loader that can read no files
    return content


@lru_cache
def _compressed(name: str) -> bytes:
    """Return a file in gzip, made once: 0.1 s for the bundle, of which 450 KiB are kept."""
    return gzip.compress(_read(name), mtime=0)


def _build() -> str:
    """Return a name that changes with the files, so that clients may keep them for a year."""
    own = sha256(_read("page.css") + _read("page.js")).hexdigest()
    return f"{SWAGGER_UI}-{own[:8]}"
