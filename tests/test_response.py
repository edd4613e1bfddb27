from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answering import (
    GET,
    HEAD,
    HEADS,
    Pieces,
    encode,
    make_request,
    send,
    split,
)
from support.serving import get, on_loopback, peer_of

from microweb import App
from microweb.errors import LocalProtocolError
from microweb.http.bytestream import UpgradedStream
from microweb.http.framing import CLOSE, KEEP_ALIVE
from microweb.http.mediatypes import HTML, JSON, OCTETS, TEXT
from microweb.request import Request
from microweb.response import Response
from microweb.server.answering import persistence_of
from microweb.suggestions import NAMES
from microweb.websocket.upgrade import UpgradeResponse

# --- encode ---------------------------------------------------------------------------


def test_a_small_answer_is_one_piece() -> None:
    assert split(encode(Response("hello"))) == (
        b"HTTP/1.1 200 OK",
        {b"content-type": TEXT.encode(), b"content-length": b"5"},
        b"hello",
    )


def test_a_touched_answer_is_the_same() -> None:
    touched = Response("hello")
    touched.headers["X-Name"] = "caf\xe9"
    touched.headers.add("x-name", "b")
    answer = encode(touched)
    assert b"\r\nX-Name: caf\xe9\r\nX-Name: b\r\n" in answer
    assert split(answer.replace(b"X-Name: caf\xe9\r\nX-Name: b\r\n", b"")) == split(
        encode(Response("hello"))
    )


@pytest.mark.parametrize(
    ("response", "content_type", "body"),
    [
        (Response(), None, b""),
        (Response(b"\xff"), OCTETS, b"\xff"),
        (Response("é"), TEXT, "é".encode()),
        (Response(""), TEXT, b""),
        (Response("a", content_type="text/css"), "text/css", b"a"),
        (Response(b"a", content_type="image/png"), "image/png", b"a"),
        (Response(b"a", headers={"content-type": "image/png"}), "image/png", b"a"),
        (Response.text("a"), TEXT, b"a"),
        (Response.html("<b>"), HTML, b"<b>"),
        (Response.json({"a": [1, None]}), JSON, b'{"a":[1,null]}'),
    ],
)
def test_the_content_type_is_that_of_the_body(
    response: Response, content_type: str | None, body: bytes
) -> None:
    _, fields, sent = split(encode(response))
    assert fields.get(b"content-type") == (content_type.encode() if content_type else None)
    assert fields[b"content-length"] == str(len(body)).encode()
    assert sent == body


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600, 1000, -200, "200", 404.0, None])
def test_a_status_that_is_not_final_is_refused(status: int) -> None:
    with pytest.raises(LocalProtocolError, match="expected a final status"):
        Response(status=status)
    with pytest.raises(LocalProtocolError, match="expected a final status"):
        Response().status = status


@pytest.mark.parametrize("is_touched", [False, True])
@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 1000])
def test_head_is_answered_as_get_without_the_body(body: bytes, is_touched: bool) -> None:
    responses = [Response(body), Response(body)]
    if is_touched:
        for response in responses:
            response.headers["X"] = "y"
    to_get, to_head = encode(responses[0]), encode(responses[1], HEAD)
    assert to_head == to_get.removesuffix(body)


@pytest.mark.parametrize("is_touched", [False, True])
@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [b"", b"no content is sent"])
def test_204_and_304_have_no_content_and_no_length(
    status: int, body: bytes, is_touched: bool
) -> None:
    response = Response(body, status)
    if is_touched:
        response.headers["X"] = "y"
    answer = encode(response)
    assert answer.endswith(b"\r\n\r\n")
    _, fields, _ = split(answer)
    assert b"content-length" not in fields
    assert b"transfer-encoding" not in fields


@pytest.mark.parametrize("is_touched", [False, True])
@pytest.mark.parametrize("body", [b"", b"a new form", bytes(100_000)])
async def test_205_has_no_content_and_says_so(body: bytes, is_touched: bool) -> None:
    response = Response(body, 205)
    if is_touched:
        response.headers["X"] = "y"
    answer = response.encode(GET, HEADS, b"")
    if answer is None:
        answer = (await send(response)).written
    _, fields, content = split(answer)
    assert (fields[b"content-length"], content) == (b"0", b"")


@pytest.mark.parametrize("make", [lambda f: Response(b"abc", 205, f), lambda f: stream_205(f)])
async def test_205_says_no_length_but_none(make: Callable[[dict[str, str]], Response]) -> None:
    sent = await send(make({"Content-Length": "0"}))
    assert split(sent.written)[1][b"content-length"] == b"0"
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        await send(make({"Content-Length": "3"}))


def stream_205(fields: dict[str, str]) -> Response:
    return Response.stream(["abc"], 205, fields)


@pytest.mark.parametrize("connection", [b"", CLOSE, KEEP_ALIVE])
async def test_the_connection_field_is_sent_as_the_server_decides(connection: bytes) -> None:
    touched = Response("a")
    touched.headers["Connection"] = "x"
    assert connection in encode(Response("a"), connection=connection)
    assert touched.encode(GET, HEADS, connection) is None  # it has its own Connection field
    answer = b"".join((await send(touched, connection=connection)).writes)
    assert answer.count(b"Connection:") == 1
    assert (connection or b"Connection: x\r\n") in answer


def test_no_server_field_is_sent() -> None:
    assert b"server:" not in encode(Response("a")).lower()


def test_a_date_of_the_applications_own_is_kept() -> None:
    answer = encode(Response("a", headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}))
    assert answer.count(b"Date:") == 1
    assert b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in answer


# --- framing belongs to the response --------------------------------------------------


def test_a_right_content_length_is_sent_once() -> None:
    answer = encode(Response("hello", headers={"content-length": "5"}))
    assert answer.lower().count(b"content-length: 5\r\n") == 1


@pytest.mark.parametrize("length", ["4", "6", "", "-1", "five", "05", "+5", "5, 5"])
def test_a_wrong_content_length_is_refused(length: str) -> None:
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        encode(Response("hello", headers={"Content-Length": length}))


def test_two_content_lengths_are_refused() -> None:
    response = Response("hello", headers=[("Content-Length", "5"), ("content-length", "5")])
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        encode(response)


def test_the_length_that_get_would_have_may_be_said_without_a_body() -> None:
    to_head = Response(headers={"Content-Length": "1234"})
    assert b"Content-Length: 1234\r\n" in encode(to_head, HEAD)
    not_modified = Response(status=304, headers={"Content-Length": "1234"})
    assert b"Content-Length: 1234\r\n" in encode(not_modified)


@pytest.mark.parametrize(
    ("status", "request_", "length"),
    [(204, GET, "0"), (204, HEAD, "0"), (304, GET, "x"), (200, HEAD, "x"), (200, HEAD, "5, 5")],
)
def test_a_length_that_can_not_be_is_refused_without_a_body(
    status: int, request_: Request, length: str
) -> None:
    response = Response(status=status, headers={"Content-Length": length})
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        encode(response, request_)


@pytest.mark.parametrize("coding", ["chunked", "gzip"])
def test_a_transfer_coding_of_the_applications_own_is_refused(coding: str) -> None:
    with pytest.raises(LocalProtocolError, match="Transfer-Encoding"):
        encode(Response("a", headers={"Transfer-Encoding": coding}))


INJECTIONS = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rb", "a\x00", "a\r\n\r\n<script>"]


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_that_the_application_sets_splits_the_answer(text: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: Response("a", headers={"X": text}),
        lambda: Response("a", headers={text: "x"}),
        lambda: Response("a", headers={"Content-Type": text}),
        lambda: Response("a", content_type=text),
        lambda: Response.stream([], content_type=text),
        lambda: Response().headers.add("X", text),
        lambda: Response().headers.__setitem__("X", text),
    ]
    for attempt in attempts:
        with pytest.raises(LocalProtocolError):
            attempt()
    for name, value in [(text, "x"), ("x", text)]:
        with pytest.raises(ValueError, match="expected"):
            Response().set_cookie(name, value)
    assert not set(Response.redirect(text).headers["location"]) & set("\r\n\x00")


# --- one exchange ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Response("hello"),
        lambda: Response(status=204),
        lambda: Response(b"x" * 100, 404),
        lambda: Response.json([1]),
    ],
)
def test_an_untouched_answer_may_be_shared(make: Callable[[], Response]) -> None:
    shared = make()
    first = encode(shared)
    assert [encode(shared), encode(shared, HEAD), encode(shared)][::2] == [first, first]


async def test_an_untouched_large_answer_may_be_shared() -> None:
    shared = Response(b"x" * 100_000)
    first, second = await send(shared), await send(shared)
    assert first.written == second.written


@pytest.mark.parametrize(
    "touch",
    [
        lambda response: response.headers.__setitem__("X", "y"),
        lambda response: response.headers.add("X", "y"),
        lambda response: response.headers.__delitem__("Content-Type"),
        lambda response: response.set_cookie("a", "b"),
        lambda response: response.delete_cookie("a"),
        lambda response: setattr(response, "status", 404),
        lambda response: setattr(response, "body", b"x"),
    ],
)
@pytest.mark.parametrize("status", [200, 204])
def test_an_answer_that_was_sent_is_not_touched(
    touch: Callable[[Response], None], status: int
) -> None:
    response = Response("hello", status)
    touch(response)  # allowed before it is sent
    response = Response("hello", status)
    before = encode(response)
    with pytest.raises(LocalProtocolError, match="was sent"):
        touch(response)
    assert encode(Response("hello", status)) == before


def test_a_touched_answer_may_be_shared_and_is_not_changed_once_it_is_used() -> None:
    response = Response("hello", headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"})
    response.headers["Connection"] = "x"
    response.set_cookie("a", "b")
    first = response.encode(GET, HEADS, b"")
    assert first is None  # it has its own Connection field
    del response.headers["Connection"]
    first = encode(response)
    assert b"Set-Cookie: a=b" in first
    assert encode(response) == first
    with pytest.raises(LocalProtocolError, match="was sent"):
        response.headers["X"] = "z"


async def test_the_servers_word_on_the_connection_does_not_change_the_answer() -> None:
    response = Response("hello", headers={"Connection": "x"})
    for connection in (CLOSE, KEEP_ALIVE, b""):
        sent = (await send(response, connection=connection)).written
        assert (connection or b"Connection: x\r\n") in sent


async def test_a_stream_is_not_sent_twice() -> None:
    response = Response.stream(["a"])
    await send(response)
    with pytest.raises(LocalProtocolError, match="was sent"):
        await send(response)


def test_what_is_set_before_is_sent() -> None:
    response = Response("hello")
    response.status = 201
    response.body = b"other"
    del response.headers["Content-Type"]
    assert response.body == b"other"
    assert split(encode(response)) == (
        b"HTTP/1.1 201 Created",
        {b"content-length": b"5"},
        b"other",
    )


# --- buffers


WIDE = array("I", range(100))


@pytest.mark.parametrize(
    "buffer",
    [memoryview(WIDE), memoryview(b"abcd")[::2], bytearray(b"ab"), memoryview(b"")],
    ids=["wide", "with gaps", "bytearray", "empty"],
)
async def test_buffer_is_sent_by_its_bytes(buffer: Any) -> None:
    sent = bytes(buffer)
    response, replaced = Response(buffer), Response()
    replaced.body = buffer
    for each in (response, replaced):
        _, fields, body = split(encode(each))
        assert (fields[b"content-length"], body) == (str(len(sent)).encode(), sent)
    written = (await send(Response.stream([buffer]))).written
    assert (
        split(written)[2] == (b"%x\r\n%b\r\n" % (len(sent), sent) if sent else b"") + b"0\r\n\r\n"
    )
    declared = Response.stream([buffer], headers={"Content-Length": str(len(sent))})
    assert split((await send(declared)).written)[2] == sent


def test_body_is_what_a_buffer_held_when_it_was_set() -> None:
    buffer = bytearray(b"ab")
    response = Response(buffer)
    buffer[0] = 0
    assert response.body == b"ab"


@pytest.mark.parametrize("body", [None, 7, {}, [], "a"])
@pytest.mark.parametrize("kind", [Response, Response.json])
def test_body_that_is_no_bytes_is_refused_where_it_is_set(body: Any, kind: Any) -> None:
    with pytest.raises(TypeError, match="expected bytes as a body"):
        kind("x").body = body


async def test_buffer_goes_over_a_socket_whole() -> None:
    app = App()
    wide = memoryview(array("I", range(200_000)))
    app.get("/")(lambda: Response(wide))
    app.get("/stream")(lambda: Response.stream([wide]))
    app.get("/upgrade")(lambda: UpgradeResponse({"Upgrade": "x"}, write_wide))

    async def write_wide(stream: UpgradedStream) -> None:
        if stream.write(wide):
            await stream.drain()

    async with on_loopback(app) as server:
        for path, field in [("/", "X: y"), ("/stream", "X: y"), ("/upgrade", "Upgrade: x")]:
            async with peer_of(server) as peer:
                options = "Connection: upgrade" if path == "/upgrade" else "Connection: close"
                await peer.send(get(path, field, options))
                _, _, body = (await peer.read_all()).partition(b"\r\n\r\n")
                assert bytes(wide) in body


# --- cookies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "secure", "is_secure"),
    [
        ("http", None, False),
        ("https", None, True),
        ("http", True, True),
        ("https", False, False),
    ],
)
def test_a_cookie_is_secure_by_the_requests_scheme(
    scheme: str, secure: bool | None, is_secure: bool
) -> None:
    response = Response().set_cookie("a", "b", secure=secure)
    answer = encode(response, make_request(scheme=scheme))
    suffix = b"; Path=/; Secure; HttpOnly" if is_secure else b"; Path=/; HttpOnly"
    assert b"\r\nSet-Cookie: a=b" + suffix + b"; SameSite=Lax\r\n" in answer


def test_cookies_are_lines_of_their_own() -> None:
    response = Response().set_cookie("a", "1", max_age=60).set_cookie("b", "2", httponly=False)
    response.headers.add("Set-Cookie", "c=3")
    answer = encode(response)
    assert answer.count(b"Set-Cookie: ") == 3
    assert b"Set-Cookie: a=1; Max-Age=60; Path=/; HttpOnly; SameSite=Lax\r\n" in answer
    assert b"Set-Cookie: b=2; Path=/; SameSite=Lax\r\n" in answer


def test_a_cookie_has_all_its_attributes() -> None:
    response = Response().set_cookie(
        "a",
        "b",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        path="/x",
        domain="a.test",
        samesite="none",
        partitioned=True,
    )
    assert (
        b"Set-Cookie: a=b; Expires=Tue, 01 Jan 2030 00:00:00 GMT; Domain=a.test; Path=/x; Secure; "
        b"HttpOnly; SameSite=None; Partitioned\r\n"
    ) in encode(response)


def test_a_deleted_cookie_has_expired() -> None:
    answer = encode(Response().delete_cookie("a", path="/x"))
    assert b"Set-Cookie: a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/x" in answer


def test_a_host_cookie_is_deleted_as_one() -> None:
    answer = encode(Response().delete_cookie("__Host-a"))
    assert b"Set-Cookie: __Host-a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; " in answer
    assert b"; Path=/; Secure; HttpOnly; SameSite=Lax\r\n" in answer


def test_a_cookie_that_is_set_again_is_sent_once() -> None:
    response = Response().set_cookie("a", "1").set_cookie("b", "2").set_cookie("a", path="/x")
    answer = encode(response.set_cookie("a", "3").delete_cookie("b"))
    assert answer.count(b"Set-Cookie: ") == 3
    assert b"Set-Cookie: a=; Path=/x;" in answer
    assert b"Set-Cookie: a=3; Path=/;" in answer
    assert b"Set-Cookie: b=; Expires=" in answer


async def test_a_stream_sets_its_cookies() -> None:
    stream = await send(Response.stream(["a"]).set_cookie("a", "b"))
    assert b"Set-Cookie: a=b" in stream.written


# --- JSON -----------------------------------------------------------------------------


def through(json_default: Callable[[object], object] | None) -> Request:
    request = make_request()
    app = SimpleNamespace(json_default=json_default)
    request.match = SimpleNamespace(app=app)  # type: ignore[assignment]
    return request


class Colour:
    def __init__(self, name: str) -> None:
        self.name = name


async def test_json_uses_the_apps_default() -> None:
    response = Response.json({"c": Colour("red")}, 201)
    prepared = await response.prepare(through(lambda value: vars(value)))
    assert prepared.body == b'{"c":{"name":"red"}}'
    assert split(encode(prepared)) == (
        b"HTTP/1.1 201 Created",
        {b"content-type": b"application/json", b"content-length": b"20"},
        b'{"c":{"name":"red"}}',
    )


async def test_json_of_an_unknown_value_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        await Response.json(Colour("red")).prepare(through(None))
    with pytest.raises(TypeError):
        encode(Response.json(Colour("red")))


def test_json_is_encoded_without_an_app_too() -> None:
    assert Response.json(None).body == b"null"
    assert split(encode(Response.json("é")))[2] in ('"é"'.encode(), b'"\\u00e9"')


async def test_a_json_body_can_be_replaced_also_by_nothing() -> None:
    for body in (b"[]", b""):
        response = Response.json([1])
        response.body = body
        response = await response.prepare(through(None))
        assert response.body == body
        assert split(encode(response))[2] == body


async def test_a_large_json_body_is_written_by_itself() -> None:
    response = Response.json(["x" * 100_000])
    assert response.encode(GET, HEADS, b"") is None
    assert len(split((await send(response)).written)[2]) == 100_004


# --- names of other frameworks --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("status_code", "response.status"),
        ("media_type", 'response.headers["content-type"]'),
        ("data", "response.body"),
        ("set_header", 'response.headers["X"] = "y"'),
        ("del_cookie", "response.delete_cookie(...)"),
        ("body_iterator", "response.pieces"),
    ],
)
def test_a_name_of_another_framework_is_answered_with_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(ours)):
        getattr(Response(), name)
    assert not hasattr(Response(), name)


@pytest.mark.parametrize(
    ("keyword", "ours"),
    [
        ("status_code", "Response(body, status)"),
        ("mimetype", "Response(..., content_type=...)"),
        ("background", "request.after_response(function)"),
    ],
)
def test_a_keyword_of_another_framework_is_answered_with_ours(keyword: str, ours: str) -> None:
    with pytest.raises(TypeError) as caught:
        Response("x", **{keyword: 1})  # type: ignore[arg-type]
    text = f"Response() has no keyword {keyword!r}: in microweb it is `{ours}`"
    assert str(caught.value) == text


def test_an_unknown_keyword_is_plainly_unknown() -> None:
    with pytest.raises(TypeError, match=r"^Response\(\) has no keyword 'nonsense'$"):
        Response("x", nonsense=1)  # type: ignore[arg-type]


def test_an_unknown_name_is_plainly_unknown() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        _ = Response().nonsense  # type: ignore[attr-defined]


def test_every_name_of_ours_is_there() -> None:
    for theirs, ours in NAMES[Response].items():
        assert not hasattr(Response(), theirs)
        for name in re.findall(r"response\.(\w+)", ours):
            assert hasattr(Response, name)


def test_a_response_shows_itself() -> None:
    assert repr(Response(status=404)) == "<Response 404>"
    assert repr(Response.stream([])) == "<Response 200>"


# --- h11 reads the answers ------------------------------------------------------------

TCHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FRAMING = {"content-length", "transfer-encoding", "connection", "date", "content-type", "upgrade"}
names = st.text(TCHARS, min_size=1, max_size=10).filter(lambda name: name.lower() not in FRAMING)
values = st.text([chr(i) for i in [9, *range(0x20, 0x7F), *range(0x80, 0x100)]], max_size=20).map(
    lambda value: value.strip(" \t\x85\xa0")
)
statuses = st.integers(200, 599) | st.sampled_from([204, 205, 304])
versions = st.sampled_from(["1.0", "1.1"])


def read_by_h11(answer: bytes, method: str, *, is_closed: bool) -> tuple[h11.Response, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    if is_closed:
        client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return response, body


def check_with_h11(
    answer: bytes, method: str, status: int, fields: list[tuple[str, str]], body: bytes,
    *, is_closed: bool = False,
) -> None:  # fmt: skip
    response, content = read_by_h11(answer, method, is_closed=is_closed)
    assert response.status_code == status
    assert content == (b"" if method == "HEAD" or status in (204, 205, 304) else body)
    got = [(name.decode(), value.decode("latin-1")) for name, value in response.headers]
    wanted = [(name.lower(), value) for name, value in fields]
    assert sorted(pair for pair in got if pair[0] not in FRAMING) == sorted(wanted)
    assert [name for name, _ in got].count("date") == 1


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    versions,
    statuses,
    st.lists(st.tuples(names, values), max_size=5),
    st.binary(max_size=100),
)
def test_what_is_encoded_h11_reads(
    method: str, version: str, status: int, fields: list[tuple[str, str]], body: bytes
) -> None:
    request = make_request(method, version=version)
    check_with_h11(encode(Response(body, status, fields), request), method, status, fields, body)
    check_with_h11(encode(Response(body, status), request), method, status, [], body)


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    versions,
    statuses,
    st.lists(st.tuples(names, values), max_size=3),
    st.lists(st.binary(max_size=20), max_size=5),
    st.booleans(),
)
async def test_what_is_streamed_h11_reads(
    method: str,
    version: str,
    status: int,
    fields: list[tuple[str, str]],
    pieces: list[bytes],
    has_length: bool,
) -> None:
    request, body = make_request(method, version=version), b"".join(pieces)
    length = [("Content-Length", str(len(body)))] if has_length and status not in (204, 205) else []
    response = Response.stream(Pieces(*pieces).generate(), status, [*fields, *length])
    wanted = KEEP_ALIVE if version == "1.0" else b""
    connection = persistence_of(response, request, wanted)
    stream = await send(response, request, connection)
    assert (connection == CLOSE) is (version == "1.0" and not length)
    check_with_h11(stream.written, method, status, fields, body, is_closed=connection == CLOSE)


@given(
    st.sampled_from([204, 200, 205, 304]), st.sampled_from(["GET", "HEAD"]), st.binary(max_size=9)
)
def test_answers_that_are_joined_are_read_apart(status: int, method: str, body: bytes) -> None:
    answers = encode(Response(body, status), make_request(method)) + encode(Response("next"))
    client = h11.Connection(h11.CLIENT)
    got = []
    client.receive_data(answers)
    for request_method in (method, "GET"):
        client.send(h11.Request(method=request_method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        response = client.next_event()
        assert isinstance(response, h11.Response)
        content = b""
        while isinstance(event := client.next_event(), h11.Data):
            content += event.data
        assert isinstance(event, h11.EndOfMessage)
        got.append((response.status_code, content))
        if request_method == "GET" and len(got) == 2:
            break
        client.start_next_cycle()
    is_empty = method == "HEAD" or status in (204, 205, 304)
    assert got == [(status, b"" if is_empty else body), (200, b"next")]
