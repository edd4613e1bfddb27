"""The requirements of RFC 9110 and 9112 for requests, on a real socket.

Each case has the bytes of a client, the statuses of the answers, and whether the server closes
then. If it does not close, it must answer another request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from support import contract_asgi
from support.serving import on_loopback, peer_of, statuses

from microweb import App, Request, Response
from microweb.interop.asgi_server import ASGI
from microweb.testing.misbehaving import Misbehaving

HOST = b"Host: localhost\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n"

END = object()  # half-close: the client sends no more
FIRST_ANSWER = object()  # wait for an answer's head, interim or final


@dataclass
class Case:
    id: str
    sends: list[bytes | object]
    statuses: list[int]
    closes: bool


CASES: list[Case] = []


def case(id: str, send: bytes | list[bytes | object], *answers: int, closes: bool = False) -> None:
    CASES.append(Case(id, send if isinstance(send, list) else [send], [*answers], closes))


def refused(id: str, send: bytes, status: int = 400) -> None:
    """Expect the error as answer and a close; the bytes after the request are ignored."""
    case(id, send + LAST, status, closes=True)


def get(target: bytes = b"/", fields: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET %b %b\r\n%b%b\r\n" % (target, version, HOST, fields)


def post(body: bytes, fields: bytes | None = None, target: bytes = b"/echo") -> bytes:
    framing = b"Content-Length: %d\r\n" % len(body) if fields is None else fields
    return b"POST %b HTTP/1.1\r\n%b%b\r\n%b" % (target, HOST, framing, body)


def chunked(body: bytes, target: bytes = b"/echo") -> bytes:
    return post(body, b"Transfer-Encoding: chunked\r\n", target)


# --- the request line

case("empty-lines", b"\r\n" * 8 + get(), 200)
refused("nine-empty-lines", b"\r\n" * 9 + get())
refused("lf-before-request", b"\n" + get())
refused("cr-before-request", b"\r" + get())
refused("http-0.9", b"GET /\r\n")
refused("version-1", get(version=b"HTTP/1"))
refused("version-11", get(version=b"HTTP/11"))
refused("version-1.10", get(version=b"HTTP/1.10"))
refused("version-1.1.1", get(version=b"HTTP/1.1.1"))
refused("version-plus", get(version=b"HTTP/+1.1"))
refused("version-0.9", get(version=b"HTTP/0.9"), 505)
refused("version-3.0", get(version=b"HTTP/3.0"), 505)
refused("version-padded", get(version=b"HTTP/1.1\t"))
refused("cr-in-target", b"GET /\rHTTP/1.1 HTTP/1.1\r\n" + HOST + b"\r\n")
refused("nul-in-target", get(b"/\x00"))
refused("del-in-target", get(b"/\x7f"))
refused("obs-text-in-target", get(b"/\xe9"))
refused("vt-separator", b"GET\x0b/ HTTP/1.1\r\n" + HOST + b"\r\n")
refused("ff-separator", b"GET / \x0cHTTP/1.1\r\n" + HOST + b"\r\n")
refused("no-method", b" / HTTP/1.1\r\n" + HOST + b"\r\n")
refused("method-colon", b"GET: / HTTP/1.1\r\n" + HOST + b"\r\n")
case("unknown-method", b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 501)
case("method-in-lower-case", b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 501)
refused("connect", b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 501)
case("known-method", b"PATCH / HTTP/1.1\r\n" + HOST + b"\r\n", 405)
case("asterisk-options", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 204)
refused("asterisk-post", b"POST * HTTP/1.1\r\n" + HOST + b"\r\n")
case("absolute-options", b"OPTIONS http://localhost HTTP/1.1\r\n" + HOST + b"\r\n", 204)
case("absolute-upper-scheme", get(b"HTTP://localhost/"), 200)
case("absolute-https", get(b"https://localhost/"), 421)
refused("absolute-userinfo", get(b"http://user@localhost/"))
refused("absolute-no-host", get(b"http:///"))
refused("absolute-bad-port", get(b"http://localhost:x/"))
refused("absolute-bad-host", get(b"http://a b/"))
refused("absolute-other-scheme", get(b"ftp:/x"))
refused("no-slash", get(b"hello"))
refused("backslash-first", get(b"\\hello"))
refused("query-first", get(b"?q=1"))
refused("target-too-long", get(b"/" + b"a" * 20_000), 414)
case("target-long", get(b"/?" + b"a" * 15_000), 200)

# --- fields

refused("space-before-colon", get(fields=b"X-A : v\r\n"))
refused("space-before-first", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")
refused("tab-before-first", b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n")
refused("fold-tab", get(fields=b"X-A: a\r\n\tb\r\n"))
refused("fold-empty", get(fields=b"X-A: a\r\n \r\n"))
refused("empty-name", get(fields=b": v\r\n"))
refused("lf-ends-a-line", get(fields=b"X-A: v\nX-B: v\r\n"))
refused("lf-lf-ends-the-section", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: v\n\n")
refused("lf-crlf", b"GET / HTTP/1.1\r\n" + HOST + b"\n\r\n")
refused("nul-in-value", get(fields=b"X-A: a\x00b\r\n"))
refused("del-in-value", get(fields=b"X-A: a\x7fb\r\n"))
refused("bell-in-value", get(fields=b"X-A: a\x07b\r\n"))
refused("cr-cr-lf", get(fields=b"X-A: v\r\r\n"))
for character in b'()<>@,;\\"/[]?={} \t':
    refused(f"name-{character:02x}", get(fields=b"X%cA: v\r\n" % character))
case("tchars-in-a-name", get(fields=b"!#$%&'*+-.^_`|~09Az: v\r\n"), 200)
case("hundred-fields", get(fields=b"X-A: v\r\n" * 99), 200)
refused("hundred-and-one-fields", get(fields=b"X-A: v\r\n" * 100), 431)
refused("section-too-large", get(fields=b"X-A: " + b"a" * 33_000 + b"\r\n"), 431)
case("section-large", get(fields=b"X-A: " + b"a" * 31_000 + b"\r\n"), 200)

# --- Host

for index, host in enumerate(
    (
        b"localhost|localhost:|localhost:80|127.0.0.1:8000|[::1]|a_b.example||"
        b"xn--bcher-kva.example|a.example.|%41|a!$&'()*+;=b"
    ).split(b"|")
):
    case(f"host-valid-{index}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, 200)
for index, host in enumerate(
    (
        b"a b|a/|/|http://a|a?b|a#b|u@a|a:80:80|a:-1|a:8o|::1|[::1|::1]|[::1]80|[::g]|[]|"
        b'a\\b|a<b|%zz|a,b|a, a|[::1]:x|\x01|caf\xe9|"a"|a:80 b'
    ).split(b"|")
):
    refused(f"host-invalid-{index}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    refused(f"host-invalid-1.0-{index}", b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % host)
refused("host-same-twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
refused("host-missing-absolute", b"GET http://a/ HTTP/1.1\r\n\r\n")
refused("host-invalid-absolute", b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n")
refused("host-missing-1.2", b"GET / HTTP/1.2\r\n\r\n")
case("host-missing-1.0", b"GET / HTTP/1.0\r\n\r\n", 200, closes=True)

# --- Content-Length

for index, length in enumerate(
    (
        b"+5|-0|5 5|5\t5|0x5|5L|5,|,5|5, 5|5,5|\xd9\xa5|1e0|5.|NaN|| |5;a|5 ;|'5'|\x005|5\x0b|--5"
    ).split(b"|")
):
    refused(f"length-invalid-{index}", post(b"hello", b"Content-Length: %b\r\n" % length))
refused("length-twice", post(b"hello", b"Content-Length: 5\r\nContent-Length: 5\r\n"))
refused("length-get", get(fields=b"Content-Length: x\r\n"))
refused("length-huge", post(b"", b"Content-Length: 99999999999999999999\r\n"))
case("length-zeros", post(b"hello", b"Content-Length: 000005\r\n"), 200)
case("length-spaces", post(b"hello", b"Content-Length: \t 5 \t\r\n"), 200)
case("length-over-limit", post(b"", b"Content-Length: 2000000\r\n"), 413, closes=True)
case(
    "length-over-limit-sent", post(bytes(200_000), b"Content-Length: 1100000\r\n"), 413, closes=True
)
case("length-at-limit", post(bytes(1 << 20)), 200)
case("body-cut", [post(b"hel", b"Content-Length: 5\r\n"), END], closes=True)
case("body-unread-cut", [post(b"hel", b"Content-Length: 5\r\n", b"/ignore"), END], 200, closes=True)
case("body-get", get(fields=b"Content-Length: 5\r\n") + b"hello", 200)
case("body-head", b"HEAD / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", 200)
case("body-404", post(LAST, target=b"/nowhere"), 404)
case("body-405", post(LAST, target=b"/last"), 405)
case("body-404-large", post(b"", b"Content-Length: 900000\r\n", b"/nowhere"), 404, closes=True)
case("body-500", post(LAST, target=b"/boom"), 500)
case("crlf-behind-body", post(b"hello") + b"\r\n", 200)

# --- Transfer-Encoding

for index, coding in enumerate((b"gzip|identity|chunked, gzip|gzip, chunked|xchunked").split(b"|")):
    refused(
        f"coding-unknown-{index}", post(b"0\r\n\r\n", b"Transfer-Encoding: %b\r\n" % coding), 501
    )
for index, coding in enumerate(
    (
        b'|,|chunked,|,chunked|chunked chunked|"chunked"|chunked\x00|\x0bchunked|chunked;|'
        b"chunked;a=b|chunked\x0c|[chunked]|chu\xe9"
    ).split(b"|")
):
    refused(f"coding-invalid-{index}", post(b"0\r\n\r\n", b"Transfer-Encoding: %b\r\n" % coding))
refused("coding-twice", post(b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n" * 2))
refused(
    "coding-and-length", post(b"0\r\n\r\n", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")
)
refused("coding-and-length-0", post(b"", b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"))
refused("coding-folded", post(b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n ,\r\n"))
refused("coding-1.0", b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
refused("coding-get-gzip", get(fields=b"Transfer-Encoding: gzip\r\n"), 501)
case("coding-spaces", post(b"0\r\n\r\n", b"Transfer-Encoding: \tChunked \r\n"), 200)
case("coding-get", get(fields=b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\n\r\n", 200)

# --- chunks

for index, line in enumerate(
    (
        b'5 |5\t| 5|+5|0x5|5h||\x005|5,|5:|-0|5\x0b|5;\x00|5;a\x7f|5;a=\x01|5;a="|5;;|'
        b"5;a==b|5 a|\xef\xbc\x95"
    ).split(b"|")
):
    refused(f"chunk-line-{index}", chunked(line + b"\r\nhello\r\n0\r\n\r\n"))
refused("chunk-too-many-digits", chunked(b"0" * 33 + b"5\r\nhello\r\n0\r\n\r\n"))
refused("chunk-line-lf", chunked(b"5\r\nhello\r\n0\n\n"))
refused("chunk-line-lf-crlf", chunked(b"5\n\r\nhello\r\n0\r\n\r\n"))
refused("chunk-data-cr", chunked(b"5\r\nhello\r0\r\n\r\n"))
refused("chunk-data-long", chunked(b"5\r\nhello!\r\n0\r\n\r\n"))
refused("chunk-data-short", chunked(b"6\r\nhello\r\n0\r\n\r\n"))
refused("chunk-extension-long", chunked(b"5;" + b"a" * 200 + b"\r\nhello\r\n0\r\n\r\n"))
refused("chunk-over-limit", chunked(b"200000\r\nhello"), 413)
refused("chunks-over-limit", chunked(b"1\r\nx\r\n100000\r\nhello"), 413)
refused("chunk-beyond-64-bits", chunked(b"fffffffffffffffff\r\nhello"), 413)
refused("trailer-fold", chunked(b"0\r\nX-A: a\r\n b\r\n\r\n"))
refused("trailer-lf", chunked(b"0\r\nX-A: a\n\r\n"))
refused("trailer-nul", chunked(b"0\r\nX-A: a\x00\r\n\r\n"))
refused("trailer-name", chunked(b"0\r\nX A: a\r\n\r\n"))
refused("trailers-too-large", chunked(b"0\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n"), 431)
case("chunk-upper", chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), 200)
case("chunk-quoted-extension", chunked(b'5;a="\\"b;\xe9"\r\nhello\r\n0;x=y\r\n\r\n'), 200)
case("trailers", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n"), 200)
case("chunks-unread", chunked(b"5\r\nhello\r\n0\r\n\r\n", b"/ignore"), 200)
case("chunks-unread-unfinished", chunked(b"5\r\nhello\r\n", b"/ignore"), 200, closes=True)
case("chunks-unread-bad", chunked(b"zz\r\n", b"/ignore"), 200, closes=True)
case("chunks-cut", [chunked(b"5\r\nhel"), END], closes=True)
case("chunks-cut-in-line", [chunked(b"5"), END], closes=True)
case("chunks-cut-in-trailers", [chunked(b"0\r\nX-A"), END], closes=True)

# --- persistence

case("keep-alive-1.1", get(fields=b"Connection: keep-alive\r\n"), 200)
case("close", get(fields=b"Connection: close\r\n") + LAST, 200, closes=True)
case("close-among", get(fields=b"Connection: a,\tCLOSE ,b\r\n") + LAST, 200, closes=True)
case("close-second-field", get(fields=b"Connection: a\r\nconnection: close\r\n"), 200, closes=True)
case("no-close", get(fields=b"Connection: closed, not-close\r\n"), 200)
case("close-on-404", get(b"/nowhere", b"Connection: close\r\n") + LAST, 404, closes=True)
case("close-on-500", get(b"/boom", b"Connection: close\r\n") + LAST, 500, closes=True)
case("close-post", post(b"hello", b"Content-Length: 5\r\nConnection: close\r\n"), 200, closes=True)
case("1.0", get(version=b"HTTP/1.0") + LAST, 200, closes=True)
case("1.0-keep-alive", get(version=b"HTTP/1.0", fields=b"Connection: Keep-Alive\r\n"), 200)
case(
    "1.0-both",
    get(version=b"HTTP/1.0", fields=b"Connection: keep-alive, close\r\n"),
    200,
    closes=True,
)
case("1.0-stream", get(b"/stream", b"Connection: keep-alive\r\n", b"HTTP/1.0"), 200, closes=True)
case("1.0-post", b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 200, closes=True)
case("1.0-head", b"HEAD / HTTP/1.0\r\n\r\n", 200, closes=True)
case("1.0-error", b"GET /nowhere HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 404)
case("1.2", get(version=b"HTTP/1.2"), 200)
case("upgrade-unknown", get(fields=b"Connection: upgrade\r\nUpgrade: foo/2\r\n"), 200)
case(
    "upgrade-with-body",
    post(b"hello", b"Content-Length: 5\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"),
    200,
)

# --- half-closed clients

case("end", [END], closes=True)
case("end-idle", [get(), END], 200, closes=True)
case("end-mid-line", [b"GET / HT", END], closes=True)
case("end-mid-head", [get()[:-2], END], closes=True)
case("end-mid-second-head", [get() + get()[:-2], END], 200, closes=True)
case("end-pipelined", [get() * 5, END], *[200] * 5, closes=True)
case("end-slow", [get(b"/slow"), END], 200, closes=True)
case("end-slow-pipelined", [get(b"/slow") * 2 + get(), END], 200, 200, 200, closes=True)
case("end-stream", [get(b"/stream"), END], 200, closes=True)
case("end-big", [get(b"/big"), END], 200, closes=True)
case("end-post", [post(b"hello"), END], 200, closes=True)
case("end-error", [b"garbage\r\n\r\n", END], 400, closes=True)

# --- pipelines

case(
    "pipe-mixed", get() + post(b"hello") + chunked(b"0\r\n\r\n") + get(b"/slow") + get(), *[200] * 5
)
case("pipe-error", get() + get(b"/slow") + b"GET /\r\n\r\n" + LAST, 200, 200, 400, closes=True)
case("pipe-error-field", get() + get(fields=b"A : b\r\n") + LAST, 200, 400, closes=True)
case("pipe-error-body", post(b"hello") + chunked(b"zz\r\n") + LAST, 200, 400, closes=True)
case("pipe-404", get(b"/nowhere") + get() + get(b"/boom") + get(), 404, 200, 500, 200)
case("pipe-405", b"DELETE / HTTP/1.1\r\n" + HOST + b"\r\n" + get(), 405, 200)
case("pipe-no-content", get(b"/no-content") * 3 + get(), 204, 204, 204, 200)
case("pipe-stream", get(b"/stream") * 3 + get(), *[200] * 4)
case("pipe-big", get(b"/big") * 5, *[200] * 5)
case("pipe-head-big", b"HEAD /big HTTP/1.1\r\n" + HOST + b"\r\n" + get(), 200, 200)
case("pipe-head-stream", b"HEAD /stream HTTP/1.1\r\n" + HOST + b"\r\n" + get(), 200, 200)
case("pipe-head-404", b"HEAD /nowhere HTTP/1.1\r\n" + HOST + b"\r\n" + get(), 404, 200)
case("pipe-head-no-content", b"HEAD /no-content HTTP/1.1\r\n" + HOST + b"\r\n" + get(), 204, 200)

# --- Expect

E100 = b"Content-Length: 5\r\nExpect: 100-continue\r\n"
ECHUNKED = b"Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n"
case("100", [post(b"", E100), FIRST_ANSWER, b"hello"], 100, 200)
case("100-chunked", [post(b"", ECHUNKED), FIRST_ANSWER, b"0\r\n\r\n"], 100, 200)
case("100-sent-at-once", post(b"hello", E100), 200)
case("100-twice", [post(b"", E100), FIRST_ANSWER, b"hello" + post(b"hello", E100)], 100, 200, 200)
case("100-behind-another", [get() + post(b"", E100), FIRST_ANSWER, b"hello"], 200, 100, 200)
case("100-unread", post(b"", E100, b"/ignore"), 200, closes=True)
case("100-unread-sent", post(b"hello", E100, b"/ignore") + LAST, 200, closes=True)
case("100-404", post(b"", E100, b"/nowhere"), 404, closes=True)
case("100-405", post(b"", E100, b"/last"), 405, closes=True)
case("100-500", post(b"", E100, b"/boom"), 500, closes=True)
case("100-413", post(b"", b"Content-Length: 2000000\r\nExpect: 100-continue\r\n"), 413, closes=True)
case("100-413-chunked", [post(b"", ECHUNKED), FIRST_ANSWER, b"200000\r\n"], 100, 413, closes=True)
case("100-bad-chunk", [post(b"", ECHUNKED), FIRST_ANSWER, b"zz\r\n"], 100, 400, closes=True)
case("100-end", [post(b"", E100), FIRST_ANSWER, END], 100, closes=True)
case("100-no-body", get(fields=b"Expect: 100-continue\r\n"), 200)
case("100-empty-body", post(b"", b"Content-Length: 0\r\nExpect: 100-continue\r\n"), 200)
case(
    "100-among",
    [post(b"", b"Content-Length: 5\r\nExpect: a, 100-continue\r\n"), FIRST_ANSWER, b"hello"],
    100,
    200,
)
case(
    "100-said-twice",
    [post(b"", b"Expect: 100-continue\r\n" + E100), FIRST_ANSWER, b"hello"],
    100,
    200,
)
case("100-other", get(fields=b"Expect: 200-ok\r\n"), 200)
case("100-1.0", b"POST /echo HTTP/1.0\r\n" + E100 + b"\r\nhello", 200, closes=True)

# --- bytes that are not HTTP/1

refused("tls", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03")
refused("tls-alone", b"\x16\x03\x01")
refused("http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
refused("ssh", b"SSH-2.0-OpenSSH_9.6\r\n")
refused("nul", b"\x00")


@pytest.fixture
def app() -> App:
    app = App(max_body=1 << 20)

    @app.get("/")
    async def index() -> str:
        return "index"

    @app.get("/last")
    async def last() -> str:
        return "the last one"

    @app.post("/echo")
    async def echo(request: Request) -> bytes:
        return await request.body()

    @app.post("/ignore")
    async def ignore() -> str:
        return "ignored"

    @app.get("/stream")
    async def stream() -> AsyncIterator[str]:
        for part in "abc":
            yield part
            await asyncio.sleep(0)

    @app.get("/big")
    async def big() -> bytes:
        return bytes(300_000)

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.01)
        return "slow"

    @app.get("/no-content")
    async def no_content() -> None:
        return None

    @app.route("/boom", methods=["GET", "POST"])
    async def boom() -> Response:
        raise RuntimeError("secret")

    return app


async def play(peer: Misbehaving, case: Case) -> bytes:
    """Play the case; return all bytes from the server."""
    data = b""
    for step in case.sends:
        if step is END:
            await peer.half_close()
        elif step is FIRST_ANSWER:
            data += await peer.read_until(b"\r\n\r\n")
        else:
            assert isinstance(step, bytes)
            await peer.send(step)
    if case.closes:
        return data + await peer.read_all()
    await peer.send(LAST)
    return data + await peer.read_until(b"the last one")


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
async def test_case(case: Case, app: App) -> None:
    await check(case, app)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
async def test_case_of_an_asgi_application(case: Case) -> None:
    """The wire is the server's: an application of another interface passes the same cases."""
    await check(case, ASGI(contract_asgi.app))


async def check(case: Case, app: App | ASGI) -> None:
    async with on_loopback(app, max_body=1 << 20) as server, peer_of(server) as peer:
        data = await play(peer, case)
    expected = case.statuses if case.closes else [*case.statuses, 200]
    assert statuses(data) == expected
    assert b"secret" not in data
    if case.closes and statuses(data):
        assert (b"\r\nConnection: close\r\n" in data) or case.sends[-1] is END


BAD_HEADS = {  # RFC 9110 section 9.3.2: whatever the status, an answer to HEAD has no content
    "no-host": (b"HEAD / HTTP/1.1\r\n\r\n", 400),
    "bad-field": (b"HEAD / HTTP/1.1\r\n" + HOST + b"A B: c\r\n\r\n", 400),
    "bad-target": (b"HEAD index HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bad-line": (b"HEAD /\x07 HTTP/1.1\r\n", 400),
    "bad-coding": (b"HEAD / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "version": (b"\r\nHEAD / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "too-long": (b"HEAD /" + b"a" * 20_000, 414),
    "too-large": (b"HEAD / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 200 + b"\r\n", 431),
}


@pytest.mark.parametrize(("raw", "status"), BAD_HEADS.values(), ids=BAD_HEADS)
async def test_a_refused_head_gets_no_content(raw: bytes, status: int, app: App) -> None:
    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(LAST + raw)
        data = await peer.read_all()
    assert statuses(data) == [200, status]
    assert data.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in data  # it is the length for a GET


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\n\r\n", b"HEADER / HTTP/1.1\r\n\r\n"])
async def test_what_is_refused_behind_a_head_gets_content(raw: bytes, app: App) -> None:
    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n" + raw)
        data = await peer.read_all()
    assert len(statuses(data)) == 2
    assert data.endswith(b"\n") and not data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("case", CASES[::7], ids=[case.id for case in CASES[::7]])
async def test_case_byte_by_byte(case: Case, app: App) -> None:
    cut: list[bytes | object] = []
    for step in case.sends:
        cut += [bytes((byte,)) for byte in step] if isinstance(step, bytes) else [step]
    if len(cut) > 1000 or "100" in case.id:
        pytest.skip("too long, or about what is sent at once")
    async with on_loopback(app) as server, peer_of(server) as peer:
        try:
            data = await play(peer, Case(case.id, cut, case.statuses, case.closes))
        except ConnectionError:
            data = await peer.read_all()  # refused before all of it was sent
    assert statuses(data) == (case.statuses if case.closes else [*case.statuses, 200])
