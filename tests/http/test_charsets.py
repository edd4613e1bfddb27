"""The known charsets; an unknown one leaves nothing in memory."""

from __future__ import annotations

import codecs
import encodings

import pytest

from microweb import App, Request
from microweb.http.charsets import codec_of, decode_in_pieces


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        (" Latin1 ", "iso8859-1"),
        ("us-ascii", "ascii"),
        ("windows-1252", "cp1252"),
        ("windows-31j", "cp932"),
        ("utf-16", "utf-16"),
        ("utf-32be", "utf-32-be"),
        ("gb18030", "gb18030"),
    ],
)
def test_a_label_names_a_codec_of_python(label: str, codec: str) -> None:
    found = codec_of(label)
    assert found is not None
    assert codecs.lookup(found).name == codec


@pytest.mark.parametrize(
    "label",
    # The standard decodes nothing of the last two: they hide ASCII.
    ["", "klingon", "utf-7", "punycode", "idna", "base64", "cp037", "hz-gb-2312", "iso-2022-kr"],
)
def test_anything_else_is_no_charset(label: str) -> None:
    assert codec_of(label) is None


def test_each_codec_of_the_table_decodes() -> None:
    from microweb.http.charsets import _LABELS_BY_CODEC

    for codec in _LABELS_BY_CODEC:
        assert "a".encode(codec).decode(codec) == "a"


@pytest.mark.parametrize("codec", ["utf-8", "cp1252", "shift_jis", "iso2022_jp", "utf-16"])
def test_a_large_text_is_decoded_in_pieces(codec: str) -> None:
    text = ("é" if codec in ("utf-8", "cp1252", "utf-16") else "あ") * 400_001
    data = text.encode(codec)
    assert decode_in_pieces(data, codec) == text
    if codec != "cp1252":
        with pytest.raises(UnicodeError):
            decode_in_pieces(data[:-1], codec)


async def test_unknown_charsets_leave_nothing_in_pythons_cache() -> None:
    app = App()

    @app.post("/")
    async def show(request: Request) -> str:
        return await request.text()

    cached = encodings._cache  # type: ignore[attr-defined]
    async with app.test_client() as client:
        type_of = "text/plain; charset=x-{}".format
        await client.post("/", content=b"a", headers={"Content-Type": "text/plain"})
        before = set(cached)
        for number in range(20):
            headers = {"Content-Type": type_of(f"{number}" * 1000)}
            answer = await client.post("/", content=b"a", headers=headers)
            assert answer.status_code == 415
    assert set(cached) == before
