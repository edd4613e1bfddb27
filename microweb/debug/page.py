"""The debug answer to an error: a page for a browser, text for curl, problem details for JSON.

The page is one document without scripts. It loads nothing, and its policy allows only its own
style, by the hash. All content has passed a `Mask`, then `html()`, which escapes it. The page is
never cached.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby

from ..concurrency.callables import describe
from ..errorpages import (
    default_answer,
    encode_text,
    page_response,
    plain_answer,
    preferred_form,
    problem_response,
    status_of,
)
from ..errors import HTTPError, ProtocolError
from ..http.headers import Headers
from ..http.mediatypes import TEXT
from ..http.response_head import phrase_of
from ..markup import HTMLText, html
from ..request import Request
from ..response import Response
from .masking import Mask, cut
from .tracebacks import Fault, Frame, Line, describe_exception, format_fault

_SHOWN_BODY = 8 * 1024
_SHOWN_ROUTES = 200
_OPENED = 8  # frames of the user that are shown open: a recursion has many
_MAX_TEXT = 256 * 1024
_WITHOUT_ROUTE = (404, 405)


# Fields that a proxy or a tunnel adds: behind one, the client may be on any machine. RFC 7239, RFC
# 9110 section 7.6.3, and older names in use.
_FORWARDING = ("forwarded", "via", "x-real-ip")


def is_forwarded(headers: Headers) -> bool:
    """Return whether a request came through a proxy: then a loopback peer proves nothing."""
    names = [name.lower() for name, _ in headers.pairs()]
    return any(name in _FORWARDING or name.startswith("x-forwarded") for name in names)


def debug_answer(request: Request, error: BaseException, status: int) -> Response:
    """Return the answer that shows `error` and its causes, in the form that `Accept` prefers.

    A fault is text for a client that prefers no form, also on a route of JSON: it is for a reader.
    """
    accept = request.headers.get("accept", "")
    view = _View(request, error, status)
    uses_json = request.match is not None and request.match.uses_json
    form = preferred_form(accept, in_json=uses_json and not view.is_fault)
    if form == "html":
        response = page_response(status, view.title, view.page(), _STYLE)
    elif form == "text":
        response = Response(encode_text(view.text()), status, content_type=TEXT)
    else:
        response = view.problem()
    if isinstance(error, HTTPError) and not view.is_fault:
        response.headers.update(error.headers)
    response.headers["Cache-Control"] = "no-store"
    response.headers.add("Vary", "Accept")
    return response


def _bytes_of(request: Request) -> tuple[bytes, bytes | None]:
    """Return a request's head as it was sent, and the part of its body that was read and kept."""
    line, section, body = request.line, request.section, request.incoming.so_far
    start = f"{line.method} {line.target} HTTP/{request.http_version}\r\n"
    if body is None and not section.has_body:
        body = b""
    return start.encode("latin-1", "replace") + section.raw, body


class _View:
    """One error with its request, masked, in each of the three forms."""

    def __init__(self, request: Request, error: BaseException, status: int) -> None:
        self._request = request
        self._error = error
        self._status = status
        self._mask = mask = Mask()
        head, body = _bytes_of(request)
        self._head = head.decode("latin-1")
        self._body = (
            None if body is None else body[:_SHOWN_BODY].decode("utf-8", "backslashreplace")
        )
        self._body_size = len(body or b"")
        for name, value in request.headers.pairs():
            mask.learn(name, value)
        mask.learn_text(request.line.target)
        mask.learn_text(self._body or "")
        self.fault = fault = describe_exception(error, mask)
        # An HTTP error is an answer, unless the handler of another error raised it.
        self.is_fault = status_of(error) != status or not isinstance(
            error, (HTTPError, ProtocolError)
        )
        self.title = fault.kind if self.is_fault else phrase_of(status)
        self._message = error.text if isinstance(error, HTTPError) else fault.message
        has_table = request.route is None and status in _WITHOUT_ROUTE
        self._routes = _routes_of(request) if has_table else []

    # --- the page

    def page(self) -> HTMLText:
        """Return the content of the page."""
        parts = [self._title(), *self._table_of_routes()]
        if not self.is_fault:
            is_open = any(frame.is_users for frame in self.fault.frames)
            raised = _faults(self.fault)
            opening = HTMLText(" open") if is_open else HTMLText()
            parts.append(html(_RAISED, opening, raised))
        else:
            parts.append(_faults(self.fault))
        return _joined([*parts, self._request_as_sent(), self._footer()])

    def _title(self) -> HTMLText:
        line, message = self._request.line, self._message
        return html(
            _TITLE,
            method=line.method,
            target=cut(self._mask.hide(line.target), 300),
            status=f"{self._status} {phrase_of(self._status)}",
            title=self.title,
            message=html('<pre class="message">{}</pre>', message) if message else HTMLText(),
        )

    def _table_of_routes(self) -> Iterable[HTMLText]:
        if not self._routes:
            return
        rows = _joined(html(_ROUTE, *row) for row in self._routes[:_SHOWN_ROUTES])
        more = len(self._routes) - _SHOWN_ROUTES
        text = f"{more} more" if more > 0 else ""
        yield html(_ROUTES, method=self._request.method, rows=rows, more=text)

    def _request_as_sent(self) -> HTMLText:
        request, mask = self._request, self._mask
        client = request.client
        facts = [
            ("route", f"{request.route.path} ({describe(request.route.endpoint)})")
            if request.route is not None
            else ("route", "none"),
            *(
                (f"{{{name}}}", mask.show(name, value))
                for name, value in request.path_params.items()
            ),
            *([("mounted at", request.prefix)] if request.prefix else []),
            ("client", f"{client.host}:{client.port}" if client is not None else "unknown"),
            ("scheme", request.scheme),
        ]
        rows = _joined(html(_NAMED, name, value) for name, value in facts)
        return html(_REQUEST, rows=rows, raw=self._raw())

    def _raw(self) -> str:
        if self._body is None:
            body = "(the body was not read, or streamed)"
        else:
            body = self._mask.hide(self._body)
            if self._body_size > _SHOWN_BODY:
                body += f"… ({self._body_size:,} bytes)"
        return self._mask.hide_head(self._head).replace("\r\n", "\n") + body

    def _footer(self) -> HTMLText:
        told = plain_answer(500, "") if self.is_fault else default_answer(self._error, "")
        version = ".".join(map(str, sys.version_info[:3]))
        return html(_FOOTER, told=" · ".join(told.body.decode().splitlines()), version=version)

    # --- the other forms

    def problem(self) -> Response:
        """Return problem details; those of a fault contain the exception."""
        if not self.is_fault:
            if isinstance(self._error, HTTPError):
                return problem_response(self._status, self._error.detail, self._error.extra)
            return problem_response(self._status, self._message, {})
        detail = f"{self.fault.kind}: {self.fault.message}".removesuffix(": ")
        lines = list(format_fault(self.fault))
        return problem_response(self._status, detail, {"traceback": lines})

    def text(self) -> str:
        """Return text for a terminal: the traceback of a fault, or all routes for a 404 or 405."""
        lines = [phrase_of(self._status)]
        if self.is_fault:
            line = self._request.line
            lines += [
                "",
                f"{line.method} {self._mask.hide(line.target)}",
                *format_fault(self.fault),
            ]
        elif self._message:
            lines.append(self._message)
        if self._routes:
            width = max(len(methods) for methods, *_ in self._routes)
            lines += ["", "Routes:"]
            lines += [f"{row[0]:{width}}  {row[1]}" for row in self._routes[:_SHOWN_ROUTES]]
        return cut("\n".join(lines), _MAX_TEXT) + "\n"


def _routes_of(request: Request) -> list[tuple[str, str, str, str]]:
    """Return methods, path, name and endpoint of each route."""
    if request.match is None:
        return []
    return [
        (route.answers, prefix + route.path, route.name, describe(route.endpoint))
        for prefix, route in request.match.root.all_routes()
    ]


# --- parts of the page ----------------------------------------------------------------


def _joined(parts: Iterable[HTMLText]) -> HTMLText:
    return HTMLText("".join(parts))


def _faults(fault: Fault) -> HTMLText:
    """Return an exception's frames, then its causes and members, each below its own title."""
    below = [
        html(_BELOW, each.relation, each.kind, each.message, _faults(each)) for each in fault.below
    ]
    return _joined([_frames(fault), *below])


def _frames(fault: Fault) -> HTMLText:
    if not fault.frames:
        return html('<p class="note">No traceback: no code of the app has raised this.</p>')
    opened = [frame for frame in fault.frames if frame.is_users][:_OPENED] or [fault.frames[0]]
    parts: list[HTMLText] = []
    for is_folded, group in groupby(
        fault.frames, lambda each: not (each.is_users or each in opened)
    ):
        frames = [_frame(each, is_open=each in opened) for each in group]
        shown = _joined(frames)
        if is_folded and len(frames) > 1:
            shown = html(_LIBRARY, f"{len(frames)} frames of libraries", shown)
        parts.append(shown)
    left_out = f"{fault.left_out} frames in the middle are left out." if fault.left_out else ""
    note = html('<p class="note">{}</p>', left_out) if left_out else HTMLText()
    return html('<p class="order">The last call first</p>{}{}', _joined(parts), note)


def _frame(frame: Frame, *, is_open: bool) -> HTMLText:
    code = _joined(_line(line) for line in frame.lines)
    rows = _joined(html(_NAMED, name, value) for name, value in frame.locals)
    return html(
        _FRAME,
        opening=HTMLText(" open") if is_open else HTMLText(),
        kind="own" if frame.is_users else "other",
        path=frame.path,
        number=frame.number,
        function=frame.function,
        code=html("<pre><code>{}</code></pre>", code) if code else HTMLText(),
        locals=html(_LOCALS, len(frame.locals), rows) if rows else HTMLText(),
    )


def _line(line: Line) -> HTMLText:
    if not line.is_current:
        return html('<span class="line"><i>{}</i>{}\n</span>', f"{line.number:5}", line.text)
    return html(
        '<span class="line current"><i>{}</i>{}<mark>{}</mark>{}\n</span>',
        f"{line.number:5}",
        line.before,
        line.marked,
        line.after,
    )


_TITLE = """<header>
<p class="asked"><b>{method}</b> <span>{target}</span> <em>{status}</em></p>
<h1>{title}</h1>
{message}
</header>
<main>
"""

_ROUTES = """<section>
<h2>Routes</h2>
<p class="note">None of these routes answers {method} at this path.</p>
<div class="wide"><table class="routes">
<thead><tr><th>Methods</th><th>Path</th><th>Name</th><th>Endpoint</th></tr></thead>
<tbody>{rows}</tbody>
</table></div>
<p class="note">{more}</p>
</section>
"""

_ROUTE = "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n"

_RAISED = """<section>
<details class="raised"{}><summary>Where it was raised</summary>
{}</details>
</section>
"""

_BELOW = """<section class="below">
<h2><small>{}</small> {}</h2>
<pre class="message">{}</pre>
{}</section>
"""

_FRAME = """<details class="frame {kind}"{opening}>
<summary><span class="place">{path}<b>:{number}</b></span> in <code>{function}</code></summary>
{code}{locals}</details>
"""

_LIBRARY = """<details class="library"><summary>{}</summary>
{}</details>
"""

_LOCALS = """<details class="locals" open><summary>Locals ({})</summary>
<div class="wide"><table>{}</table></div></details>
"""

_NAMED = "<tr><th>{}</th><td>{}</td></tr>\n"

_REQUEST = """<section>
<h2>Request</h2>
<table>{rows}</table>
<pre class="raw">{raw}</pre>
</section>
"""

_FOOTER = """</main>
<footer>
<p>You see this page because debug is on. Without debug the client gets: <q>{told}</q></p>
<p>Python {version}. Secrets are found by their names: check this page before you share it.</p>
</footer>
"""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5f6878; --paper: #f5f6f8;
  --card: #fff; --line: #dfe3ea; --accent: #b4232a; --current: #fdeceb; --mark: #f6c3bf;
  --own: #1f4fa3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2e6ee; --soft: #97a1b3; --paper: #14171c; --card: #1b1f26; --line: #2e3540;
    --accent: #ff8a80; --current: #3a2326; --mark: #6d2f33; --own: #8fb6ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
pre, code, td, .asked, .place, .routes td {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 13px; }
header { background: var(--card); border-top: 4px solid var(--accent);
  border-bottom: 1px solid var(--line); }
header, main, footer { padding: 1.25rem max(1.25rem, calc((100vw - 68rem) / 2)); }
h1 { margin: .35rem 0 .5rem; font-size: 1.75rem; line-height: 1.2; color: var(--accent);
  overflow-wrap: anywhere; }
h2 { margin: 0 0 .5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
h2 small { color: var(--soft); font-weight: 400; font-size: .95rem; }
p { margin: 0; }
.asked { color: var(--soft); overflow-wrap: anywhere; }
.asked b { color: var(--ink); }
.asked em { font-style: normal; white-space: nowrap; border: 1px solid var(--line);
  border-radius: 99px; padding: .05rem .6rem; margin-left: .4rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.message { font-size: 15px; }
.note, .order, footer { color: var(--soft); font-size: 13px; }
.order { margin-bottom: .4rem; }
section { margin: 1.75rem 0 0; }
main > section:first-child { margin-top: 0; }
.below { border-left: 3px solid var(--line); padding-left: 1rem; }
.below > .message { margin-bottom: .75rem; }
details { margin: 0 0 .5rem; }
summary { cursor: pointer; padding: .45rem .75rem; overflow-wrap: anywhere; }
summary:focus-visible { outline: 2px solid var(--own); outline-offset: -2px; }
.frame { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  overflow: hidden; }
.frame > summary { color: var(--soft); font-size: 13px; }
.own > summary .place { color: var(--own); font-weight: 600; }
.library > summary { color: var(--soft); font-size: 13px; }
.library > .frame { margin-left: 1rem; }
.raised > summary { padding-left: 0; font-size: 1.1rem; font-weight: 600; }
.frame > pre { border-top: 1px solid var(--line); overflow-x: auto; padding: .4rem 0; }
.line { display: block; white-space: pre; padding-right: 1rem; min-width: max-content; }
.line i { font-style: normal; color: var(--soft); padding: 0 1rem 0 .5rem; user-select: none; }
.current { background: var(--current); box-shadow: inset 3px 0 var(--accent); }
mark { background: var(--mark); color: inherit; border-radius: 2px; }
.locals { border-top: 1px solid var(--line); margin: 0; }
.locals > summary { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem;
  border-top: 1px solid var(--line); }
td { overflow-wrap: anywhere; white-space: pre-wrap; }
th { font-weight: 500; font-size: 13px; color: var(--soft); white-space: nowrap; width: 1%; }
.routes { background: var(--card); border: 1px solid var(--line); margin: .4rem 0; }
.routes th { width: auto; }
.routes td { overflow-wrap: normal; }
.raw { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem; margin-top: .75rem; }
footer { border-top: 1px solid var(--line); margin-top: 1rem; }
q { color: var(--ink); }
"""
