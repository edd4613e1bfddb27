"""Files as bodies: over connections in memory, which read them, and over sockets (sendfile)."""

from __future__ import annotations

import asyncio
import email
import errno
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from email.message import Message
from pathlib import Path

import pytest
from support.serving import get, on_loopback, peer_of, post, statuses, until_none

from microweb import App, Request, Response
from microweb.bodies.file import FileBody
from microweb.errors import LocalProtocolError
from microweb.http.dates import format_http_date
from microweb.http.headers import Headers
from microweb.server import body as request_body
from microweb.server.server import Server
from microweb.testing.misbehaving import Misbehaving

HELLO = b"static hello\n"
MODIFIED_S = 1790812800
MODIFIED = "Thu, 01 Oct 2026 00:00:00 GMT"
BEFORE = "Wed, 30 Sep 2026 00:00:00 GMT"
MIB = 1024 * 1024

needs_sendfile = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="needs os.sendfile")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hello.txt"
    path.write_bytes(HELLO)
    os.utime(path, (MODIFIED_S, MODIFIED_S))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(b"".join(number.to_bytes(4, "big") for number in range(3 * MIB // 4)))
    return path


def app_of(make: Callable[[], object]) -> App:
    """Return an app that answers GET and POST at / with what `make` returns."""
    app = App()

    @app.route("/", ["GET", "POST"])
    async def index() -> object:
        return make()

    return app


async def ask(path: Path, method: str = "GET", **fields: str) -> tuple[int, dict[str, str], bytes]:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    async with app_of(lambda: Response.file(path)).test_client() as client:
        response = await client.request(method, "/", headers=headers)
    return response.status_code, dict(response.headers), response.content


async def tag_of(path: Path) -> str:
    return (await ask(path))[1]["etag"]


# --- a file


async def test_file_is_sent_with_its_fields(file: Path) -> None:
    status, headers, body = await ask(file)
    assert (status, body) == (200, HELLO)
    assert re.fullmatch(r'"[0-9a-f]+-d"', headers.pop("etag"))
    del headers["date"]
    assert headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "13",
        "last-modified": MODIFIED,
        "cache-control": "no-cache",
        "accept-ranges": "bytes",
    }


async def test_head_has_the_fields_of_get(file: Path) -> None:
    got, head = await ask(file), await ask(file, "HEAD")
    assert head[0] == 200 and head[2] == b""
    assert {**head[1], "date": ""} == {**got[1], "date": ""}


async def test_head_and_its_body_are_one_write(file: Path) -> None:
    async with app_of(lambda: Response.file(file)).test_client() as client:
        answer = await client.raw(get("/"))
    assert answer.endswith(b"\r\n\r\n" + HELLO)


async def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for fields in ({}, {"range": "bytes=0-"}):
        status, headers, body = await ask(tmp_path / "empty", **fields)
        assert (status, headers["content-length"], body) == (200, "0", b"")


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, MIB, 2 * MIB + 3])
async def test_file_of_any_size_is_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    status, headers, body = await ask(tmp_path / "file")
    assert (status, headers["content-length"]) == (200, str(size))
    assert body == content


# --- a file that reports size 0


VERSION = Path("/proc/version")
LONG = Path("/proc/kallsyms")
needs_proc = pytest.mark.skipif(not VERSION.exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("path", [VERSION, Path("/proc/cpuinfo"), Path("/proc/self/status")])
async def test_file_of_the_kernel_has_its_content(path: Path) -> None:
    assert path.stat().st_size == 0
    status, headers, body = await ask(path)
    assert (status, int(headers["content-length"])) == (200, len(body))
    assert body.splitlines()[0] == path.read_bytes().splitlines()[0]


@needs_proc
async def test_file_of_the_kernel_is_like_any_other() -> None:
    whole = VERSION.read_bytes()
    status, headers, body = await ask(VERSION, range="bytes=0-4")
    assert (status, body) == (206, whole[:5])
    assert headers["content-range"] == f"bytes 0-4/{len(whole)}"
    assert (await ask(VERSION, if_none_match=headers["etag"]))[0] == 304
    status, headers, body = await ask(VERSION, "HEAD")
    assert (int(headers["content-length"]), body) == (len(whole), b"")


@pytest.mark.skipif(not LONG.exists(), reason="needs a long file in /proc")
async def test_long_file_of_the_kernel_is_whole_on_a_socket() -> None:
    whole = LONG.read_bytes()
    assert len(whole) > 64 * 1024
    async with on_loopback(app_of(lambda: Response.file(LONG))) as server, peer_of(server) as peer:
        await peer.send(get("/", "Connection: close"))
        head, _, body = (await peer.read_all()).partition(b"\r\n\r\n")
    assert statuses(head) == [200]
    assert body == whole


async def test_tag_changes_with_time_and_size(file: Path) -> None:
    tags = {await tag_of(file)}
    os.utime(file, ns=(MODIFIED_S * 10**9 + 1, MODIFIED_S * 10**9 + 1))
    tags.add(await tag_of(file))
    file.write_bytes(HELLO * 2)
    os.utime(file, (MODIFIED_S, MODIFIED_S))
    tags.add(await tag_of(file))
    assert len(tags) == 3


async def test_time_in_the_future_is_not_told(file: Path) -> None:
    os.utime(file, (2**33, 2**33))
    _, headers, _ = await ask(file)
    assert headers["last-modified"] <= headers["date"] or headers["last-modified"] != MODIFIED
    assert headers["last-modified"] != format_http_date(2**33)


async def test_fields_that_the_application_sets_stay(file: Path) -> None:
    def make() -> Response:
        response = Response.file(file, content_type="text/x-note")
        response.headers["ETag"] = 'W/"mine"'
        response.headers["Cache-Control"] = "private"
        response.headers["Last-Modified"] = BEFORE
        return response

    async with app_of(make).test_client() as client:
        response = await client.get("/")
        again = await client.get("/", headers={"If-None-Match": '"mine"'})
    assert response.headers["content-type"] == "text/x-note"
    assert response.headers.get_list("etag") == ['W/"mine"']
    assert response.headers.get_list("cache-control") == ["private"]
    assert response.headers.get_list("last-modified") == [BEFORE]
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("cache", "value"),
    [(None, "no-cache"), (0, "max-age=0"), (60, "max-age=60"), ("private", "private")],
)
async def test_cache_control(file: Path, cache: int | str | None, value: str) -> None:
    async with app_of(lambda: Response.file(file, cache=cache)).test_client() as client:
        assert (await client.get("/")).headers["cache-control"] == value


def test_what_no_field_can_hold_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="expected seconds"):
        Response.file("a", cache=-1)
    for options in ({"cache": "a\r\nb"}, {"content_type": "a\r\nb"}):
        with pytest.raises(LocalProtocolError):
            Response.file("a", **options)  # type: ignore[arg-type]


async def test_status_of_an_error_page(file: Path) -> None:
    app = App()

    @app.errorhandler(404)
    async def missing() -> tuple[Response, int]:
        return Response.file(file), 404

    async with app.test_client() as client:
        response = await client.get("/x", headers={"Range": "bytes=0-1", "If-None-Match": "*"})
    assert (response.status_code, response.content) == (404, HELLO)


# --- missing files


@pytest.mark.parametrize("name", ["nothing", "", "hello.txt/below", "x" * 300, "nul\0"])
async def test_what_is_no_file_is_404(file: Path, name: str) -> None:
    path = f"{file.parent}/{name}"
    async with app_of(lambda: Response.file(path)).test_client() as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (404, "Not Found\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
async def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert (await ask(tmp_path / "pipe"))[0] == 404


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
async def test_unix_socket_is_404(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        assert (await ask(tmp_path / "socket"))[0] == 404


async def test_circle_of_links_is_404(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    assert (await ask(tmp_path / "link"))[0] == 404


async def test_link_is_followed_as_the_path_is_ours(file: Path) -> None:
    (file.parent / "link").symlink_to(file)
    assert (await ask(file.parent / "link"))[2] == HELLO


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
async def test_file_that_must_not_be_read_is_a_fault(file: Path) -> None:
    file.chmod(0)
    with pytest.raises(PermissionError):
        await ask(file)


# --- preconditions


async def test_304_carries_what_a_cache_needs_and_no_more(file: Path) -> None:
    status, headers, body = await ask(file, if_none_match=await tag_of(file))
    assert (status, body) == (304, b"")
    assert headers.keys() == {"date", "etag", "cache-control"}


async def test_304_to_head(file: Path) -> None:
    status, headers, _ = await ask(file, "HEAD", if_modified_since=MODIFIED)
    assert status == 304
    assert "content-length" not in headers


async def test_304_ends_with_its_head(file: Path) -> None:
    async with app_of(lambda: Response.file(file)).test_client() as client:
        answers = await client.raw(get("/", f"If-Modified-Since: {MODIFIED}") + get("/"))
    assert statuses(answers) == [304, 200]
    assert answers.count(HELLO) == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"if_match": "*"}, 200),
        ({"if_match": '"x"'}, 412),
        ({"if_unmodified_since": MODIFIED}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_unmodified_since": BEFORE, "if_none_match": "*"}, 412),
        ({"if_none_match": '"x"', "if_modified_since": MODIFIED}, 200),
        ({"if_none_match": "*", "range": "bytes=0-1"}, 304),
        ({"if_match": '"x"', "range": "bytes=0-1"}, 412),
        ({"if_modified_since": BEFORE, "range": "bytes=0-1"}, 206),
    ],
)
async def test_preconditions(file: Path, fields: dict[str, str], status: int) -> None:
    assert (await ask(file, **fields))[0] == status


async def test_preconditions_are_for_get_and_head(file: Path) -> None:
    status, _, body = await ask(file, "POST", if_none_match="*", range="bytes=0-1")
    assert (status, body) == (200, HELLO)


# --- ranges


@pytest.mark.parametrize(
    ("value", "body", "content_range"),
    [
        ("bytes=0-5", b"static", "bytes 0-5/13"),
        ("bytes=-6", b"hello\n", "bytes 7-12/13"),
        ("bytes=7-", b"hello\n", "bytes 7-12/13"),
        ("bytes=7-999", b"hello\n", "bytes 7-12/13"),
        ("bytes=0-", HELLO, "bytes 0-12/13"),
        ("bytes=0-2,2-5,99-", b"static", "bytes 0-5/13"),
    ],
)
async def test_one_range(file: Path, value: str, body: bytes, content_range: str) -> None:
    status, headers, content = await ask(file, range=value)
    assert (status, content) == (206, body)
    assert headers["content-range"] == content_range
    assert headers["content-length"] == str(len(body))
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers.keys() >= {"etag", "last-modified", "cache-control"}


async def test_416_says_the_size(file: Path) -> None:
    status, headers, body = await ask(file, range="bytes=13-")
    assert (status, headers["content-range"]) == (416, "bytes */13")
    assert HELLO not in body


@pytest.mark.parametrize("value", ["bytes=abc", "items=0-1", "bytes=" + "0-," * 1000])
async def test_range_that_is_ignored(file: Path, value: str) -> None:
    status, headers, body = await ask(file, range=value)
    assert (status, body) == (200, HELLO)
    assert "content-range" not in headers


async def test_head_has_no_ranges(file: Path) -> None:
    status, headers, _ = await ask(file, "HEAD", range="bytes=0-5")
    assert (status, headers["content-length"]) == (200, "13")


def parts_of(headers: dict[str, str], body: bytes) -> list[tuple[str, str, bytes]]:
    """Return the content type, the content range and the content of each part."""
    message = email.message_from_bytes(
        f"Content-Type: {headers['content-type']}\r\n\r\n".encode() + body
    )
    found = []
    for part in message.get_payload():
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((str(part["content-type"]), str(part["content-range"]), content))
    return found


async def test_several_ranges_in_the_order_asked_for(file: Path) -> None:
    status, headers, body = await ask(file, range="bytes=7-11, 0-1, -1")
    assert status == 206
    assert headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert headers["content-length"] == str(len(body))
    assert "content-range" not in headers
    text = "text/plain; charset=utf-8"
    assert parts_of(headers, body) == [
        (text, "bytes 7-12/13", b"hello\n"),
        (text, "bytes 0-1/13", b"st"),
    ]


async def test_several_ranges_of_a_large_file(large: Path) -> None:
    content = large.read_bytes()
    status, headers, body = await ask(large, range=f"bytes=0-99999,200000-{2 * MIB}")
    assert (status, headers["content-length"]) == (206, str(len(body)))
    assert body.count(b"\r\n\r\n") >= 2
    assert content[:100_000] in body and content[200_000 : 2 * MIB + 1] in body


async def test_boundary_is_new_each_time(file: Path) -> None:
    first, second = [(await ask(file, range="bytes=0-0,2-2"))[1] for _ in range(2)]
    assert first["content-type"] != second["content-type"]


async def test_if_range(file: Path) -> None:
    for condition, status in (
        (await tag_of(file), 206),
        (f"W/{await tag_of(file)}", 200),
        ('"x"', 200),
        (MODIFIED, 206),
        (BEFORE, 200),
    ):
        got, _, body = await ask(file, if_range=condition, range="bytes=0-5")
        assert (got, len(body)) == (status, 6 if status == 206 else 13), condition


async def test_range_to_who_has_the_rest_repeats_no_metadata(file: Path) -> None:
    tag = await tag_of(file)
    _, headers, _ = await ask(file, if_range=tag, range="bytes=0-5")
    assert headers["etag"] == tag
    assert "last-modified" not in headers


async def test_if_range_alone_changes_nothing(file: Path) -> None:
    assert (await ask(file, if_range='"x"'))[0] == 200


# --- names


async def test_download(file: Path) -> None:
    app = app_of(lambda: Response.file(file, download_name="Größe.txt"))
    async with app.test_client() as client:
        response = await client.get("/")
    expected = "attachment; filename=\"Gr__e.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.txt"
    assert response.headers["content-disposition"] == expected


# --- middleware


async def test_middleware_may_change_the_pieces(large: Path) -> None:
    app = app_of(lambda: Response.file(large))

    @app.middleware
    async def double(request: Request, call_next: Callable[..., object]) -> Response:
        response = await call_next(request)  # type: ignore[misc]
        pieces = response.pieces

        async def doubled() -> AsyncIterator[bytes]:
            async for piece in pieces:
                assert isinstance(piece, bytes)
                yield piece * 2

        response.pieces = doubled()
        return response

    async with app.test_client() as client:
        response = await client.get("/")
    assert "content-length" not in response.headers
    assert len(response.content) == 6 * MIB


async def test_middleware_may_read_several_ranges(large: Path) -> None:
    app = app_of(lambda: Response.file(large))
    read: list[bytes] = []

    @app.middleware
    async def look(request: Request, call_next: Callable[..., object]) -> Response:
        response = await call_next(request)  # type: ignore[misc]
        pieces = response.pieces

        async def looked_at() -> AsyncIterator[bytes]:
            async for piece in pieces:
                assert type(piece) is bytes
                read.append(piece)
                yield piece

        response.pieces = looked_at()
        return response

    content = large.read_bytes()
    async with app.test_client() as client:
        answer = await client.get("/", headers={"Range": "bytes=0-299999,1000000-1000009"})
    assert answer.status_code == 206
    first, second = content[:300_000], content[1_000_000:1_000_010]
    assert b"\r\n\r\n" + first + b"\r\n--" in answer.content
    assert b"\r\n\r\n" + second + b"\r\n--" in answer.content
    assert b"".join(read) == answer.content


async def test_wrong_length_is_refused(file: Path) -> None:
    app = app_of(lambda: Response.file(file))

    @app.after_request
    async def lie(request: Request, response: Response) -> None:
        response.headers["Content-Length"] = "14"

    async with app.test_client(raise_errors=False) as client:
        assert (await client.get("/")).status_code == 500


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [("Connection", "close", 200), ("Transfer-Encoding", "chunked", 500)],
)
async def test_framing_of_middleware_counts_for_a_small_file(
    file: Path, name: str, value: str, status: int
) -> None:
    app = app_of(lambda: Response.file(file))

    @app.after_request
    async def frame(request: Request, response: Response) -> None:
        response.headers[name] = value

    async with app.test_client(raise_errors=False) as client:
        answers = await client.raw(get("/") * 2)
    assert statuses(answers) == [status]  # the connection closes
    assert answers.count(HELLO) == (1 if status == 200 else 0)


async def test_small_file_answers_one_request(file: Path) -> None:
    response = Response.file(file)
    app = app_of(lambda: response)
    async with app.test_client(raise_errors=False) as client:
        assert [(await client.get("/")).status_code for _ in range(2)] == [200, 500]


@pytest.mark.parametrize(
    ("method", "fields", "content"),
    [("GET", {}, HELLO), ("HEAD", {}, None), ("GET", {"Range": "bytes=0-3"}, None)],
)
def test_content_is_the_whole_file_in_memory(
    file: Path, method: str, fields: dict[str, str], content: bytes | None
) -> None:
    body = FileBody(file)
    assert body.content is None
    body.open(method, Headers(fields), Response(body))
    assert body.content == content


def test_content_of_a_large_file_is_not_in_memory(large: Path) -> None:
    body = FileBody(large)
    body.open("GET", Headers(), Response(body))
    assert body.content is None
    body._close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until_open(count: int) -> None:
    """Wait until no other files than these are open: a thread may not have dropped one yet."""
    async with asyncio.timeout(20):
        while open_files() > count:
            await asyncio.sleep(0.01)


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="reads /proc")


@needs_proc
async def test_answer_that_is_not_sent_leaves_no_file_open(large: Path) -> None:
    app = app_of(lambda: Response.file(large))

    @app.after_request
    async def replace(request: Request, response: Response) -> str:
        return "instead"

    async with app.test_client() as client:
        assert (await client.get("/")).text == "instead"
        before = open_files()
        for _ in range(5):
            await client.get("/")
        await until_open(before)


@needs_proc
async def test_no_file_is_left_open(file: Path, large: Path) -> None:
    paths = [file, large]
    app = app_of(lambda: Response.file(paths[0]))
    async with app.test_client() as client:
        await client.get("/")
        before = open_files()
        for headers in (
            {},
            {"If-None-Match": "*"},
            {"If-Match": '"x"'},
            {"Range": "bytes=99999999-"},
        ):
            for paths[0] in (file, large):
                for method in ("GET", "HEAD"):
                    await client.request(method, "/", headers=headers)
        await until_open(before)


# --- without an application


async def test_handler_alone_may_answer_with_a_file(file: Path) -> None:
    from support.serving import in_memory, read_all

    async def handler(request: Request) -> Response:
        return Response.file(file)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/", "Connection: close", "Range: bytes=0-5"))
        answer = await read_all(end)
    assert statuses(answer) == [206]
    assert answer.endswith(b"\r\n\r\nstatic")


# --- on loopback: sent by the kernel


@needs_sendfile
@pytest.mark.parametrize("value", ["", "Range: bytes=5-2500000"])
async def test_large_file_is_whole_on_a_socket(large: Path, value: str) -> None:
    content = large.read_bytes()
    expected = content[5:2500001] if value else content
    async with on_loopback(app_of(lambda: Response.file(large))) as server, peer_of(server) as peer:
        await peer.send(get("/", *([value] if value else []), "Connection: close"))
        head = await peer.read_until(b"\r\n\r\n")
        assert f"Content-Length: {len(expected)}\r\n".encode() in head
        assert await peer.read_all() == expected


async def test_pipelined_files_and_small_answers_keep_their_order(file: Path, large: Path) -> None:
    app = App()

    @app.get("/{name}")
    async def show(name: str) -> object:
        return name if name == "text" else Response.file(file.parent / name)

    names = ["text", "large.bin", "text", "hello.txt", "large.bin", "text"]
    async with on_loopback(app) as server, peer_of(server) as peer:
        for name in names[:-1]:
            await peer.send(get(f"/{name}"))
        await peer.send(get(f"/{names[-1]}", "Connection: close"))
        for name in names:
            expected = b"text" if name == "text" else (file.parent / name).read_bytes()
            head = await peer.read_until(b"\r\n\r\n")
            assert f"Content-Length: {len(expected)}\r\n".encode() in head
            body = b""
            while len(body) < len(expected):
                body += await peer.receive(len(expected) - len(body))
            assert body == expected


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A file that is larger than all buffers between two sockets."""
    path = tmp_path / "sparse"
    with open(path, "wb") as made:
        made.truncate(64 * MIB)
    return path


async def test_file_answers_a_client_that_first_sends_all_of_its_body(sparse: Path) -> None:
    app = app_of(lambda: Response.file(sparse))
    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(post("/", bytes(16 * MIB)))
        head = await peer.read_until(b"\r\n\r\n")
        assert b"Connection: close\r\n" in head
        assert len(await peer.read_all()) == 64 * MIB


async def test_stream_answers_a_client_that_first_sends_all_of_its_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(MIB)

    monkeypatch.setattr(request_body, "SILENCE_S", 0.05)
    app = app_of(lambda: Response.stream(pieces(), headers={"Content-Length": str(64 * MIB)}))
    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(post("/", bytes(16 * MIB)))
        head = await peer.read_until(b"\r\n\r\n")
        assert b"Connection: close\r\n" in head
        assert len(await peer.read_all()) == 64 * MIB


async def ask_and_stall(peer: Misbehaving) -> None:
    """Request the file, and read only the beginning of the response."""
    await peer.send(get("/"))
    await peer.receive(1)


async def until_waiting(server: Server) -> None:
    """Wait until the connection that sends the file waits for the client."""
    async with asyncio.timeout(20):
        while not any(each.network.is_draining for each in server.connections):
            await asyncio.sleep(0.01)


async def test_peer_that_reads_nothing_of_a_file_is_cut_off(sparse: Path) -> None:
    app = app_of(lambda: Response.file(sparse))
    async with on_loopback(app, write_timeout_s=0.3) as server, peer_of(server) as peer:
        await ask_and_stall(peer)
        await until_none(server.connections)


async def test_peer_that_reads_a_file_slowly_is_served(sparse: Path) -> None:
    """Each read finishes within the write deadline, but the whole response takes longer."""
    app = app_of(lambda: Response.file(sparse))
    async with on_loopback(app, write_timeout_s=0.5) as server, peer_of(server) as peer:
        await peer.read_nothing()  # the default receive buffer is too large
        await ask_and_stall(peer)
        await until_waiting(server)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() - begun < 1.5:
            await peer.receive(256 * 1024)
            await asyncio.sleep(0.02)
        assert server.connections


async def test_peer_that_leaves_inside_a_file_ends_it_without_a_word(
    sparse: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        on_loopback(app_of(lambda: Response.file(sparse))) as server,
        peer_of(server) as peer,
    ):
        await ask_and_stall(peer)
        await until_waiting(server)
        await peer.reset()
        await until_none(server.connections)
    assert not caplog.records


async def test_server_stops_within_its_grace_while_nobody_reads_a_file(sparse: Path) -> None:
    app = app_of(lambda: Response.file(sparse))
    async with on_loopback(app, grace_s=0.1) as server, peer_of(server) as peer:
        await ask_and_stall(peer)
        await until_waiting(server)
        await server.stop()
        assert not server.connections


async def test_file_that_becomes_shorter_is_a_cut_answer(
    sparse: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        on_loopback(app_of(lambda: Response.file(sparse))) as server,
        peer_of(server) as peer,
    ):
        await ask_and_stall(peer)
        await until_waiting(server)
        os.truncate(sparse, 10 * MIB)
        size = 0
        while piece := await peer.receive():
            size += len(piece)
    assert size < 64 * MIB
    assert "became shorter" in caplog.text


async def test_half_closed_peer_gets_the_whole_file(large: Path) -> None:
    async with on_loopback(app_of(lambda: Response.file(large))) as server, peer_of(server) as peer:
        await peer.send(get("/"))
        await peer.half_close()
        assert (await peer.read_all()).endswith(large.read_bytes())


@needs_sendfile
async def test_file_that_the_kernel_refuses_is_read(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = []

    def refuse(*_: object) -> int:
        refusals.append(1)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    async with on_loopback(app_of(lambda: Response.file(large))) as server, peer_of(server) as peer:
        await peer.send(get("/", "Connection: close"))
        assert (await peer.read_all()).endswith(large.read_bytes())
    assert refusals


async def test_others_are_served_while_a_large_file_is_sent(sparse: Path) -> None:
    app = app_of(lambda: Response.file(sparse))

    @app.get("/text")
    async def text() -> str:
        return "text"

    async with on_loopback(app) as server, peer_of(server) as peer, peer_of(server) as other:
        await ask_and_stall(peer)
        await other.send(get("/text"))
        assert (await other.read_until(b"text")).endswith(b"text")


# --- errors of the kernel


@pytest.fixture
def sent_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int]], None]:
    """Replace `os.sendfile` by `send(sendfile, descriptor, file, offset, count)`."""
    sendfile = os.sendfile

    def put(send: Callable[..., int]) -> None:
        monkeypatch.setattr(os, "sendfile", lambda *given: send(sendfile, *given))

    return put


SentBy = Callable[[Callable[..., int]], None]


@needs_sendfile
@pytest.mark.parametrize("sent_before", [0, 1000])
async def test_disk_that_fails_is_a_fault_and_cuts_the_answer(
    large: Path, sent_by: SentBy, caplog: pytest.LogCaptureFixture, sent_before: int
) -> None:
    def fail(sendfile: Callable[..., int], out: int, file: int, offset: int, count: int) -> int:
        if offset < sent_before:
            return sendfile(out, file, offset, sent_before - offset)
        raise OSError(errno.EIO, "Input/output error")

    sent_by(fail)
    async with on_loopback(app_of(lambda: Response.file(large))) as server, peer_of(server) as peer:
        await peer.send(get("/"))
        answer = await peer.read_all()
    assert len(answer.partition(b"\r\n\r\n")[2]) == sent_before
    assert "Input/output error" in caplog.text


@needs_sendfile
async def test_kernel_may_send_less_than_it_is_asked_for(large: Path, sent_by: SentBy) -> None:
    counts: list[int] = []

    def send_some(
        sendfile: Callable[..., int], out: int, file: int, offset: int, count: int
    ) -> int:
        counts.append(sendfile(out, file, offset, min(count, 99_991)))
        return counts[-1]

    sent_by(send_some)
    async with on_loopback(app_of(lambda: Response.file(large))) as server, peer_of(server) as peer:
        await peer.send(get("/", "Connection: close"))
        body = (await peer.read_all()).partition(b"\r\n\r\n")[2]
    assert body == large.read_bytes()
    assert len(counts) > 30 and sum(counts) == len(body)


@needs_sendfile
async def test_kernel_that_refuses_inside_a_file_cuts_the_answer(
    large: Path, sent_by: SentBy
) -> None:
    """After a successful sendfile, this error belongs to the connection, not to the file."""

    def fail(sendfile: Callable[..., int], out: int, file: int, offset: int, count: int) -> int:
        if offset == 0:
            return sendfile(out, file, offset, 1000)
        raise OSError(errno.EINVAL, "Invalid argument")

    sent_by(fail)
    async with on_loopback(app_of(lambda: Response.file(large))) as server, peer_of(server) as peer:
        await peer.send(get("/"))
        assert len((await peer.read_all()).partition(b"\r\n\r\n")[2]) == 1000


@needs_sendfile
async def test_bytes_that_the_kernel_sends_are_in_the_access_log(
    large: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "microweb.access")
    app = app_of(lambda: Response.file(large))
    async with on_loopback(app, log="text") as server, peer_of(server) as peer:
        await peer.send(get("/", "Connection: close"))
        answer = await peer.read_all()
        await until_none(server.connections)
    (record,) = [each for each in caplog.records if each.name == "microweb.access"]
    assert record.bytes == len(answer)  # type: ignore[attr-defined]


@needs_sendfile
async def test_loop_watches_nothing_of_a_file_that_was_sent(sparse: Path, sent_by: SentBy) -> None:
    descriptors: set[int] = set()

    def note(sendfile: Callable[..., int], out: int, file: int, offset: int, count: int) -> int:
        descriptors.add(out)
        return sendfile(out, file, offset, count)

    sent_by(note)
    async with (
        on_loopback(app_of(lambda: Response.file(sparse))) as server,
        peer_of(server) as peer,
    ):
        await ask_and_stall(peer)
        await until_waiting(server)
        (waiting,) = descriptors
        left = 64 * MIB
        while left > 0:
            left -= len(await peer.receive(MIB))
        await peer.send(get("/nothing"))
        await peer.read_until(b"404")
        assert not asyncio.get_running_loop().remove_writer(waiting)


@needs_sendfile
async def test_write_limits_are_as_before_once_all_is_sent() -> None:
    """sendfile must wait until the kernel has taken every byte that was written before."""
    app = app_of(lambda: bytes(32 * MIB))
    async with on_loopback(app) as server, peer_of(server) as peer:
        await ask_and_stall(peer)
        await until_waiting(server)
        (connection,) = server.connections
        transport = connection.network.transport
        if not hasattr(transport, "get_write_buffer_limits"):
            pytest.skip("this loop does not tell")
        before = transport.get_write_buffer_limits()
        sending = asyncio.create_task(connection.network.drain_all())
        async with asyncio.timeout(20):
            while transport.get_write_buffer_limits() == before:
                await asyncio.sleep(0.01)
        assert transport.get_write_buffer_limits() == (0, 0)
        while not sending.done():
            await peer.receive(MIB)
        assert transport.get_write_buffer_limits()[1] == before[1] > 0
