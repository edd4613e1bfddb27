"""Measure the most expensive input of each parser within the default limits.

`pytest tests/bench -s` prints milliseconds of CPU. Each figure should stay below 50, because no
other task runs meanwhile. If a parser lets other tasks run, the figure is the time until then. The
tests do not assert a time, only that each input is accepted or refused.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from secrets import token_urlsafe
from typing import TypedDict
from uuid import UUID

import pytest
from support.reading import FakePeer
from support.websocketing import empty_blocks

from microweb import App, Middleware, Request
from microweb.bodies.json import parse_json
from microweb.bodies.json_types import converter_for
from microweb.bodies.multipart import read_form
from microweb.errorpages import preferred_form
from microweb.errors import MicrowebError
from microweb.http.charsets import codec_of
from microweb.http.cookies import parse_cookies
from microweb.http.dates import parse_http_date
from microweb.http.filenames import safe_filename
from microweb.http.framing import ChunkedDecoder
from microweb.http.headers import Headers
from microweb.http.interfaces import Address
from microweb.http.limits import Limits
from microweb.http.mediatypes import parse_media_type
from microweb.http.negotiation import parse_weights
from microweb.http.preconditions import parse_entity_tags
from microweb.http.ranges import parse_ranges
from microweb.http.request_head import RequestLines, decide_framing
from microweb.http.urlencoded import parse_urlencoded
from microweb.middleware.authentication import BasicAuth
from microweb.middleware.compression import Compression
from microweb.middleware.cors import CORS
from microweb.middleware.sessions import Sessions
from microweb.parser import Parser
from microweb.routing.patterns import BUILT_IN, parse_pattern
from microweb.routing.tree import Found, RouteTree
from microweb.server.config import ServerConfig
from microweb.server.proxies import TrustedProxies
from microweb.websocket.protocol import Frames

ROUNDS = 3
CONFIG = ServerConfig()
FIELD = CONFIG.max_header_section - 100  # bytes of one field's value
PIECE = 64 * 1024  # of one read


def cost(name: str, parse: Callable[[], object], *, is_refused: bool = False) -> None:
    """Print the time of `parse`: the minimum of several rounds, because noise only adds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.thread_time()
        try:
            parse()
        except MicrowebError:
            assert is_refused, name
        else:
            assert not is_refused, name
        best = min(best, time.thread_time() - begun)
    print(f"{name:58} {'refused' if is_refused else 'accepted'} {best * 1e3:8.1f} ms")


def repeated(piece: bytes, size: int) -> bytes:
    return piece * (size // len(piece))


# --- heads ----------------------------------------------------------------------------


def parse_head(data: bytes, step: int = 1 << 20) -> None:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    for at in range(0, len(data), step):
        request = parser.next_request(data[at : at + step])
    assert request is not None
    request.headers.get("x")


def test_request_heads() -> None:
    line = b"GET /%b HTTP/1.1\r\n" % (b"a" * (CONFIG.max_request_line - 14))
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"v" * 300) for number in range(99))
    fields += b"Host: a\r\n\r\n"
    cost("head: longest line, most fields", lambda: parse_head(line + fields))
    cost("head: the same in 49,000 reads", lambda: parse_head(line + fields, 1))
    wrong = fields[:-4] + b"\x00\r\n\r\n"
    cost("head: a control byte at its end", lambda: parse_head(line + wrong), is_refused=True)
    most = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * ((FIELD - 9) // 4) + b"\r\n"
    cost("head: 8,000 fields", lambda: parse_head(most), is_refused=True)
    wrong = b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 98 + b"Content-Length: 0\r\n\r\n"
    cost("head: 98 fields and no Host", lambda: parse_head(wrong), is_refused=True)
    long = line[:-2] + b"x\r\n"
    cost("head: line over the limit", lambda: parse_head(long), is_refused=True)
    cost("head: the same in 16,000 reads", lambda: parse_head(long, 1), is_refused=True)
    host = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * FIELD)
    cost("head: a Host of 32 KiB", lambda: parse_head(host), is_refused=True)
    coding = b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: %b\r\n\r\n"
    coding %= b"chunked," * (FIELD // 8)
    cost("head: Transfer-Encoding of 4,000 codings", lambda: parse_head(coding), is_refused=True)
    connection = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: %b\r\n\r\n" % (b"a," * (FIELD // 2))
    cost("head: Connection of 16,000 options", lambda: parse_head(connection))


def test_paths_and_queries() -> None:
    tree: RouteTree[int] = RouteTree()
    for number, pattern in enumerate(
        ("/{a}/{b}/{c}", "/{a:int}/{rest:path}", "/{a}/x/{rest:path}")
    ):
        tree.add(parse_pattern(pattern, BUILT_IN), ["GET"], number)
    path = "/a/x" + "/" * (CONFIG.max_request_line - 20)
    assert isinstance(tree.find("GET", path), Found)
    cost("path: 16,000 segments", lambda: tree.find("GET", path))
    escaped = "/a/x/" + "%41" * (CONFIG.max_request_line // 3 - 10)
    cost("path: escapes", lambda: tree.find("GET", escaped))
    apart = "/a/x" + "/%41" * (CONFIG.max_request_line // 4 - 10)
    cost("path: escapes in 4,000 segments", lambda: tree.find("GET", apart))
    broken = apart + "/%"
    cost("path: a broken escape at its end", lambda: tree.find("GET", broken), is_refused=True)
    number = "/" + "9" * (CONFIG.max_request_line - 20) + "/x"
    cost("path: an int of 16,000 digits", lambda: tree.find("GET", number))
    most = CONFIG.max_form_fields
    query = "&".join(["%41%42+%43=%E2%82%AC"] * 700)[: CONFIG.max_request_line - 20]
    cost("query: escapes", lambda: parse_urlencoded(query, max_fields=most))
    fields = "&" * (CONFIG.max_request_line - 20)
    cost("query: 16,000 fields", lambda: parse_urlencoded(fields, max_fields=most), is_refused=True)


# --- fields ---------------------------------------------------------------------------


def test_fields() -> None:
    cost("Cookie: 10,000 cookies", lambda: parse_cookies("".join(f"{i:x}=;" for i in range(5400))))
    cost("Cookie: quotes", lambda: parse_cookies('a="";' * (FIELD // 5)))
    cost("Accept: 10,000 members", lambda: preferred_form("a," * (FIELD // 2)))
    cost("Accept: parameters", lambda: preferred_form("text/html" + ";q=0" * (FIELD // 4)))
    cost("Accept: 8,000 media ranges", lambda: preferred_form("a/b," * (FIELD // 4)))
    cost("Accept: semicolons", lambda: preferred_form("a/b" + ";" * FIELD))
    cost("Accept: text/* with weights", lambda: preferred_form("text/*;q=0.1," * (FIELD // 13)))
    cost("Accept-Encoding: weights", lambda: parse_weights("gzip;q=0.001," * (FIELD // 13)))
    cost("Accept-Encoding: no weights", lambda: parse_weights("a;q=x," * (FIELD // 6)))
    cost("Range: 32 ranges", lambda: parse_ranges("bytes=" + "1-1," * 32, 1 << 60))
    cost("Range: 10,000 ranges", lambda: parse_ranges("bytes=" + "1-1," * (FIELD // 4), 1 << 60))
    cost("Range: none inside", lambda: parse_ranges("bytes=9-," * 1, 5), is_refused=True)
    cost("If-None-Match: 8,000 tags", lambda: parse_entity_tags('"",' * (FIELD // 3)))
    cost("Content-Type: 16,000 parameters", lambda: parse_media_type("a/b" + ";a" * (FIELD // 2)))
    cost("Range: commas", lambda: parse_ranges("bytes=1-1" + "," * FIELD, 1 << 60))
    connection = Headers({"Host": "a", "Connection": "," * FIELD})
    cost("Connection: commas", lambda: decide_framing(connection, 1))
    expect = Headers({"Host": "a", "Expect": "a," * (FIELD // 2)})
    cost("Expect: 16,000 members", lambda: decide_framing(expect, 1))
    cost("If-None-Match: not closed", lambda: parse_entity_tags('"",' * (FIELD // 3) + '"'))
    cost("If-None-Match: commas", lambda: parse_entity_tags(", " * (FIELD // 2) + "x"))
    cost("If-Modified-Since: 32 KiB", lambda: parse_http_date("Mon, 01 Jan" + " " * FIELD))
    proxies = TrustedProxies(["10.0.0.0/8"])
    hops = Headers({"X-Forwarded-For": "10.0.0.1," * (FIELD // 9)})
    peer = Address("10.0.0.1", 1)
    cost("X-Forwarded-For: 3,600 trusted hops", lambda: proxies.origin_of(peer, "http", hops))
    wrong = Headers({"X-Forwarded-For": "1::" + ":" * FIELD})
    cost("X-Forwarded-For: no address", lambda: proxies.origin_of(peer, "http", wrong))
    proxies = TrustedProxies(["10.0.0.0/8"], ["forwarded"])

    def read(*lines: str) -> Callable[[], object]:
        fields = Headers([("Forwarded", line) for line in lines])
        return lambda: proxies.origin_of(peer, "http", fields)

    cost("Forwarded: commas", read("," * FIELD), is_refused=True)
    cost("Forwarded: commas in 98 lines", read(*["," * (FIELD // 98)] * 98), is_refused=True)
    cost("Forwarded: semicolons", read(";" * FIELD), is_refused=True)
    cost("Forwarded: commas up to the limit", read("," * 256))
    escapes = 'host="' + '\\"' * (FIELD // 2) + '"'
    cost("Forwarded: escapes", read(escapes), is_refused=True)
    cost("filename: 4 KiB of characters that decompose", lambda: safe_filename("\ufdfa" * 4096))


def asked(app: App, *fields: tuple[str, str]) -> Callable[[], object]:
    """Return a function that sends a request with these fields to an app with middleware."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode("latin-1")

    def ask() -> None:
        request = Parser(FakePeer(), RequestLines(), Limits()).next_request(head)
        assert request is not None
        answer = asyncio.run(app.handle(request))
        assert answer.status < 500

    return ask


def test_fields_that_middleware_reads() -> None:
    def app_with(*use: Middleware) -> App:
        app = App()

        @app.get("/", use=use)
        async def show(request: Request) -> str:
            return str(len(request.session)) if use[0] is sessions else ""

        app.freeze()
        return app

    sessions = Sessions(token_urlsafe(32))
    forged = f"session=a.{'b' * 6}.{'c' * 27};"
    cookies = ("Cookie", forged * (FIELD // len(forged)))
    cost("session cookies that do not verify: 700", asked(app_with(sessions), cookies))
    basic = ("Authorization", f"Basic {'QTpB' * (FIELD // 4 - 10)}")
    cost("Authorization: Basic of 24 KiB", asked(app_with(BasicAuth({"a": "b"})), basic))
    origin = ("Origin", "https://" + "a" * (FIELD - 20))
    cost("Origin: 32 KiB", asked(app_with(CORS("https://a.example")), origin))
    coding = ("Accept-Encoding", "a;q=0.1," * (FIELD // 8))
    cost("Accept-Encoding: compression asks", asked(app_with(Compression()), coding))


def negotiated(offer: str) -> Callable[[], object]:
    return lambda: Frames(CONFIG.max_message).negotiate([offer])


def test_websocket_offers() -> None:
    many = negotiated("a," * (FIELD // 2 - 1) + "a")
    cost("Sec-WebSocket-Extensions: 16,000 offers", many, is_refused=True)
    cost("Sec-WebSocket-Extensions: parameters", negotiated("a" + ";b" * 9000), is_refused=True)
    escapes = 'a;b="' + '\\"' * (FIELD // 2) + '"'
    cost("Sec-WebSocket-Extensions: escapes", negotiated(escapes))
    one = "permessage-deflate;client_max_window_bits"
    most = negotiated(",".join([one] * 50))
    cost("Sec-WebSocket-Extensions: deflate, up to the limit", most)
    more = negotiated(",".join([one] * (FIELD // len(one) - 9)))
    cost("Sec-WebSocket-Extensions: deflate, over the limit", more, is_refused=True)
    quoted = 'a;b="' + "a" * FIELD
    cost("Sec-WebSocket-Extensions: no quote", negotiated(quoted), is_refused=True)


# --- bodies ---------------------------------------------------------------------------


def test_chunked() -> None:
    limits = Limits()

    def decode(data: bytes) -> None:
        decoder = ChunkedDecoder(max_extensions=limits.max_chunk_extensions)
        content, _ = decoder.decode(data, 0)
        assert content

    cost("chunked: chunks of a byte, a call", lambda: decode(repeated(b"1\r\na\r\n", PIECE)))
    cost("chunked: extensions, a call", lambda: decode(repeated(b"1;a\r\na\r\n", PIECE)))
    tight = Limits(max_chunk_extensions=2 * 990)  # a call ends after 1,000 chunks

    def refuse() -> None:
        decoder = ChunkedDecoder(max_extensions=tight.max_chunk_extensions)
        decoder.decode(repeated(b"1;a\r\na\r\n", PIECE), 0)

    cost("chunked: one extension too many, a call", refuse, is_refused=True)


def test_urlencoded() -> None:
    most, text = CONFIG.max_form_fields, CONFIG.max_form_text

    def parse(piece: bytes) -> Callable[[], object]:
        data = repeated(piece, text)
        return lambda: parse_urlencoded(data.decode("utf-8", "replace"), max_fields=most)

    cost("url-encoded: escapes", parse(b"%41"))
    cost("url-encoded: broken escapes", parse(b"%"))
    cost("url-encoded: escapes that are no UTF-8", parse(b"%ff"))
    cost("url-encoded: bytes that are no UTF-8", parse(b"\xff"))
    cost("url-encoded: plus signs", parse(b"+"))
    cost("url-encoded: backslashes", parse(b"%5c\\"))
    cost("url-encoded: too many fields", parse(b"a&"), is_refused=True)


async def pieces_of(data: bytes, step: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


def test_multipart() -> None:
    def parse(parts: bytes, *, step: int = PIECE) -> Callable[[], object]:
        async def read() -> object:
            return await read_form(
                pieces_of(parts + b"--b--", step),
                "multipart/form-data; boundary=b",
                max_parts=CONFIG.max_form_fields,
                max_text=CONFIG.max_form_text,
            )

        return lambda: asyncio.run(read())

    head = b'--b\r\nContent-Disposition: form-data; name="f"'
    file = head + b'; filename="a"\r\n\r\n'
    text = head + b"\r\n\r\n"
    cost("multipart: 1,000 fields", parse((text + b"\r\n") * 1000))
    cost("multipart: 1,000 files", parse((file + b"a\r\n") * 1000))
    cost("multipart: too many fields", parse((text + b"\r\n") * 2000), is_refused=True)
    for name, piece in {
        "line ends": b"\r\n",
        "almost the boundary": b"\r\n--a",
        "CR": b"\r",
    }.items():
        cost(f"multipart: a file of {name}", parse(file + repeated(piece, PIECE) + b"\r\n"))
    most = (text + b"\r\n") * 999 + file + bytes(CONFIG.max_body - 100_000) + b"\r\n"
    cost("multipart: 999 fields and a file, in one piece", parse(most, step=len(most) + 5))
    cost("multipart: 1 MiB of text", parse(text + b"\xc3\xa4" * 500_000 + b"\r\n"))
    escaped = head + b'; filename="' + b'\\"' * 1900 + b'"\r\n\r\n\r\n'
    cost("multipart: names of quotes", parse(escaped * 64))
    headers = b"".join(b"X-%d: %b\r\n" % (number, b"v" * 500) for number in range(7))
    cost("multipart: 250 parts of headers", parse((head + b"\r\n" + headers + b"\r\n\r\n") * 250))
    named = b"".join(b";%d=" % number + b"a" for number in range(500))
    cost("multipart: parameters", parse(head + named + b"\r\n\r\n\r\n"), is_refused=True)
    wrong = head + b'; filename="' + b"\\" * 3900 + b"\r\n\r\n\r\n"
    cost("multipart: a quote that does not end", parse(wrong), is_refused=True)


def json_array(item: bytes) -> bytes:
    """Return a JSON array with as many items as the limit allows."""
    values = max(1 + sum(map(item.count, (b",", b"[", b"{"))), 2 * item.count(b"{"))
    number = min(CONFIG.max_json_values // values, (CONFIG.max_json - 2) // (len(item) + 1))
    return b"[" + b",".join([item] * number) + b"]"


JSON = {
    "empty objects": b"{}",
    "empty arrays": b"[]",
    "nested arrays": b"[" * 500 + b"]" * 500,
    "nested objects": b'{"":' * 100 + b"1" + b"}" * 100,
    "objects of a member": b'{"a":1}',
    "numbers": b"1",
    "floats": b"1.5e3",
    "floats of 20 digits": b"1." + b"9" * 20,
    "integers of 4,300 digits": b"9" * 4300,
    "strings": b'"a"',
    "strings of commas": b'","',
}


def test_json() -> None:
    def parse(data: bytes) -> Callable[[], object]:
        return lambda: parse_json(data, max_values=CONFIG.max_json_values)

    for name, item in JSON.items():
        cost(f"JSON: {name}", parse(json_array(item)))
    # Both take 60 ms here, of which `json.loads` takes 50. The 75,000 objects take 36 ms with one
    # name, but a count of bytes can't distinguish different names from a repeated one.
    members = b",".join(b'"%x":1' % number for number in range(105_000))
    cost("JSON: members of different names", parse(b"{%b}" % members))
    most = CONFIG.max_json_values // 2
    objects = b",".join(b'{"%x":1}' % number for number in range(most))
    cost("JSON: objects of different names", parse(b"[%b]" % objects))
    objects = b"".join(b'{"%x":' % number for number in range(100)) + b"1" + b"}" * 100
    cost(
        "JSON: nested objects over the limit",
        parse(b"[%b]" % b",".join([objects] * (most // 100 + 1))),
        is_refused=True,
    )
    cost("JSON: one string of escapes", parse(b'["%b"]' % (rb"\n" * 500_000)))
    cost("JSON: one string of surrogate pairs", parse(b'["%b"]' % (rb"\ud83d\ude00" * 87_000)))
    half = rb"\ud83d\ude00" * 87_000 + rb"\ud83d"
    cost("JSON: half a pair at the end", parse(b'["%b"]' % half), is_refused=True)
    for name, last in {"NaN": b"NaN", "1e999": b"1e999", "no value": b"x"}.items():
        data = json_array(b"1")[:-1] + b" ," + last + b"]"
        data = data.replace(b"1,", b"", 1)
        cost(f"JSON: {name} at the end", parse(data), is_refused=True)
    for name, item in {"values": b"1", "strings": b'""', "strings of commas": b'","'}.items():
        data = b"[" + b",".join([item] * (CONFIG.max_json // (len(item) + 1))) + b"]"
        cost(f"JSON: too many {name}", parse(data), is_refused=True)


@dataclass
class Item:
    a: int
    b: int = 0
    c: str = ""


class Member(TypedDict):
    a: int


TYPED = {
    "numbers": (b"1", list[int]),
    "a union of plain types": (b'""', list[int | float | str | None]),
    "arrays": (b"[1]", list[tuple[int]]),
    "objects": (b"{}", list[dict[str, int]]),
    "dataclasses": (b'{"a":1}', list[Item]),
    "TypedDicts": (b'{"a":1}', list[Member]),
    "a union of objects": (b'{"a":1}', list[Item | Member]),
    "UUIDs": (b'"12345678-1234-1234-1234-123456789012"', list[UUID]),
    "times": (b'"2020-01-01T00:00:00Z"', list[datetime]),
    "decimals": (b'"1"', list[Decimal]),
}


@pytest.mark.parametrize("name", TYPED)
def test_typed_json(name: str) -> None:
    """5,000 values, because a thread converts more than that."""
    item, kind = TYPED[name]
    data = json_array(item)
    values = 1 + sum(map(item.count, (b",", b"[", b"{")))
    convert = converter_for(kind)
    value = parse_json(data)
    assert isinstance(value, list)
    part = value[: 5000 // values]
    cost(f"typed JSON on the loop: {name}", lambda: convert(part))
    cost(f"typed JSON in a thread: {name}", lambda: convert(value))
    wrong = [*part, ()]
    cost(f"typed JSON on the loop: {name}", lambda: convert(wrong), is_refused=True)


def test_text() -> None:
    for label, content in {
        "utf-8": "ä".encode(),
        "windows-1252": b"a",
        "shift_jis": "あ".encode("shift_jis"),
        "gb18030": "\U0001f600".encode("gb18030"),
        "big5-hkscs": "中".encode("big5"),
        "iso-2022-jp": "あ".encode("iso-2022-jp"),
        "euc-kr": "가".encode("euc-kr"),
        "utf-16": "ä".encode("utf-16-le"),
        "utf-32": "ä".encode("utf-32-le"),
    }.items():
        data = repeated(content, 1 << 20)  # a thread decodes larger ones
        codec = codec_of(label)
        assert codec is not None
        cost(f"text: 1 MiB of {label}", partial(data.decode, codec))


# --- WebSocket ------------------------------------------------------------------------


def frame(opcode: int, content: bytes) -> bytes:
    """Return a masked frame with at most 125 bytes of data, or with a length field of 8 bytes."""
    size = (
        bytes([0x80 | len(content)]) if len(content) < 126 else b"\xff%b" % len(content).to_bytes(8)
    )
    return bytes([opcode]) + size + bytes(4) + content


def test_websocket_frames() -> None:
    def receive(data: bytes, *, deflate: bool = False) -> Callable[[], object]:
        def parse() -> None:
            frames = Frames(CONFIG.max_message)
            if deflate:
                assert frames.negotiate(["permessage-deflate"])
            frames.feed(data)
            frames.next_message()

        return parse

    cost("WebSocket: pings, up to others' turn", receive(repeated(frame(0x89, b""), PIECE)))
    parts = frame(0x02, b"") + repeated(frame(0x00, b"a"), PIECE)
    cost("WebSocket: fragments of a byte, up to others' turn", receive(parts))
    cost("WebSocket: a message of 1 MiB", receive(frame(0x81, "ä".encode() * (1 << 19))))
    bomb = zlib.compressobj(wbits=-15)
    content = bomb.compress(bytes(1 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)[:-4]
    cost("WebSocket: deflated, 1 MiB", receive(frame(0xC1, content), deflate=True))
    bomb = zlib.compressobj(wbits=-15)
    content = bomb.compress(bytes(64 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)[:-4]
    cost("WebSocket: deflated, 64 MiB (1009)", receive(frame(0xC1, content), deflate=True))
    blocks = empty_blocks(1 << 20)
    cost(
        "WebSocket: tables without data, up to others' turn",
        receive(frame(0xC1, blocks), deflate=True),
    )
