"""RFC 9110 sections 8.4 and 12.5.3: compression if it is accepted, allowed, and worth it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import brotli
import httpx
import pytest
import zstandard

from microweb import App, ConfigurationError, Response
from microweb.bodies.body import EncodeHead, Head, RequestInfo, WrittenBody
from microweb.http.bytestream import ResponseStream
from microweb.middleware import compression
from microweb.middleware.compression import Compression
from microweb.middleware.conditional import ConditionalGet
from microweb.middleware.cors import CORS

TEXT = "to be or not to be, that is the question\n" * 100

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: zlib.decompress(data, wbits=31),
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def answering(make: Callable[[], Any], *inner: Any, **options: Any) -> App:
    """Return an app with `Compression` whose `/` returns the result of `make`."""
    app = App()
    app.use(Compression(**options))
    for each in inner:
        app.use(each)

    @app.get("/")
    async def index() -> object:
        return make()

    return app


class Answer:
    def __init__(self, response: httpx.Response, content: bytes) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.content = content  # the bytes on the wire
        self.coding = response.headers.get("content-encoding")
        self.vary = response.headers.get("vary")

    @property
    def decoded(self) -> bytes:
        return DECODERS[self.coding](self.content) if self.coding else self.content


async def get(app: App, accept: str | None = "gzip", method: str = "GET", **fields: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    if accept is not None:
        headers["Accept-Encoding"] = accept
    async with app.test_client() as client:
        del client.headers["accept-encoding"]
        async with client.stream(method, "/", headers=headers) as response:
            return Answer(response, b"".join([piece async for piece in response.aiter_raw()]))


# --- whole bodies ---------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("times", [1, 100])
async def test_body_is_compressed(coding: str, times: int) -> None:
    answer = await get(answering(lambda: TEXT * times), coding)
    assert (answer.coding, answer.vary) == (coding, "Accept-Encoding")
    assert int(answer.headers["content-length"]) == len(answer.content) < 300 * times
    assert answer.decoded == TEXT.encode() * times
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=0", None),
        ("deflate", None),
        ("", None),
        (None, None),
    ],
)
async def test_the_client_chooses_and_vary_says_so(accept: str | None, coding: str | None) -> None:
    answer = await get(answering(lambda: TEXT), accept)
    assert (answer.coding, answer.vary) == (coding, "Accept-Encoding")
    assert answer.decoded == TEXT.encode()


async def test_codings_can_be_chosen_and_ordered() -> None:
    app = answering(lambda: TEXT, codings=("gzip", "zstd"))
    assert (await get(app, "br, zstd, gzip")).coding == "gzip"
    assert (await get(app, "br, zstd")).coding == "zstd"


async def test_small_body_is_left_alone() -> None:
    assert (await get(answering(lambda: "x" * 1023))).vary is None
    assert (await get(answering(lambda: "x" * 1024))).coding == "gzip"
    assert (await get(answering(lambda: "x" * 100, min_bytes=100))).coding == "gzip"


async def test_client_that_refuses_identity_gets_even_what_is_small_or_does_not_shrink() -> None:
    for value in ("x", b"\xff\xd8"):
        answer = await get(answering(lambda value=value: value), "gzip, identity;q=0")
        assert answer.coding == "gzip"
        assert answer.decoded in (b"x", b"\xff\xd8")


@pytest.mark.parametrize(
    ("media_type", "is_compressed"),
    [
        ("text/html; charset=utf-8", True),
        ("TEXT/CSS", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("application/javascript", True),
        ("image/svg+xml", True),
        ("application/wasm", True),
        ("font/ttf", True),
        ("font/woff2", False),
        ("image/png", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/pdf", False),
        ("application/octet-stream", False),
        ("text/event-stream", False),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_is_compressed_already_is_left_alone(
    media_type: str, is_compressed: bool, is_stream: bool
) -> None:
    def make() -> Response:
        if is_stream:
            return Response.stream([TEXT], content_type=media_type)
        return Response(TEXT, content_type=media_type)

    answer = await get(answering(make))
    assert answer.coding == ("gzip" if is_compressed else None)
    assert answer.vary == ("Accept-Encoding" if is_compressed else None)
    assert answer.decoded == TEXT.encode()


async def test_events_are_left_alone_even_where_identity_is_refused() -> None:
    app = answering(lambda: Response.stream([TEXT], content_type="text/event-stream"))
    assert (await get(app, "gzip, *;q=0")).coding is None


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (200, {"Content-Encoding": "br"}),
        (200, {"Content-Encoding": "identity"}),
        (200, {"Cache-Control": "private, No-Transform"}),
        (200, {"Repr-Digest": "sha-256=:AAAA:"}),
        (206, {"Content-Range": "bytes 0-3/9"}),
        (416, {"Content-Range": "bytes */9"}),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_says_so_is_left_as_it_is(
    status: int, fields: dict[str, str], is_stream: bool
) -> None:
    def make() -> Response:
        if is_stream:
            return Response.stream([TEXT], status, fields, content_type="text/plain")
        return Response.text(TEXT, status, fields)

    answer = await get(answering(make), "gzip, identity;q=0")
    assert answer.content == TEXT.encode()
    assert answer.vary is None


async def test_answers_without_content_stay_so() -> None:
    answer = await get(answering(lambda: None), "gzip, identity;q=0")
    assert (answer.status, answer.coding, answer.content) == (204, None, b"")


async def test_errors_are_compressed() -> None:
    answer = await get(answering(lambda: (TEXT, 404)))
    assert (answer.status, answer.coding, answer.decoded) == (404, "gzip", TEXT.encode())


@pytest.mark.parametrize("is_stream", [False, True])
async def test_head_says_what_get_says(is_stream: bool) -> None:
    def make() -> Response:
        fields = {"ETag": '"1"'}
        if is_stream:
            return Response.stream([TEXT], 200, fields, content_type="text/plain")
        return Response.text(TEXT, 200, fields)

    app = answering(make)
    answers = [await get(app, method=method) for method in ("GET", "HEAD")]
    fields = [
        {name: value for name, value in answer.headers.items() if name != "date"}
        for answer in answers
    ]
    assert fields[0] == fields[1]
    assert (fields[0]["content-encoding"], fields[0]["etag"]) == ("gzip", 'W/"1"')
    assert answers[1].content == b""


@pytest.mark.parametrize(("tag", "sent"), [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"')])
async def test_tag_of_what_is_compressed_is_weak(tag: str, sent: str) -> None:
    app = answering(lambda: Response.text(TEXT, headers={"ETag": tag}))
    assert (await get(app)).headers["etag"] == sent
    assert (await get(app, "")).headers["etag"] == tag


async def test_revalidation_names_the_tag_that_the_client_has() -> None:
    app = answering(lambda: TEXT, ConditionalGet())
    for accept, prefix in {"gzip": "W/", "": ""}.items():
        tag = (await get(app, accept)).headers["etag"]
        assert tag.startswith(f'{prefix}"')
        again = await get(app, accept, if_none_match=tag)
        assert (again.status, again.headers["etag"], again.vary) == (304, tag, "Accept-Encoding")


async def test_length_and_ranges_of_the_plain_form_are_taken_back() -> None:
    def make() -> Response:
        fields = {"Content-Length": str(len(TEXT)), "Accept-Ranges": "bytes"}
        return Response.text(TEXT, headers=fields)

    answer = await get(answering(make))
    assert "accept-ranges" not in answer.headers
    assert answer.headers.get_list("content-length") == [str(len(answer.content))]


async def test_vary_is_one_field_beside_that_of_cors() -> None:
    app = App()
    app.use(CORS(["https://a.example", "https://b.example"]))
    app.use(Compression())

    @app.get("/")
    async def index() -> str:
        return TEXT

    assert (await get(app)).vary == "Accept-Encoding, Origin"


async def test_json_and_pages_are_compressed() -> None:
    answer = await get(answering(lambda: {"text": TEXT}))
    assert answer.coding == "gzip"
    answer = await get(answering(lambda: Response.json({"text": TEXT})))
    assert answer.decoded.startswith(b'{"text":"to be')


async def test_on_one_route() -> None:
    app = App()

    @app.get("/", use=[Compression()])
    async def index() -> str:
        return TEXT

    @app.get("/plain")
    async def plain() -> str:
        return TEXT

    assert (await get(app)).coding == "gzip"
    async with app.test_client() as client:
        assert "vary" not in (await client.get("/plain")).headers


async def test_large_bodies_are_compressed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[bool] = []
    compress = zlib.compress

    def spy(data: bytes, **options: int) -> bytes:
        where.append(threading.current_thread() is threading.main_thread())
        return compress(data, **options)

    monkeypatch.setattr(zlib, "compress", spy)
    app = answering(lambda: Response.text("x" * size), codings=["gzip"])
    for size in (compression._INLINE_BYTES, compression._INLINE_BYTES + 1):
        assert len((await get(app)).decoded) == size
    assert where == [True, False]


async def test_an_answer_that_writes_itself_is_left_alone() -> None:
    class Own(WrittenBody):
        async def prepare(self, request: RequestInfo, head: Head) -> None: ...

        async def send(
            self,
            stream: ResponseStream,
            request: RequestInfo,
            head: Head,
            encode_head: EncodeHead,
        ) -> None:
            stream.write(encode_head(b"Content-Length: %d\r\n" % len(TEXT)) + TEXT.encode())

    answer = await get(answering(lambda: Response(Own(), content_type="text/plain")))
    assert (answer.coding, answer.content) == (None, TEXT.encode())


# --- streams --------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_each_piece_can_be_read_when_it_was_made(coding: str) -> None:
    """The next piece is made only after the client has decoded the last one."""
    app, read = App(), asyncio.Event()
    app.use(Compression())

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        for number in range(3):
            yield f"piece {number}\n"
            await read.wait()
            read.clear()

    received = ""
    async with app.test_client() as client, asyncio.timeout(20):
        decode = incremental(coding)
        async with client.stream("GET", "/", headers={"Accept-Encoding": coding}) as response:
            assert response.headers["content-encoding"] == coding
            assert response.headers["content-type"] == "text/plain; charset=utf-8"
            async for piece in response.aiter_raw():
                received += decode(piece).decode()
                if received.endswith("\n"):
                    read.set()
    assert received == "piece 0\npiece 1\npiece 2\n"


def incremental(coding: str) -> Callable[[bytes], bytes]:
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "br":
        return brotli.Decompressor().process  # type: ignore[no-any-return]
    return zstandard.ZstdDecompressor().decompressobj().decompress


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize(
    "pieces",
    [[], [""], ["a"], ["", "b", ""], [b"c", "d"], ["x" * 100_000, b"y" * 40_000, "z"]],
    ids=["none", "an empty one", "one", "between empty ones", "mixed", "large"],
)
@pytest.mark.parametrize("is_typed", [False, True])
async def test_stream_arrives_whole(coding: str, pieces: list[Any], is_typed: bool) -> None:
    content_type = "text/plain" if is_typed else None
    app = answering(lambda: Response.stream(iter(pieces), content_type=content_type))
    plain, coded = await get(app, ""), await get(app, coding)
    assert (
        coded.decoded
        == plain.content
        == b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces)
    )
    assert coded.headers.get("content-type") == plain.headers.get("content-type")
    # Without pieces, or with bytes as the first one, its media type does not shrink.
    shrinks = is_typed or (pieces and isinstance(pieces[0], str))
    assert plain.vary == coded.vary == ("Accept-Encoding" if shrinks else None)


async def test_bytes_without_a_type_are_not_compressed() -> None:
    answer = await get(answering(lambda: iter([b"\xff\xd8" * 1000])))
    assert (answer.coding, len(answer.content)) == (None, 2000)
    assert answer.headers["content-type"] == "application/octet-stream"
    answer = await get(answering(lambda: iter([b"\xff\xd8" * 1000])), "gzip, identity;q=0")
    assert (answer.coding, answer.decoded) == ("gzip", b"\xff\xd8" * 1000)


async def test_declared_length_of_a_stream_is_taken_back() -> None:
    def make() -> Response:
        fields = {"Content-Length": str(len(TEXT))}
        return Response.stream([TEXT], 200, fields, content_type="text/plain")

    answer = await get(answering(make))
    assert "content-length" not in answer.headers
    assert answer.decoded == TEXT.encode()


async def test_stream_that_is_declared_small_is_left_alone() -> None:
    def make() -> Response:
        return Response.stream(["abc"], 200, {"Content-Length": "3"}, content_type="text/plain")

    assert (await get(answering(make))).vary is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_pieces_are_closed(method: str) -> None:
    closed = []

    class Pieces:
        def __iter__(self) -> Iterator[str]:
            return self

        def __next__(self) -> str:
            raise StopIteration

        def close(self) -> None:
            closed.append(True)

    await get(answering(lambda: Response.stream(Pieces(), content_type="text/plain")), "br", method)
    assert closed == [True]


async def test_pieces_are_closed_where_the_client_leaves() -> None:
    app, closed = App(), asyncio.Event()
    app.use(Compression())

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        try:
            while True:
                yield TEXT
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with app.test_client() as client:
        async with client.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as response:
            assert await anext(response.aiter_raw())
        async with asyncio.timeout(20):
            await closed.wait()


async def test_failing_stream_is_cut() -> None:
    app = App()
    app.use(Compression())

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        yield TEXT
        raise ZeroDivisionError

    async with app.test_client() as client:
        raw = await client.raw(
            b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        )
        assert b"Content-Encoding: gzip\r\n" in raw
        assert not raw.endswith(b"0\r\n\r\n")
        with pytest.raises(ZeroDivisionError):
            await client.get("/")


# --- installed codings ----------------------------------------------------------------


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "zstandard")])
def test_without_the_library_the_command_that_mends_it_is_named(coding: str, package: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from microweb.middleware.compression import Compression
assert Compression()._names == {tuple(n for n in ("zstd", "br", "gzip") if n != coding)!r}
Compression(codings=[{coding!r}])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"MissingExtra: the content coding {coding} needs the extra {package}" in run.stderr
    assert f"pip install '{package}>=" in run.stderr


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, microweb, microweb.middleware.compression; "
    code += "sys.exit(bool({'brotli', 'zstandard'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_unknown_coding_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="expected each coding from zstd, br, gzip, got 'lzma'"
    ):
        Compression(codings=["gzip", "lzma"])
