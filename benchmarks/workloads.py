"""The requests of `python -m benchmarks`: what is asked, and how the right answer looks."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

TIMEOUT_S = 10.0
FILE_BYTES = 4096
SHOPS = 64  # different requests of `real`
TEXT = b"Hello, World!"
ITEM = {"id": 7, "name": "Item number 7", "price": 7.5, "tags": ["new", "sale"]}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=a-boundary"}

# All requests differ in the path, a cookie and a referer.
VARIED = """
local count = 0
request = function()
  count = count + 1
  wrk.headers["Cookie"] = string.format("session=%016x; theme=dark", count * 7919)
  wrk.headers["Referer"] = "https://example.org/page/" .. count
  return wrk.format("GET", "/user/" .. count)
end
"""


class Ask(NamedTuple):
    """A request."""

    path: str
    method: str = "GET"
    fields: Mapping[str, str] = MappingProxyType({})
    body: str = ""


class Workload(NamedTuple):
    """Requests that are sent in turn, and the check of their answers."""

    asks: Callable[[int], list[Ask]]  # of the port of a server, which may give cookies
    is_right: Callable[[bytes], bool]
    status: int = 200
    script: str = ""  # Lua that makes other requests after the check


def answer_to(port: int, ask: Ask) -> http.client.HTTPResponse:
    """Send a request on a connection of its own, and return the answer with its content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request(ask.method, ask.path, ask.body or None, dict(ask.fields))
    return connection.getresponse()


def check(name: str, workload: str, port: int, asked: Workload, ask: Ask) -> None:
    """Raise RuntimeError if a server gives a wrong answer to a request of a workload."""
    response = answer_to(port, ask)
    content = response.read()
    statuses = (asked.status, 201) if asked.status == 200 else (asked.status,)
    if response.status not in statuses or not asked.is_right(content):
        raise RuntimeError(
            f"{name}: {workload}: got {response.status}, {content[:80]!r} for {ask.path}"
        )


def script_of(asks: list[Ask]) -> str:
    """Return Lua for wrk that sends these requests in turn."""
    lines = ["local asks, sent, requests = {}, 0, {}"]
    for ask in asks:
        fields = ", ".join(f"[{_text(name)}]={_text(value)}" for name, value in ask.fields.items())
        body = _text(ask.body) if ask.body else "nil"
        lines.append(
            f"asks[#asks+1] = {{{_text(ask.method)}, {_text(ask.path)}, {{{fields}}}, {body}}}"
        )
    lines += [
        "init = function()",
        "  for number, ask in ipairs(asks) do",
        "    requests[number] = wrk.format(ask[1], ask[2], ask[3], ask[4])",
        "  end",
        "end",
        "request = function()",
        "  sent = sent % #requests + 1",
        "  return requests[sent]",
        "end",
    ]
    return "\n".join(lines)


def _text(value: str) -> str:
    """Return a text as Lua."""
    return '"' + re.sub(r"[^ !#-\[\]-~]", lambda found: f"\\{ord(found[0]):03}", value) + '"'


def write_files(folder: Path, count: int) -> None:
    """Write the files of `small`."""
    for number in range(count):
        (folder / f"{number}.css").write_bytes(b"%04d" % number * (FILE_BYTES // 4))


def cookies_of(port: int, path: str, count: int) -> list[str]:
    """Return the cookies of so many users who have logged in."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    found = []
    for number in range(count):
        connection.request("GET", f"{path}/login?user=user{number}")
        response = connection.getresponse()
        response.read()
        found.append((response.getheader("Set-Cookie") or "").partition(";")[0])
    return found


def _one(path: str, **options: object) -> Callable[[int], list[Ask]]:
    return lambda port: [Ask(path, **options)]  # type: ignore[arg-type]


def _with_cookies(path: str, count: int) -> Callable[[int], list[Ask]]:
    return lambda port: [
        Ask(path, fields={"Cookie": cookie}) for cookie in cookies_of(port, "/session", count)
    ]


def _real(count: int) -> Callable[[int], list[Ask]]:
    """Three GET to one POST, with an Origin and a session, of `count` users."""

    def asks(port: int) -> list[Ask]:
        cookies = cookies_of(port, "/real", count)
        found = []
        for number in range(max(SHOPS, count)):
            fields = {
                "Cookie": cookies[number % count],
                "Origin": "https://shop.example",
                "X-Forwarded-For": f"10.0.{number // 250 % 250}.{number % 250}",
            }
            if number % 4 == 3:
                body = json.dumps({**ITEM, "id": number % SHOPS})
                found.append(Ask("/real/items", "POST", {**fields, **JSON}, body))
            else:
                path = f"/real/items/{number % SHOPS}?page={number % 7}"
                found.append(Ask(path, fields=fields))
        return found

    return asks


def _parts() -> str:
    """Return a form of four fields and a file of 2 KiB."""
    head = '--a-boundary\r\nContent-Disposition: form-data; name="{}"'
    names = ("name", "street", "city", "note")
    parts = [f"{head.format(name)}\r\n\r\na value of {name}\r\n" for name in names]
    file = f'{head.format("file")}; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    return f"{''.join(parts)}{file}{'x' * 2048}\r\n--a-boundary--\r\n"


def _is_json(expected: object) -> Callable[[bytes], bool]:
    return lambda content: bool(json.loads(content) == expected)


def _holds(*pieces: bytes) -> Callable[[bytes], bool]:
    return lambda content: all(piece in content for piece in pieces)


def workloads(cookies: int, files: int) -> dict[str, Workload]:
    """Return the workloads by name, those with many cookies or files behind the same with one."""
    document = {"name": "a", "tags": ["a", "b", "c"], "text": "y" * 980}
    message = {"message": TEXT.decode()}
    is_file = _holds(b"0" * FILE_BYTES)
    found = {
        "real": Workload(_real(1), _holds(b'"user0"', b"Item number 4")),
        f"real, {cookies:,} cookies": Workload(_real(cookies), _holds(b'"user0"')),
        "session_read": Workload(_with_cookies("/session/read", 1), _holds(b"user0")),
        f"session_read, {cookies:,} cookies": Workload(
            _with_cookies("/session/read", cookies), _holds(b"user0")
        ),
        "session_write": Workload(_with_cookies("/session/write", 1), _holds(b"user0")),
        f"session_write, {cookies:,} cookies": Workload(
            _with_cookies("/session/write", cookies), _holds(b"user0")
        ),
        "small": Workload(_one("/static/0.css"), is_file),
        f"small, {files:,} files": Workload(
            lambda port: [Ask(f"/static/{number}.css") for number in range(files)], is_file
        ),
        "close": Workload(_one("/", fields={"Connection": "close"}), _holds(TEXT)),
        "notfound": Workload(_one("/missing/page"), _holds(b""), status=404),
        "varied": Workload(_one("/user/7"), bool, script=VARIED),
        "echo": Workload(
            _one("/echo", method="POST", fields=JSON, body=json.dumps(document)),
            _is_json(document),
        ),
        "json": Workload(_one("/json"), _is_json(message)),
        "typed": Workload(
            _one("/typed", method="POST", fields=JSON, body=json.dumps(ITEM)), _is_json(ITEM)
        ),
        "sse100": Workload(_one("/sse100"), lambda content: content.count(b"data:") == 100),
        "multipart": Workload(
            _one("/multipart", method="POST", fields=FORM, body=_parts()),
            _holds(b"a value of name: 1"),
        ),
        "page": Workload(_one("/page"), _holds(b"Items &amp; more", b"Item number 4")),
        "stream": Workload(_one("/stream"), lambda content: len(content) == 100 * 1024),
    }
    return found
