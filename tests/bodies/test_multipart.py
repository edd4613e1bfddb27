"""Multipart forms: accepted and refused forms, limits, and the cleanup of files."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.malformed_forms import END, FIELD, FILE, LARGE, REFUSED_FORMS, B, RefusedForm, part
from support.processes import Program

from microweb import App, ClientDisconnected, Request, Response
from microweb.bodies import multipart, parts
from microweb.bodies.forms import Form
from microweb.bodies.multipart import read_form, read_parts
from microweb.errors import BadRequest, BodyConsumed, ContentTooLarge, HTTPError

CONTENT_TYPE = "multipart/form-data; boundary=b"


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def form_of(
    *pieces: bytes, content_type: str = CONTENT_TYPE, max_parts: int = 1000, max_text: int = 1 << 20
) -> Form:
    return await read_form(in_pieces(*pieces), content_type, max_parts=max_parts, max_text=max_text)


@pytest.fixture
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files. At the end, it must contain no file with a name."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def open_in(folder: Path) -> list[str]:
    """Return the open files of this process in a folder, including files without a name."""
    opened = []
    for number in os.listdir("/proc/self/fd"):
        try:
            opened.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return [path for path in opened if path.startswith(f"{folder}/")]


async def all_is_gone_from(folder: Path) -> None:
    """Wait until no file in it is open: a pool thread drops its references after its result."""
    async with asyncio.timeout(5):
        while open_in(folder):
            await asyncio.sleep(0.001)


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


# --- accepted forms


async def test_fields_and_files_in_their_order() -> None:
    body = (
        part(b'Content-Disposition: form-data; name="a"\r\n', "ä\r\n€".encode())
        + part(FILE + b"Content-Type: text/csv; charset=x\r\nX-Own: 1\r\n", b"\x00\xff\r\n--c")
        + part(b'Content-Disposition: form-data; name="a"\r\n', b"")
        + END
    )
    form = await form_of(body)
    assert form.pairs() == [("a", "ä\r\n€"), ("a", "")]
    upload = form.files["f"]
    assert (upload.filename, upload.raw_filename, upload.size) == ("a.bin", "a.bin", 7)
    assert (upload.content_type, upload.headers["x-own"]) == ("text/csv; charset=x", "1")
    assert await upload.read() == b"\x00\xff\r\n--c"


@pytest.mark.parametrize("body", [END, END[:-2], b"\r\n" + END])
async def test_a_form_without_parts_is_empty(body: bytes) -> None:
    form = await form_of(body)
    assert (len(form), len(form.files)) == (0, 0)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"a b"', "a b"),
        ("a", "a"),
        ('"%22%0D%0A%25"', '"\r\n%25'),
        (r'"a\"b\\c"', r'a"b\c'),  # curl before 7.81
        (r'"a\b"', r"a\b"),  # a browser: a backslash is not an escape
        ('"a\\"', "a\\"),
        ('"ä€😀"', "ä€😀"),
        ('""', ""),
        ('"a;b=c"', "a;b=c"),
    ],
)
async def test_names_as_clients_write_them(written: str, name: str) -> None:
    disposition = f"Content-Disposition: form-data; name={written}\r\n".encode()
    assert dict(await form_of(part(disposition) + END)) == {name: "x"}
    disposition = f"Content-Disposition: form-data; name=f; filename={written}; x=y\r\n".encode()
    assert (await form_of(part(disposition) + END)).files["f"].raw_filename == name


async def test_filename_extended_is_looked_over() -> None:
    """RFC 7578 section 4.2 forbids `filename*`, but some clients send it with `filename`."""
    form = await form_of(part(FILE[:-2] + b"; filename*=utf-8''%2Fetc%2Fpasswd\r\n") + END)
    assert form.files["f"].raw_filename == "a.bin"


async def test_a_file_that_was_not_chosen_is_none() -> None:
    not_chosen = FILE.replace(b"a.bin", b"")
    form = await form_of(part(not_chosen, b"") + END)
    assert "f" not in form.files and form.files.get("f") is None
    form = await form_of(part(not_chosen, b"x") + END)
    assert form.files["f"].filename == "unnamed"


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("filename*=utf-8''%E2%82%AC.txt", "€.txt"),
        ("filename*=UTF-8'de'a%20b", "a b"),
        ("filename*=\"utf-8''a.txt\"", "a.txt"),
        ("filename*=utf-8''..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
    ],
)
async def test_a_part_with_filename_extended_alone_is_a_file(parameter: str, name: str) -> None:
    form = await form_of(part(FIELD[:-2] + f"; {parameter}\r\n".encode()) + END)
    assert "f" not in form
    upload = form.files["f"]
    assert (upload.raw_filename, upload.content_type) == (name, "application/octet-stream")
    assert "/" not in upload.filename
    assert await upload.read() == b"x"


@pytest.mark.parametrize(
    "name", [b"\xe4.txt", "表.txt".encode("shift_jis"), "文件".encode("gbk"), b"\xff\xfe\x80\x85"]
)
async def test_a_file_name_in_a_code_page_is_a_file(name: bytes) -> None:
    headers = b'Content-Disposition: form-data; name="f\xc3\xa4"; filename="%b"\r\n' % name
    upload = (await form_of(part(headers) + END)).files["fä"]
    assert upload.raw_filename is not None
    assert upload.filename.isprintable() and upload.filename.encode()
    assert await upload.read() == b"x"


async def test_a_transfer_encoding_is_refused_by_its_name() -> None:
    headers = FILE + b"Content-Transfer-Encoding: base64\r\n"
    with pytest.raises(
        BadRequest, match="expected no Content-Transfer-Encoding in a part, got 'base64'"
    ):
        await form_of(part(headers, b"eA==") + END)
    for coding in (b"binary", b"8bit", b"7BIT"):
        headers = FIELD + b"Content-Transfer-Encoding: %b\r\n" % coding
        assert (await form_of(part(headers) + END))["f"] == "x"


@pytest.mark.parametrize(
    ("charset", "content", "text"),
    [
        ("utf-8", "ä".encode(), "ä"),
        ('"UTF-8"', "ä".encode(), "ä"),
        ("us-ascii", "ä".encode(), "ä"),
        ("ISO-8859-1", b"\xe4", "ä"),
        ("windows-1252", b"\x80", "€"),
        ("shift_jis", "あ".encode("shift_jis"), "あ"),
        ("utf-16", b"a\x00", "a"),
        ("utf-7", b"+AGE-", "+AGE-"),  # this and the following charsets are unknown: read as UTF-8
        ("klingon", "ä".encode(), "ä"),
        ("idna", "ä".encode(), "ä"),
        ('""', "ä".encode(), "ä"),
    ],
)
async def test_a_field_is_in_the_charset_of_its_part_else_utf_8(
    charset: str, content: bytes, text: str
) -> None:
    headers = FIELD + f"Content-Type: text/plain; charset={charset}\r\n".encode()
    assert dict(await form_of(part(headers, content) + END)) == {"f": text}


async def test_a_charset_field_of_utf_8() -> None:
    form = await form_of(part(FIELD.replace(b'"f"', b'"_charset_"'), b"UTF-8") + END)
    assert form["_charset_"] == "UTF-8"


@pytest.mark.parametrize("boundary", ["b", '"b"', "b;", "b; charset=utf-8", '"\\b"'])
async def test_boundaries_as_clients_write_them(boundary: str) -> None:
    form = await form_of(part(FIELD) + END, content_type=f"Multipart/Form-Data;boundary={boundary}")
    assert form["f"] == "x"


@pytest.mark.parametrize("boundary", ["!#$%&'*+-.^_`|~09AZaz", "-'()+_,./:=?0", '"<b>;{@}"'])
async def test_boundaries_of_any_token_or_in_quotes(boundary: str) -> None:
    body = (part(FIELD) + END).replace(b"--b", b"--" + boundary.strip('"').encode())
    form = await form_of(body, content_type=f"multipart/form-data; boundary={boundary}")
    assert form["f"] == "x"


@pytest.mark.parametrize(
    "body",
    [
        b"This is a message in MIME format.\r\n" + part(FIELD) + END,
        b"\r\n\r\n" + part(FIELD) + END,
        b"--\r\n-\r\n--a\r\n\r\n" + part(FIELD) + END,
        part(FIELD) + END + b"epilogue\r\n--b\r\n" + part(FIELD) + END,
        part(FIELD) + END[:-2],
        part(FIELD) + END[:-2] + b" \t",
        part(FIELD) + END[:-2] + b" \t\r\n\x00",
        part(FIELD).replace(b"--b", b"--b \t ") + END,
        part(FIELD.replace(b"; ", b";\r\n\t ") + b"X: a\r\n b\r\n") + END,
    ],
)
async def test_text_around_the_parts_padding_and_folded_headers(body: bytes) -> None:
    assert (await form_of(body)).pairs() == [("f", "x")]
    for cut in range(1, len(body)):
        assert (await form_of(body[:cut], body[cut:])).pairs() == [("f", "x")]
    assert (await form_of(*[body[at : at + 1] for at in range(len(body))])).pairs() == [("f", "x")]


async def test_a_preamble_and_an_epilogue_of_a_mebibyte() -> None:
    text = b"x" * (1 << 20)
    form = await form_of(text, b"\r\n" + part(FIELD) + END, text)
    assert form.pairs() == [("f", "x")]


async def test_a_folded_header_is_one_line() -> None:
    form = await form_of(part(FILE + b"X-Own: a\r\n \t b\r\n") + END)
    assert form.files["f"].headers["x-own"] == "a b"


async def test_a_boundary_of_all_its_characters() -> None:
    boundary = "-'()+_,./:=? 0aZ" * 4 + "123456"
    body = (part(FIELD) + END).replace(b"--b", b"--" + boundary.encode())
    form = await form_of(body, content_type=f'multipart/form-data; boundary="{boundary}"')
    assert form["f"] == "x"


# --- bodies cut at every place

names = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\%', exclude_categories=["Cc", "Cs"])
).filter(lambda name: name != "_charset_")  # this field names a charset. RFC 7578 section 4.6
contents = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"b", b"\r\n--b", b"--b--", b"\x00"])
).map(b"".join)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=50), max_size=4),
    st.lists(st.tuples(names, names.filter(bool), contents), max_size=4),
    st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=20),
)
def test_what_httpx_encodes_is_read_back_cut_anywhere(
    fields: dict[str, str], files: list[tuple[str, str, bytes]], cuts: list[int]
) -> None:
    sent = httpx.Request(
        "POST",
        "http://testserver",
        data=fields,
        files=[(name, (filename, content)) for name, filename, content in files] or {"-": b""},
        headers={"Content-Type": "multipart/form-data; boundary=not-in-there"},
    )
    body = sent.read()
    pieces = []
    for at in range(10_000):
        if not body:
            break
        cut = cuts[at % len(cuts)]
        pieces.append(body[:cut])
        body = body[cut:]

    async def check() -> None:
        form = await form_of(*pieces, body, content_type=sent.headers["content-type"])
        assert form.pairs() == list(fields.items())
        read = [(name, file.raw_filename, await file.read()) for name, file in form.files.pairs()]
        assert read == (files or [("-", "upload", b"")])

    asyncio.run(check())


@pytest.mark.parametrize(
    "body",
    [part(FIELD, b"\r\n--\r\n-") + part(FILE, b"\r\r\n") + END, b"\r\n" + part(FIELD) + END[:-2]],
)
async def test_a_form_at_every_cut(body: bytes) -> None:
    whole = await form_of(body)
    for cut in range(1, len(body)):
        form = await form_of(body[:cut], body[cut:])
        assert form == whole
        assert [await file.read() for _, file in form.files.pairs()] == [
            await file.read() for _, file in whole.files.pairs()
        ]


SMALL = [case for case in REFUSED_FORMS if len(case.body) < 300 and case.status == 400]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
async def test_a_refusal_is_the_same_at_every_cut(case: RefusedForm) -> None:
    for cut in range(1, len(case.body)):
        with pytest.raises(BadRequest):
            await form_of(case.body[:cut], case.body[cut:], content_type=case.content_type)
    with pytest.raises(BadRequest):
        await form_of(
            *[case.body[at : at + 1] for at in range(len(case.body))],
            content_type=case.content_type,
        )


# --- refused forms


def make_app() -> App:
    app = App(max_body=64 << 20)

    @app.post("/form")
    async def read_whole(request: Request) -> dict[str, object]:
        form = await request.form()
        return {"fields": len(form.pairs()), "files": len(form.files.pairs())}

    return app


def test_the_corpus_has_more_than_a_hundred() -> None:
    assert len({case.body + case.content_type.encode("latin-1") for case in REFUSED_FORMS}) > 100


async def test_a_form_that_failed_fails_again_in_its_error_handler() -> None:
    app = App()

    @app.post("/")
    async def send(request: Request) -> str:
        return str(len(await request.form()))

    @app.errorhandler(400)
    async def explain(request: Request, error: HTTPError) -> str:
        with pytest.raises(BadRequest) as again:
            await request.form()
        return "the same" if again.value is error else "another"

    async with app.test_client() as client:
        answer = await client.post("/", content=b"--x", headers={"Content-Type": CONTENT_TYPE})
        assert (answer.status_code, answer.text) == (400, "the same")


@pytest.mark.parametrize("case", REFUSED_FORMS, ids=lambda case: case.id)
async def test_malformed_form_is_refused_and_leaves_nothing(
    case: RefusedForm, spool_folder: Path
) -> None:
    async with make_app().test_client() as client:
        headers = [(b"Content-Type", case.content_type.encode("latin-1"))]
        response = await client.post("/form", content=case.body, headers=headers)
        assert response.status_code == case.status, response.text
        if sys.platform == "linux":
            await all_is_gone_from(spool_folder)


# --- limits


async def test_each_limit_is_exact() -> None:
    assert len((await form_of(part(FIELD) * 3 + END, max_parts=3)).pairs()) == 3
    with pytest.raises(ContentTooLarge):
        await form_of(part(FIELD) * 4 + END, max_parts=3)
    headers = len("content-disposition") + len('form-data; name="f"')
    assert len(await form_of(part(FIELD, b"abc") + END, max_text=headers + 3)) == 1
    with pytest.raises(ContentTooLarge, match="expected at most 40 bytes"):
        await form_of(part(FIELD, b"abc") + END, max_text=headers + 2)
    assert headers + 2 == 40


async def test_headers_that_repeat_keep_the_content_of_each_form() -> None:
    """The headers of a field are interpreted once for all forms."""
    named = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    typed = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n'
        b"Content-Type: text/plain; charset=%b\r\n\r\n\xe9\r\n"
    )
    for text in (b"ada", b"bob"):
        form = await form_of(named % (b"a", text), named % (b"b", text + text), b"--b--\r\n")
        assert form.pairs() == [("a", text.decode()), ("b", (text + text).decode())]
    for charset, text in [(b"latin-1", "\xe9"), (b"cp1251", "\u0439")] * 2:
        form = await form_of(typed % charset, b"--b--\r\n")
        assert form["a"] == text
    for size in (60, 10, 60):  # the limit counts the headers of each form
        if size == 10:
            with pytest.raises(ContentTooLarge):
                await form_of(named % (b"a", b"x"), b"--b--\r\n", max_text=size)
        else:
            await form_of(named % (b"a", b"x"), b"--b--\r\n", max_text=size)


async def test_headers_of_other_names_take_no_more_memory() -> None:
    for number in range(300):
        for name in (f"field{number}", "n" * 300 + f"{number}"):
            head = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
            form = await form_of(head.encode() + b"x\r\n--b--\r\n")
            assert form[name] == "x"
    for memo in (parts._known_headers, multipart._known_description):
        assert memo.cache_info().currsize <= 256
    before = parts._known_headers.cache_info()
    for number in range(10):
        await form_of(
            b"--b\r\nContent-Disposition: form-data; name=f; filename=%d\r\n\r\nx\r\n--b--\r\n"
            % number
        )
    assert parts._known_headers.cache_info() == before


async def test_what_is_not_ascii_is_counted_in_bytes() -> None:
    with pytest.raises(ContentTooLarge):
        await form_of(part(FIELD, "€€".encode()) * 2 + END, max_text=2 * 38 + 11)
    form = await form_of(part(FIELD, "€€".encode()) * 2 + END, max_text=2 * 38 + 12)
    assert form.get_all("f") == ["€€", "€€"]


async def test_files_are_no_text() -> None:
    form = await form_of(part(FILE, bytes(5000)) + END, max_text=100)
    assert form.files["f"].size == 5000


async def test_raw_total_is_the_limit_of_the_body() -> None:
    app = App()

    @app.post("/", max_body=1000)
    async def read(request: Request) -> None:
        await request.form()

    async def chunked(body: bytes) -> AsyncIterator[bytes]:
        yield body

    padding = b"X: " + b"x" * 1000 + b"\r\n"
    headers = {"Content-Type": CONTENT_TYPE}
    async with app.test_client() as client:
        for body, status in ((part(FILE, b"") + END, 204), (part(FILE + padding, b"") + END, 413)):
            answer = await client.post("/", content=body, headers=headers)
            assert answer.status_code == status
            answer = await client.post("/", content=chunked(body), headers=headers)
            assert answer.status_code == status


# --- part by part


async def test_parts_as_they_come() -> None:
    app = App()

    @app.post("/")
    async def read(request: Request) -> list[object]:
        seen: list[object] = []
        async for each in request.parts():
            if each.filename is None:
                seen.append([each.name, await each.text(), each.content_type])
            else:
                seen.append([each.name, each.filename, each.raw_filename, each.content_type])
        return seen

    async with app.test_client() as client:
        answer = await client.post("/", data={"a": "ä"}, files={"f": ("../x.png", b"1")})
        assert answer.json() == [["a", "ä", "text/plain"], ["f", "x.png", "../x.png", "image/png"]]
        assert (await client.post("/", data={"a": "b"})).status_code == 415


async def test_a_body_that_was_read_before_is_parsed_in_pieces() -> None:
    app = App()
    content = bytes(1 << 20)

    @app.post("/")
    async def read(request: Request) -> dict[str, object]:
        await request.body()
        async for each in request.parts():
            sizes = [len(piece) async for piece in each]
        return {"sum": sum(sizes), "most": max(sizes)}

    async with app.test_client() as client:
        answer = await client.post("/", files={"f": ("x.bin", content)})
        assert answer.json() == {"sum": len(content), "most": 64 * 1024}


async def test_a_part_is_there_while_the_rest_is_still_to_come() -> None:
    may_go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield B + FILE + b"\r\nfirst"
        await may_go_on.wait()
        yield b"second\r\n" + END

    parts = read_parts(pieces(), CONTENT_TYPE, max_parts=10, max_text=10)
    content = aiter(await anext(parts))
    assert await anext(content) == b"first"
    may_go_on.set()
    assert [piece async for piece in content] == [b"second"]
    assert [each async for each in parts] == []


async def test_a_part_that_is_left_half_way_is_passed_over() -> None:
    parts = read_parts(
        in_pieces(B + FILE + b"\r\none", b"two", b"\r\n" + part(FIELD) + END),
        CONTENT_TYPE,
        max_parts=10,
        max_text=100,
    )
    first = await anext(parts)
    content = aiter(first)
    assert await anext(content) == b"one"
    second = await anext(parts)
    with pytest.raises(BodyConsumed):
        await anext(content)
    assert await second.text() == "x"
    with pytest.raises(BodyConsumed):
        await second.text()


async def test_parts_that_are_collected_can_not_be_read() -> None:
    parts = read_parts(in_pieces(part(FIELD) * 2 + END), CONTENT_TYPE, max_parts=10, max_text=100)
    for each in [each async for each in parts]:
        with pytest.raises(BodyConsumed):
            await each.text()


async def test_text_of_a_part_has_a_limit() -> None:
    parts = read_parts(
        in_pieces(part(FIELD, b"12345") + END), CONTENT_TYPE, max_parts=10, max_text=4
    )
    with pytest.raises(ContentTooLarge, match="expected at most 4 bytes"):
        await (await anext(parts)).text()


# --- cleanup


@needs_proc
async def test_a_large_form_is_on_disk_while_it_is_used_and_then_gone(spool_folder: Path) -> None:
    form = await form_of(LARGE + part(FILE, b"tail") + END)
    assert len(open_in(spool_folder)) == 1
    first, second = form.files.get_all("f")
    assert await first.read() == bytes(first.size)
    assert await second.read() == b"tail"
    del form, first
    assert await second.read() == b"tail"
    del second
    await all_is_gone_from(spool_folder)


@needs_proc
async def test_a_client_that_leaves_inside_a_file_leaves_nothing(spool_folder: Path) -> None:
    has_left = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE[:-100]
        assert len(open_in(spool_folder)) == 1
        has_left.set()
        raise ClientDisconnected("the peer left")

    with pytest.raises(ClientDisconnected) as caught:
        await read_form(pieces(), CONTENT_TYPE, max_parts=10, max_text=1000)
    assert has_left.is_set() and caught.value.__traceback__ is not None
    await all_is_gone_from(spool_folder)


@needs_proc
async def test_a_small_form_has_no_file(spool_folder: Path) -> None:
    form = await form_of(part(FILE, bytes(1 << 20)) + END)
    assert open_in(spool_folder) == []
    assert form.files["f"].size == 1 << 20


def make_leaving_app() -> App:
    app = App()

    @app.post("/{how}")
    async def read(request: Request, how: str) -> object:
        form = await request.form()
        if how == "raise":
            raise RuntimeError("a fault of the endpoint")
        if how == "refuse":
            raise HTTPError(422)
        if how == "stream":
            return Response.stream(form.files["f"])
        return {"size": form.files["f"].size}

    return app


@needs_proc
@pytest.mark.parametrize("how", ["return", "stream", "refuse", "raise"])
async def test_nothing_is_kept_behind_an_exchange(how: str, spool_folder: Path) -> None:
    headers = {"Content-Type": CONTENT_TYPE}
    async with make_leaving_app().test_client(raise_errors=False) as client:
        gc.disable()  # the test fails if the cleanup needs the garbage collector
        try:
            answer = await client.post(f"/{how}", content=LARGE + END, headers=headers)
            assert answer.status_code == {"refuse": 422, "raise": 500}.get(how, 200)
            await all_is_gone_from(spool_folder)
        finally:
            gc.enable()


UPLOADS_PROGRAM = """
import re
from pathlib import Path
from microweb import App, Request

app = App(max_body=1 << 30)


@app.post("/{folder:path}")
async def keep(request: Request, folder: str) -> str:
    upload = (await request.form()).files["f"]
    path = await upload.save(f"/{folder}/{upload.filename}")
    status = Path("/proc/self/status").read_text()
    return f"{path.stat().st_size} {re.search(r'VmHWM: *([0-9]+)', status.expandtabs(1))[1]}"


app.run(port=0)
"""


@needs_proc
def test_a_large_upload_is_saved_in_little_memory(tmp_path: Path) -> None:
    size, mib = 64 << 20, 1 << 20

    def body(pieces: int) -> Iterator[bytes]:
        yield B + FILE + b"\r\n"
        for _ in range(pieces):
            yield bytes(mib)
        yield b"\r\n" + END

    (tmp_path / "app.py").write_text(UPLOADS_PROGRAM)
    with Program(tmp_path / "app.py", cwd=tmp_path) as program:
        url = re.search(r"http://127[^ ]+", program.out.wait_for("listening"))[0]  # type: ignore[index]
        peaks = []
        for name, pieces in (("small", 2), ("large", size // mib)):
            (tmp_path / name).mkdir()
            answer = httpx.post(
                f"{url}{tmp_path / name}",
                content=body(pieces),
                headers={"Content-Type": CONTENT_TYPE},
                timeout=60,
                trust_env=False,
            )
            saved, peak_kib = map(int, answer.text.split())
            assert saved == pieces * mib
            peaks.append(peak_kib)
    assert peaks[1] - peaks[0] < 8 * 1024


# --- the extra


async def test_a_part_has_at_most_32_parameters() -> None:
    for number, is_refused in ((31, False), (32, True)):
        more = b"".join(b"; p%d=a" % each for each in range(number))
        part = b'--b\r\nContent-Disposition: form-data; name="f"%b\r\n\r\nx\r\n--b--' % more
        if is_refused:
            with pytest.raises(BadRequest, match="at most 32 parameters"):
                await form_of(part)
        else:
            assert (await form_of(part))["f"] == "x"
