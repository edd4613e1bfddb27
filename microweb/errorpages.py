"""The default answer to an error without a handler, in the form that the client prefers.

A browser gets a short page, a client that prefers JSON gets problem details (RFC 9457), any other
client gets plain text, or problem details on a route that uses JSON. All three have the status and
the detail of an HTTPError, and nothing internal. The debug answer is in `debug.page`, which is
imported only in debug mode.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Literal

from .bodies.body import RequestInfo
from .bodies.json import encode_json
from .errors import HTTPError, HTTPSExpected, ProtocolError, has_only_faults
from .faults import json_of, shown
from .http.headers import MutableHeaders
from .http.mediatypes import HTML, TEXT
from .http.negotiation import parse_accept
from .http.response_head import HeadCache, phrase_of
from .markup import HTMLText, html
from .response import PlainResponse, Response, plain_response

PROBLEM = "application/problem+json"

Form = Literal["html", "json", "text"]

_KNOWN_CHARS = 200  # the longest Accept field whose form is cached: browsers send up to 140

# Subtype of a media type -> the form. Of two with the same weight, the first here wins.
_FORMS: dict[str, Form] = {"html": "html", "xhtml+xml": "html", "json": "json", "plain": "text"}


def default_answer(
    error: BaseException, accept: str | None, *, debug: bool = False, in_json: bool = False
) -> Response:
    """Return the answer to `error`; an error that is not one of HTTP is a plain 500.

    `accept` is the Accept field, or None without a request. With `debug`, the answer says why a
    request broke HTTP. `in_json` is as for `preferred_form`.
    """
    status = status_of(error)
    if isinstance(error, HTTPError):
        is_short = has_only_faults(error) and not error.headers and accept is not None
        if is_short and preferred_form(accept or "", in_json=in_json) == "json":
            return _faults_response(error)
        return plain_answer(
            status,
            accept,
            detail=error.detail,
            text=error.text,
            headers=error.headers,
            extra=error.extra,
            in_json=in_json,
        )
    detail = ""
    if isinstance(error, ProtocolError) and debug:
        detail = str(error) if error.got is None else f"{error}, got {shown(error.got)}"
    if isinstance(error, HTTPSExpected):
        detail = "This port speaks HTTPS: use https:// in place of http://"
    return plain_answer(status, accept, detail=detail, in_json=in_json)


def plain_answer(
    status: int,
    accept: str | None,
    *,
    detail: str = "",
    text: str = "",
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
    in_json: bool = False,
) -> Response:
    """Return the answer with a status and `detail`, in the form that `accept` prefers.

    `text` is the detail for a page and for text, if that is longer.
    """
    text = text or detail
    form = "text" if accept is None else preferred_form(accept, in_json=in_json)
    if text or extra:
        response = _answer_in(form, status, detail, text, extra or {})
    else:
        response = _bare_answer(status, form, varies=accept is not None and not headers).hand_on()
        if not headers:
            return response
    if headers:
        response.headers.update(headers)
    if accept is not None:
        response.headers.add("Vary", "Accept")  # in addition to a Vary of the error
    return response


@lru_cache(maxsize=128)
def _bare_answer(status: int, form: Form, *, varies: bool) -> Response:
    """Return the answer without details. It is cached: see `ErrorBoundary.answer_bare`.

    It is for many requests, so each of them gets a copy.
    """
    response = _answer_in(form, status, "", "", {})
    if varies:
        response.headers["Vary"] = "Accept"
    return response


def missing_page(accept: str) -> Response:
    """Return what `plain_answer(404, accept)` does: the answer to many requests of bots.

    With its head, which comes from the server's cache, it takes 1.5 us in place of 5.3.
    """
    find = _known_page if len(accept) <= _KNOWN_CHARS else _find_page
    page, lines = find(accept)
    response: _KeptPage = _KeptPage()
    response.source = None
    response._body = page._body
    response._status = page._status
    response._content_type = page._content_type
    response._headers = response._cookies = None
    response._is_used = False
    response._page, response._lines = page, lines
    return response


class _KeptPage(PlainResponse):
    """One exchange's answer with a page that is kept for many.

    It has fields of its own as soon as they are used. Before, its head is that of the server's
    cache for the page's lines, which have the media type first.
    """

    __slots__ = ("_lines", "_page")

    _lines: str
    _page: Response  # never handed out

    @property
    def headers(self) -> MutableHeaders:
        """The header fields, without those that framing adds when the response is sent."""
        if self._headers is None:
            self._headers = self._page.headers.freeze()
            self._headers.is_frozen = self._is_used
        return self._headers

    def encode(self, request: RequestInfo, heads: HeadCache, connection: bytes) -> bytes | None:
        """Return the whole answer as one piece, or None if `send_to` must be awaited."""
        page, body = self._page, self._body
        if self._headers is not None or body is not page._body or self._status != page._status:
            _ = self.headers  # the page's fields, which `Response.encode` does not know
            return super().encode(request, heads, connection)
        self._is_used = True
        head = heads[self._status, self._lines, len(body)]
        if connection:
            head = head[:-2] + connection + b"\r\n"
        return head if request.line.method == "HEAD" else head + body


def _find_page(accept: str) -> tuple[Response, str]:
    """Return the 404 for an Accept field, and its fields without the name of the first one."""
    page = _bare_answer(404, preferred_form(accept), varies=True)
    lines = "".join(page.headers.lines.values())
    return page, lines.removeprefix("Content-Type: ").removesuffix("\r\n")


_known_page = lru_cache(maxsize=256)(_find_page)


def _answer_in(
    form: Form, status: int, detail: str, text: str, extra: Mapping[str, object]
) -> Response:
    if form == "json":
        return problem_response(status, detail, extra)
    if form == "html":
        if "errors" in extra:  # name the fields of a form as a reader of the page does
            text = re.sub(r"(?m)^#(?:/|: )", "", text)
        return page_response(status, phrase_of(status), _page_content(status, text), _STYLE)
    lines = f"{phrase_of(status)}\n" + (f"{text}\n" if text else "")
    return Response(encode_text(lines), status, content_type=TEXT)


def status_of(error: BaseException) -> int:
    """Return the status for an exception: 500 if it is not an error of HTTP."""
    return error.status if isinstance(error, (HTTPError, ProtocolError)) else 500


def problem_response(status: int, detail: str, extra: Mapping[str, object]) -> Response:
    """Return problem details; `extra` may replace the title. RFC 9457 section 3"""
    problem: dict[str, object] = {"status": status, "title": phrase_of(status)}
    if detail:
        problem["detail"] = detail
    return Response(encode_json(problem | dict(extra), repr), status, content_type=PROBLEM)


def _faults_response(error: HTTPError) -> Response:
    """Return the problem details of an error whose only further members are its faults.

    `plain_answer` gives the same in twice the time, and each refused body needs one.
    """
    title, detail = phrase_of(error.status), encode_basestring(error.detail)
    problem = (
        f'{{"status":{error.status},"title":"{title}","detail":{detail},'
        f'"errors":{json_of(error.faults)}}}'
    )
    response = plain_response(encode_text(problem), PROBLEM, error.status)
    response.headers.lines["vary"] = "Vary: Accept\r\n"
    return response


def page_response(status: int, title: str, content: HTMLText, style: str) -> Response:
    """Return a page that loads nothing and runs nothing: its policy allows only `style`."""
    page = html(_PAGE, title=f"{status} {title}", style=HTMLText(style), content=content)
    headers = {"Content-Security-Policy": _policy_for(style)}
    return Response(encode_text(page), status, headers, content_type=HTML)


@lru_cache(maxsize=8)
def _policy_for(style: str) -> str:
    from hashlib import sha256  # takes 2 ms, and most applications send no such page

    digest = b64encode(sha256(style.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _page_content(status: int, detail: str) -> HTMLText:
    paragraph = html('<p class="detail">{}</p>', detail) if detail else HTMLText()
    return html("<main><p>{}</p><h1>{}</h1>{}</main>", status, phrase_of(status), paragraph)


def encode_text(text: str) -> bytes:
    """Return UTF-8; characters that it can't hold (a lone surrogate) are escaped."""
    return text.encode("utf-8", "backslashreplace")


def preferred_form(accept: str, *, in_json: bool = False) -> Form:
    """Return the form that an Accept field names. RFC 9110 section 12.5.1

    `*/*` alone, which curl sends, names no form and gets text, or JSON if `in_json`. If weights are
    equal, the page comes first, then JSON.
    """
    find = _known_form if len(accept) <= _KNOWN_CHARS else _find_form
    return find(accept) or ("json" if in_json else "text")


def _find_form(accept: str) -> Form | None:
    weights: dict[Form, float] = {"html": 0.0, "json": 0.0, "text": 0.0}
    for media_range, weight in parse_accept(accept):
        subtype = media_range.partition("/")[2]
        form = _FORMS.get(subtype) or ("json" if subtype.endswith("+json") else None)
        if form is not None:
            weights[form] = max(weights[form], weight)
    best = max(weights, key=weights.__getitem__)  # the first of equals
    return best if weights[best] > 0 else None


_known_form = lru_cache(maxsize=256)(_find_form)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
{content}
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #6b7484; --paper: #f7f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ef; --soft: #8d97a8; --paper: #14171c; }
}
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper);
  color: var(--ink); font: 1.0625rem/1.5 system-ui, sans-serif; }
main { max-width: 34rem; padding: 2rem; }
p { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
h1 { margin: 0 0 .75rem; font-size: 2rem; line-height: 1.2; font-weight: 650; }
.detail { color: var(--ink); white-space: pre-line; }
"""
