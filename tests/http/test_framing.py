from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from microweb.errors import ContentTooLarge, HeadTooLarge, MalformedRequest, MicrowebError
from microweb.http.framing import LAST_CHUNK, ChunkedDecoder, LengthDecoder, encode_chunk
from microweb.http.grammar import CHUNK_LINE

# RFC 9112 section 7.1, with everything that the grammar allows
WHOLE = (
    b"5\r\nhello\r\n"
    b'01;plain;token=value;quoted="a \\" ;=b";empty=""\r\n,\r\n'
    b"A\r\n\r\nworld!\r\n\r\n"
    b"000\r\n"
    b"Expires: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
    b"X-Empty:\r\n"
    b"x-tabs:\t caf\xe9\t \r\n"
    b"\r\n"
)
CONTENT = b"hello,\r\nworld!\r\n"
TRAILERS = [
    ("expires", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("x-empty", ""),
    ("x-tabs", "caf\xe9"),
]
NEXT = b"GET / HTTP/1.1\r\n"


def feed(decoder: LengthDecoder | ChunkedDecoder, *reads: bytes) -> tuple[bytes, bytes]:
    """Decode as a connection does; return the content and the bytes that are left."""
    content, buffered = b"", b""
    for read in reads:
        buffered += read
        part, position = decoder.decode(buffered, 0)
        content += part
        buffered = buffered[position:]
    return content, buffered


def each_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def outcome(*reads: bytes) -> object:
    """Return the content, trailers and end of a decoded body, or its refusal."""
    decoder = ChunkedDecoder(max_extensions=12, max_extension=8, max_trailers=24)
    decoder.max_content = 300
    try:
        content, rest = feed(decoder, *reads)
    except MicrowebError as error:
        return type(error), getattr(error, "reason", None)
    return content, rest, decoder.trailers, decoder.is_complete


def refusal(data: bytes, decoder: ChunkedDecoder | None = None) -> str:
    """Return the reason why `data` is refused; check that its last byte is the first to show it."""
    decoder = decoder or ChunkedDecoder()
    _, rest = feed(decoder, *each_byte(data[:-1]))
    assert not decoder.is_complete
    for _ in range(2):  # nothing was consumed, so it is refused again
        with pytest.raises(MalformedRequest) as refused:
            decoder.decode(rest + data[-1:], 0)
    with pytest.raises(MalformedRequest) as refused_behind_content:
        ChunkedDecoder().decode(encode_chunk(b"content") + data + b"more\r\n\r\n", 0)
    assert refused_behind_content.value.reason == refused.value.reason
    assert refused.value.got
    return refused.value.reason


class CountingBytes(bytes):
    """Bytes that count how many of them were copied by slicing."""

    copied = 0

    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        part = super().__getitem__(key)
        if isinstance(key, slice):
            self.copied += len(part)
        return part


# --- by length ------------------------------------------------------------------------


def test_length_takes_its_bytes_and_no_more() -> None:
    decoder = LengthDecoder(5)
    assert decoder.decode(b"..hello" + NEXT, 2) == (b"hello", 7)
    assert decoder.is_complete
    assert decoder.length == 5


@pytest.mark.parametrize("cut", range(1, 5))
def test_length_split_across_reads(cut: int) -> None:
    decoder = LengthDecoder(5)
    assert decoder.decode(b"hello"[:cut], 0) == (b"hello"[:cut], cut)
    assert not decoder.is_complete
    assert decoder.decode(b"hello"[cut:] + NEXT, 0) == (b"hello"[cut:], 5 - cut)
    assert decoder.is_complete


def test_length_by_bytes() -> None:
    decoder = LengthDecoder(5)
    assert feed(decoder, *each_byte(b"hello" + NEXT)) == (b"hello", NEXT)


def test_length_zero_is_complete_at_once() -> None:
    decoder = LengthDecoder(0)
    assert decoder.is_complete
    assert decoder.decode(NEXT, 0) == (b"", 0)


def test_length_without_data_is_no_progress() -> None:
    decoder = LengthDecoder(5)
    assert decoder.decode(b"", 0) == (b"", 0)
    assert not decoder.is_complete


def test_length_does_not_copy_what_is_all_content() -> None:
    data = b"hello"
    assert LengthDecoder(5).decode(data, 0)[0] is data
    assert LengthDecoder(6).decode(data, 0)[0] is data


# --- by chunks: valid bodies ----------------------------------------------------------


def test_chunks_whole() -> None:
    decoder = ChunkedDecoder()
    assert decoder.decode(WHOLE, 0) == (CONTENT, len(WHOLE))
    assert decoder.is_complete
    assert decoder.trailers == TRAILERS


def test_chunks_by_bytes_with_a_tail() -> None:
    decoder = ChunkedDecoder()
    assert feed(decoder, *each_byte(WHOLE + NEXT)) == (CONTENT, NEXT)
    assert decoder.trailers == TRAILERS


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_chunks_split_across_reads(cut: int) -> None:
    decoder = ChunkedDecoder()
    part, rest = feed(decoder, WHOLE[:cut])
    assert not decoder.is_complete
    assert feed(decoder, rest + WHOLE[cut:] + NEXT) == (CONTENT[len(part) :], NEXT)
    assert decoder.is_complete
    assert decoder.trailers == TRAILERS


def test_chunks_begin_at_the_position() -> None:
    decoder = ChunkedDecoder()
    assert decoder.decode(NEXT + WHOLE + NEXT, len(NEXT)) == (CONTENT, len(NEXT + WHOLE))


def test_complete_takes_nothing_more() -> None:
    decoder = ChunkedDecoder()
    decoder.decode(LAST_CHUNK, 0)
    assert decoder.is_complete
    assert decoder.decode(b"1\r\nx\r\n", 0) == (b"", 0)


def test_unfinished_chunk_is_delivered_as_it_comes() -> None:
    decoder = ChunkedDecoder()
    assert decoder.decode(b"1\r\na\r\n5\r\nhel", 0) == (b"ahel", 12)
    assert decoder.decode(b"l", 0) == (b"l", 1)
    assert decoder.decode(b"o\r", 0) == (b"o", 1)
    assert decoder.decode(b"\r\n", 0) == (b"", 2)


def test_part_of_a_chunk_is_not_copied() -> None:
    decoder = ChunkedDecoder()
    decoder.decode(b"ffff\r\n", 0)
    data = b"hello"
    assert decoder.decode(data, 0)[0] is data


@pytest.mark.parametrize("size", [b"a", b"A", b"0a", b"0" * 15 + b"a", b"0" * 31 + b"a"])
def test_size_is_hex_of_either_case_after_zeros(size: bytes) -> None:
    data = size + b"\r\n0123456789\r\n" + b"0" * len(size) + b"\r\n\r\n"
    decoder = ChunkedDecoder()
    assert decoder.decode(data, 0) == (b"0123456789", len(data))
    assert decoder.is_complete


def test_framing_names_in_trailers_stay_there() -> None:
    decoder = ChunkedDecoder()
    data = b"0\r\nContent-Length: 5\r\nHost: evil\r\n\r\n"
    assert feed(decoder, data + b"hello") == (b"", b"hello")
    assert decoder.trailers == [("content-length", "5"), ("host", "evil")]


def test_trailer_loses_spaces_and_tabs_around_its_value_only() -> None:
    decoder = ChunkedDecoder()
    feed(decoder, b"0\r\na: \t\xa0b c\x85 \t\r\n\r\n")
    assert decoder.trailers == [("a", "\xa0b c\x85")]


def test_last_chunk_may_have_extensions() -> None:
    decoder = ChunkedDecoder()
    assert feed(decoder, b"0;a=b\r\n\r\n", NEXT) == (b"", NEXT)
    assert decoder.is_complete


def test_by_bytes_only_an_unfinished_line_is_left() -> None:
    decoder = ChunkedDecoder()
    data = encode_chunk(b"x" * 1000) * 3 + b'1;a="b"\r\nx\r\n0\r\n' + b"name: value\r\n" * 90
    buffered, most_left = b"", 0
    for byte in each_byte(data):
        buffered += byte
        buffered = buffered[decoder.decode(buffered, 0)[1] :]
        most_left = max(most_left, len(buffered))
    assert most_left == len(b"name: value\r")


@pytest.mark.parametrize("line", [b"1\r\n", b"1;a=b\r\n", b'1;a="b"\r\n', b"0" * 20 + b"1\r\n"])
def test_many_chunks_are_copied_once(line: bytes) -> None:
    data = CountingBytes((line + b"x\r\n") * 900 + LAST_CHUNK + NEXT * 1000)
    content, position = ChunkedDecoder().decode(data, 0)
    assert content == b"x" * 900
    assert data[position:] == NEXT * 1000
    assert data.copied - len(NEXT * 1000) < len(data[:position]) * 2


def test_many_trailers_are_not_copied_again_and_again() -> None:
    data = CountingBytes(b"0\r\n" + b"a: b\r\n" * 100 + b"\r\n" + NEXT * 1000)
    decoder = ChunkedDecoder()
    _, position = decoder.decode(data, 0)
    assert len(decoder.trailers) == 100
    assert data.copied < position * 2


def test_a_call_ends_early_at_many_small_chunks() -> None:
    data = encode_chunk(b"a") * 2500 + LAST_CHUNK + NEXT
    decoder = ChunkedDecoder()
    pieces, position = [], 0
    while not decoder.is_complete:
        piece, position = decoder.decode(data, position)
        pieces.append((len(piece), decoder.has_more))
    assert pieces == [(1000, True), (1000, True), (500, False)]
    assert data[position:] == NEXT


# --- by chunks: invalid bodies, refused at their last byte ----------------------------


@pytest.mark.parametrize("line", [b"5\n", b"5;a\n", b"5;a=b\n", b'5;a="\n', b"5;\n"])
def test_bare_lf_in_a_chunk_line_is_refused(line: bytes) -> None:
    assert refusal(line) == "bare LF in a chunk line"


def test_bare_lf_after_size_is_refused() -> None:
    assert refusal(b"5\n") == "bare LF in a chunk line"


@pytest.mark.parametrize("line", [b"5\r5", b"5\r\r", b"5;a\r;", b"5;a=b\r ", b'5;a="b"\r\0'])
def test_bare_cr_in_a_chunk_line_is_refused(line: bytes) -> None:
    assert refusal(line) == "bare CR in a chunk line"


@pytest.mark.parametrize(
    "line",
    [
        b"\r",
        b" ",
        b";",
        b"-",
        b"+",
        b"g",
        b"0x",
        b"0X",
        b"1_",
        b"5 ",
        b"5\t",
        b"5\0",
        b"5,",
        b"5\xb2",
    ],
)
def test_size_that_is_not_hex_is_refused(line: bytes) -> None:
    assert refusal(line) == "chunk size is not 1*HEXDIG"


@pytest.mark.parametrize(
    "line",
    [
        b"5; ",
        b"5;;",
        b"5;=",
        b"5;a ",
        b"5;a= ",
        b"5;a=;",
        b"5;a==",
        b"5;a=b=",
        b'5;a="b"c',
        b'5;a="b""',
        b'5;a="\0',
        b'5;a="\x7f',
        b'5;a="\\\0',
        b'5;"',
        b"5;a=\xe9",
        b"5;\r",
        b"5;a=\r",
        b'5;a="\r',
    ],
)
def test_extension_outside_the_grammar_is_refused(line: bytes) -> None:
    assert refusal(line) == "invalid chunk extension"


def test_extensions_beyond_the_limit_of_a_chunk_are_refused() -> None:
    allowed = b"1;" + b"e" * 127
    assert feed(ChunkedDecoder(), allowed + b"\r\nx\r\n") == (b"x", b"")
    assert refusal(allowed + b"e") == "chunk extensions too long"
    assert refusal(b'1;a="' + b"e" * 125) == "chunk extensions too long"
    assert refusal(b"0" * 31 + b"1;" + b"e" * 128) == "chunk extensions too long"


def test_extensions_beyond_the_limit_of_the_body_are_refused() -> None:
    decoder = ChunkedDecoder(max_extensions=10)
    assert feed(decoder, b"1;ab=c\r\nx\r\n1\r\ny\r\n1;abcd\r\nz\r\n") == (b"xyz", b"")
    assert feed(decoder, b"0\r") == (b"", b"0\r")  # none left, and none needed
    with pytest.raises(MalformedRequest, match="chunk extensions too long"):
        decoder.decode(b"0;", 0)


def test_size_with_too_many_zeros_is_refused() -> None:
    assert refusal(b"0" * 33) == "chunk size has too many zeros"


@pytest.mark.parametrize("end", [b"x", b"\n", b"\rx", b"\r\r", b"0", b" "])
def test_data_without_crlf_is_refused(end: bytes) -> None:
    assert refusal(b"5\r\nhello" + end) == "chunk-data is longer than its chunk size"


@pytest.mark.parametrize("line", [b"\n", b"a\n", b"a:\n", b"a: b\n", b"a: b\r\nc: d\r\n\n"])
def test_bare_lf_in_trailers_is_refused(line: bytes) -> None:
    assert refusal(b"0\r\n" + line) == "bare LF in a trailer line"


@pytest.mark.parametrize("line", [b"a:\rb", b"a: b\r\r", b"a: b\r "])
def test_bare_cr_in_trailers_is_refused(line: bytes) -> None:
    assert refusal(b"0\r\n" + line) == "bare CR in a trailer line"


@pytest.mark.parametrize("line", [b" ", b"\t", b"a: b\r\n ", b"a: b\r\n\t"])
def test_obs_fold_in_trailers_is_refused(line: bytes) -> None:
    reason = "obs-fold or whitespace before a trailer field"
    assert refusal(b"0\r\n" + line) == reason


@pytest.mark.parametrize(
    "line", [b":", b"a ", b"a\r", b"\rx", b"(", b"a\0", b"\xe9", b"a: b\r\nc "]
)
def test_trailer_name_that_is_no_token_is_refused(line: bytes) -> None:
    assert refusal(b"0\r\n" + line) == "invalid trailer field name"


@pytest.mark.parametrize("line", [b"a:\0", b"a: b\x7f", b"a: b\x1b", b"a: b\r\nc:\0"])
def test_control_byte_in_a_trailer_is_refused(line: bytes) -> None:
    assert refusal(b"0\r\n" + line) == "invalid trailer field value"


# --- by chunks: bodies that are too large ---------------------------------------------


def test_too_large_a_chunk_is_refused_when_announced() -> None:
    decoder = ChunkedDecoder()
    decoder.max_content = 10
    assert feed(decoder, b"A\r") == (b"", b"A\r")
    assert feed(decoder, b"A\r\n0123456789\r\n") == (b"0123456789", b"")
    for _ in range(2):  # nothing was taken, so it is refused again
        with pytest.raises(ContentTooLarge):
            decoder.decode(b"1\r\n", 0)
    assert feed(decoder, LAST_CHUNK) == (b"", b"")
    assert decoder.is_complete


@pytest.mark.parametrize("limit", [0, 5, 9])
def test_content_beyond_the_limit_is_not_delivered(limit: int) -> None:
    decoder = ChunkedDecoder()
    decoder.max_content = limit
    with pytest.raises(ContentTooLarge):
        decoder.decode(b"5\r\nhello\r\n5;a\r\nworld\r\n" + LAST_CHUNK, 0)


def test_size_of_17_digits_is_refused_unfinished() -> None:
    decoder = ChunkedDecoder()
    assert feed(decoder, b"000" + b"1" * 16) == (b"", b"000" + b"1" * 16)
    with pytest.raises(ContentTooLarge):
        decoder.decode(b"000" + b"1" * 17, 0)


def test_content_beyond_2_to_the_63_is_refused_without_a_limit() -> None:
    assert feed(ChunkedDecoder(), b"8000000000000000\r\n") == (b"", b"")
    with pytest.raises(ContentTooLarge):
        ChunkedDecoder().decode(b"8000000000000001\r\n", 0)
    with pytest.raises(ContentTooLarge):
        ChunkedDecoder().decode(b"1\r\nx\r\n8000000000000000\r\n", 0)


@pytest.mark.parametrize("by_bytes", [False, True])
def test_trailer_section_beyond_its_limit_is_refused(by_bytes: bool) -> None:
    def trailers_of(size: int) -> list[bytes]:
        section = b"0\r\na: b\r\n" + b"c:" + b"d" * (size - len(b"a: b\r\nc:\r\n")) + b"\r\n\r\n"
        return each_byte(section) if by_bytes else [section]

    decoder = ChunkedDecoder(max_trailers=64)
    assert feed(decoder, *trailers_of(64)) == (b"", b"")
    assert decoder.is_complete
    with pytest.raises(HeadTooLarge, match="trailer section too large"):
        feed(ChunkedDecoder(max_trailers=64), *trailers_of(65))


def test_trailer_line_beyond_the_limit_is_refused_unfinished() -> None:
    decoder = ChunkedDecoder(max_trailers=64)
    _, rest = feed(decoder, *each_byte(b"0\r\na:" + b"b" * 60))
    with pytest.raises(HeadTooLarge):
        decoder.decode(rest + b"b", 0)


@pytest.mark.parametrize("by_bytes", [False, True])
def test_trailer_fields_beyond_their_limit_are_refused(by_bytes: bool) -> None:
    fields = b"0\r\na: b\r\na: b\r\n"
    decoder = ChunkedDecoder(max_trailer_fields=2)
    _, rest = feed(decoder, *(each_byte(fields) if by_bytes else [fields]), b"\r")
    with pytest.raises(HeadTooLarge, match="too many trailer fields"):
        decoder.decode(b"a", 0)
    assert feed(decoder, rest + b"\n") == (b"", b"")
    assert decoder.is_complete


# --- by chunks: properties ------------------------------------------------------------

chunks = st.lists(st.binary(max_size=40), max_size=8)
places = st.lists(st.integers(0, 200), max_size=12)

# These pieces give nearly valid bodies far more often than random bytes.
PIECES = b"""0 1 02 f 00000000 0; x CR LF CRLF CRLF SP NUL ; ;a=b ;a="b" a = " \\ : a:b
    0CRLF 1CRLFxCRLF"""
pieces = [
    piece.replace(b"CR", b"\r").replace(b"LF", b"\n").replace(b"SP", b" ").replace(b"NUL", b"\0")
    for piece in PIECES.split()
]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted(place for place in places if place <= len(data))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(chunks, places)
def test_any_split_of_any_chunks_is_the_same_content(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(map(encode_chunk, parts)) + LAST_CHUNK
    decoder = ChunkedDecoder()
    assert feed(decoder, *cut(data + NEXT, places)) == (b"".join(parts), NEXT)
    assert decoder.is_complete


@given(st.lists(st.sampled_from(pieces), max_size=14).map(b"".join), places)
@example(WHOLE, [])
@example(b"1;a=b;ab=c\r\nx\r\n1;ab\r\n\0", [9])  # both limits of extensions, then a control byte
@example(b"0" * 17 + b"1" + b"0" * 16, [])  # too many zeros, then too many digits
@example(b"0\r\na:" + b"b" * 30 + b"\0", [20])  # the limit of trailers, then a control byte
def test_cuts_change_neither_content_nor_refusal(data: bytes, places: list[int]) -> None:
    expected = outcome(data)
    assert outcome(*each_byte(data)) == expected
    assert outcome(*cut(data, places)) == expected


def test_unfinished_line_stands_exactly_if_it_can_be_finished() -> None:
    endings = [b"", b"0", b'"', b'""']
    for characters in itertools.product(b'5;a="\\ ', repeat=6):
        line = bytes(characters)
        try:
            assert ChunkedDecoder().decode(line, 0) == (b"", 0)
            stands = True
        except MalformedRequest:
            stands = False
        assert stands == any(CHUNK_LINE.fullmatch(line + ending) for ending in endings), line


@given(chunks)
def test_h11_reads_what_is_encoded(parts: list[bytes]) -> None:
    connection = h11.Connection(our_role=h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Response)
    connection.receive_data(b"".join(map(encode_chunk, parts)) + LAST_CHUNK)
    content = b""
    while isinstance(event := connection.next_event(), h11.Data):
        content += event.data
    assert content == b"".join(parts)
    assert isinstance(event, h11.EndOfMessage)


@given(chunks)
def test_what_h11_encodes_is_read(parts: list[bytes]) -> None:
    connection = h11.Connection(our_role=h11.CLIENT)
    headers = [("Host", "a"), ("Transfer-Encoding", "chunked")]
    connection.send(h11.Request(method="POST", target="/", headers=headers))
    data = b"".join(connection.send(h11.Data(data=part)) or b"" for part in parts)
    data += connection.send(h11.EndOfMessage(headers=[("Digest", "x")])) or b""
    decoder = ChunkedDecoder()
    assert feed(decoder, data) == (b"".join(parts), b"")
    assert decoder.trailers == [("digest", "x")]


# --- encoding -------------------------------------------------------------------------


def test_chunk_is_its_size_in_hex_and_its_data() -> None:
    assert encode_chunk(b"hello, world!!!!") == b"10\r\nhello, world!!!!\r\n"


def test_no_data_is_no_chunk_because_an_empty_one_ends_the_body() -> None:
    assert encode_chunk(b"") == b""
