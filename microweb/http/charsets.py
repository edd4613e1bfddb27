"""The charsets of text from a peer: label -> Python's codec. Text that is sent is UTF-8.

The labels are those of the WHATWG Encoding Standard (section 4.2) whose encoding Python has, and
UTF-32. A label that Python knows means Python's codec of that name. Any other label means the codec
that is nearest to the standard's encoding.

`codecs.lookup` is never called with another name, for two reasons. Python keeps each unknown name
forever: 141 KB for the longest possible one. And some of its codecs are no charsets (`base64`),
take quadratic time (`punycode`) or hide ASCII from checks of the bytes (`utf-7`).
"""

from __future__ import annotations

import codecs

_PIECE = 256 * 1024
_SHOWN_CHARACTERS = 40

_LABELS_BY_CODEC = {
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "utf-16": "utf-16 csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff",
    "utf-16-be": "utf-16be unicodefffe",
    "utf-16-le": "utf-16le",
    "utf-32": "utf-32",
    "utf-32-be": "utf-32be",
    "utf-32-le": "utf-32le",
    "ascii": "ascii us-ascii ansi_x3.4-1968",
    "iso8859-1": "iso-8859-1 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 latin1 latin-1 l1 cp819 "
    "ibm819 csisolatin1 iso-ir-100",
    "iso8859-2": "iso-8859-2 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 latin2 l2 csisolatin2 "
    "iso-ir-101",
    "iso8859-3": "iso-8859-3 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 latin3 l3 csisolatin3 "
    "iso-ir-109",
    "iso8859-4": "iso-8859-4 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 latin4 l4 csisolatin4 "
    "iso-ir-110",
    "iso8859-5": "iso-8859-5 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988 cyrillic "
    "csisolatincyrillic iso-ir-144",
    "iso8859-6": "iso-8859-6 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987 iso-8859-6-e "
    "iso-8859-6-i arabic asmo-708 ecma-114 csisolatinarabic csiso88596e csiso88596i iso-ir-127",
    "iso8859-7": "iso-8859-7 iso8859-7 iso88597 iso_8859-7 iso_8859-7:1987 greek greek8 ecma-118 "
    "elot_928 sun_eu_greek csisolatingreek iso-ir-126",
    "iso8859-8": "iso-8859-8 iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988 iso-8859-8-e "
    "iso-8859-8-i hebrew visual logical csisolatinhebrew csiso88598e csiso88598i iso-ir-138",
    "iso8859-9": "iso-8859-9 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 latin5 l5 csisolatin5 "
    "iso-ir-148",
    "iso8859-10": "iso-8859-10 iso8859-10 iso885910 latin6 l6 csisolatin6 iso-ir-157",
    "iso8859-11": "iso-8859-11 iso8859-11 iso885911",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9 csisolatin9",
    "iso8859-16": "iso-8859-16",
    "tis-620": "tis-620",
    "cp866": "ibm866 cp866 866 csibm866",
    "cp874": "windows-874 dos-874",
    "cp1250": "windows-1250 cp1250 x-cp1250",
    "cp1251": "windows-1251 cp1251 x-cp1251",
    "cp1252": "windows-1252 cp1252 x-cp1252",
    "cp1253": "windows-1253 cp1253 x-cp1253",
    "cp1254": "windows-1254 cp1254 x-cp1254",
    "cp1255": "windows-1255 cp1255 x-cp1255",
    "cp1256": "windows-1256 cp1256 x-cp1256",
    "cp1257": "windows-1257 cp1257 x-cp1257",
    "cp1258": "windows-1258 cp1258 x-cp1258",
    "koi8-r": "koi8-r koi8_r koi8 koi cskoi8r",
    "koi8-u": "koi8-u koi8-ru",
    "mac-roman": "macintosh mac x-mac-roman csmacintosh",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb2312": "gb2312 chinese csiso58gb231280 iso-ir-58",
    "gbk": "gbk x-gbk gb_2312 gb_2312-80 csgb2312",
    "gb18030": "gb18030",
    "big5": "big5 csbig5 cn-big5 x-x-big5",
    "big5hkscs": "big5-hkscs",
    "euc_jp": "euc-jp x-euc-jp cseucpkdfmtjapanese",
    "iso2022_jp": "iso-2022-jp csiso2022jp",
    "shift_jis": "shift_jis shift-jis sjis csshiftjis",
    "cp932": "windows-31j ms932 ms_kanji x-sjis",
    "euc_kr": "euc-kr korean ks_c_5601-1987 ksc5601",
    "cp949": "windows-949 ks_c_5601-1989 ksc_5601 csksc56011987 cseuckr iso-ir-149",
}
_CODECS = {label: codec for codec, labels in _LABELS_BY_CODEC.items() for label in labels.split()}


def codec_of(label: str) -> str | None:
    """Return the codec of a charset's label, in any case; None for an unknown label."""
    return _CODECS.get(label.strip().lower())


def encode_utf8(text: str) -> bytes:
    """Return `text` in UTF-8. Raises: ValueError, with the index of half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        before = text[max(error.start - _SHOWN_CHARACTERS, 0) : error.start]
        raise ValueError(
            "expected text that UTF-8 can encode, got half a surrogate pair, "
            f"{text[error.start]!r}, at index {error.start}, after {before!r}"
        ) from error


def decode_in_pieces(data: bytes, codec: str) -> str:
    """Return `data.decode(codec)`, decoded in pieces. Raises: UnicodeError.

    For use in a thread: one call of `decode` would keep all other threads from running.
    """
    decoder = codecs.getincrementaldecoder(codec)()
    view = memoryview(data)
    pieces = [decoder.decode(view[at : at + _PIECE]) for at in range(0, len(data), _PIECE)]
    return "".join([*pieces, decoder.decode(b"", final=True)])
