"""RFC 9110 section 6.5: which fields may be trailers, their bytes, and the field Trailer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import LocalProtocolError
from microweb.http.framing import ChunkedDecoder
from microweb.http.headers import MutableHeaders
from microweb.http.trailers import FORBIDDEN, Trailers, announce

NAMES = st.text("abcXYZ019-_.!~", min_size=1, max_size=20).filter(
    lambda name: name.lower() not in FORBIDDEN
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


def test_fields_follow_the_last_chunk() -> None:
    trailers = Trailers()
    trailers["Content-Digest"] = "sha-256=:AA==:"
    trailers.add("Server-Timing", "db;dur=3")
    trailers.add("Server-Timing", "é")
    assert trailers.last_chunk() == (
        b"0\r\nContent-Digest: sha-256=:AA==:\r\n"
        b"Server-Timing: db;dur=3\r\nServer-Timing: \xe9\r\n\r\n"
    )


def test_without_fields_the_last_chunk_is_the_usual_one() -> None:
    assert Trailers().last_chunk() == b"0\r\n\r\n"


@given(st.lists(st.tuples(NAMES, VALUES), max_size=10))
def test_they_are_decoded_as_they_were_set(fields: list[tuple[str, str]]) -> None:
    trailers = Trailers(fields)
    decoder = ChunkedDecoder()
    decoder.decode(trailers.last_chunk(), 0)
    assert decoder.is_complete
    expected = [(name.lower(), value.strip(" ")) for name, value in trailers.pairs()]
    assert decoder.trailers == expected
    assert sorted(expected) == sorted((name.lower(), value.strip(" ")) for name, value in fields)


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_field_that_a_client_needs_before_is_refused(name: str) -> None:
    trailers = Trailers()
    for written in (name, name.upper()):
        with pytest.raises(LocalProtocolError, match=f"got '{name}'.*response.headers"):
            trailers[written] = "x"
        with pytest.raises(LocalProtocolError):
            trailers.add(written, "x")
        with pytest.raises(LocalProtocolError):
            trailers.update({written: "x"})
        with pytest.raises(LocalProtocolError):
            trailers.fill({written: "x"})
        with pytest.raises(LocalProtocolError):
            trailers.set_missing(MutableHeaders({written: "x"}))
        with pytest.raises(LocalProtocolError):
            Trailers({written: "x"})
    assert not trailers


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é"])
def test_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="a token as a field name"):
        Trailers()[name] = "x"


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b=c", "a\nb", "a\rb", "a\0b", "a\x7f"])
def test_value_can_add_no_field(value: str) -> None:
    with pytest.raises(LocalProtocolError, match="without control characters"):
        Trailers()["X"] = value


def test_fields_after_the_last_chunk_are_refused() -> None:
    trailers = Trailers({"A": "1"})
    trailers.last_chunk()
    with pytest.raises(LocalProtocolError, match="was sent"):
        trailers["B"] = "2"
    with pytest.raises(LocalProtocolError, match="was sent"):
        trailers.set_missing(MutableHeaders({"B": "2"}))
    with pytest.raises(LocalProtocolError, match="was sent"):
        del trailers["A"]


def test_missing_fields_are_added_beside_those_that_are_set() -> None:
    trailers = Trailers({"A": "1"})
    trailers.set_missing(MutableHeaders({"a": "2", "B": "3"}))
    assert dict(trailers) == {"a": "1", "b": "3"}


# --- the field Trailer


def test_trailer_names_the_announced_fields_and_those_that_are_set() -> None:
    headers = MutableHeaders({"Trailer": "Content-Digest, X-Count"})
    announce(headers, Trailers({"x-count": "1", "Server-Timing": "a"}), is_chunked=True)
    assert headers["trailer"] == "Content-Digest, x-count, Server-Timing"


@pytest.mark.parametrize("trailers", [None, Trailers()])
def test_without_trailers_there_is_no_field(trailers: Trailers | None) -> None:
    headers = MutableHeaders({"Content-Length": "3"})
    announce(headers, trailers, is_chunked=False)
    assert list(headers) == ["content-length"]


def test_response_without_chunks_loses_the_field() -> None:
    headers = MutableHeaders({"Trailer": "X-Count"})
    announce(headers, Trailers({"X-Other": "1"}), is_chunked=False)
    assert "trailer" not in headers


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize("names", ["Content-Type", "X-Count, transfer-encoding", "a b", "a;b"])
def test_name_that_must_not_be_a_trailer_is_refused(names: str, is_chunked: bool) -> None:
    with pytest.raises(LocalProtocolError, match="expected a"):
        announce(MutableHeaders({"Trailer": names}), None, is_chunked=is_chunked)


@pytest.mark.parametrize("trailers", [None, Trailers({"X-Count": "1"})])
def test_known_length_leaves_no_place_for_trailers(trailers: Trailers | None) -> None:
    headers = MutableHeaders({"Content-Length": "3"})
    if trailers is None:
        headers["Trailer"] = "X-Count"
    with pytest.raises(LocalProtocolError, match="expected no Content-Length"):
        announce(headers, trailers, is_chunked=False)
