"""A corpus of multipart forms that are refused, each with one fault.

The server of the corpus needs the default limits, and a `max_body` of more than 16 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

B = b"--b\r\n"
END = b"--b--\r\n"
FIELD = b'Content-Disposition: form-data; name="f"\r\n'
FILE = b'Content-Disposition: form-data; name="f"; filename="a.bin"\r\n'
# More than is kept in memory, so that a temporary file exists when the fault is parsed.
LARGE = B + FILE + b"\r\n" + bytes(3 << 19) + b"\r\n"


@dataclass(frozen=True)
class RefusedForm:
    """A body that is not a form, its Content-Type, and the status of the response."""

    id: str
    body: bytes
    content_type: str = "multipart/form-data; boundary=b"
    status: int = 400


def part(headers: bytes, content: bytes = b"x") -> bytes:
    return B + headers + b"\r\n" + content + b"\r\n"


GOOD = part(FIELD) + END

# The fault is in Content-Type.
CONTENT_TYPES = {
    "no-boundary": "",
    "empty-boundary": "; boundary=",
    "empty-quoted-boundary": '; boundary=""',
    "boundary-of-a-space": '; boundary=" "',
    "boundary-ending-in-a-space": '; boundary="b "',
    "boundary-of-71": f"; boundary={'b' * 71}",
    "boundary-of-20000": f"; boundary={'b' * 20_000}",
    "boundary-with-a-quote": '; boundary="b\\"c"',
    "boundary-with-a-tab": '; boundary="b\tc"',
    "boundary-with-brackets": "; boundary=<b>",
    "boundary-with-a-semicolon": '; boundary="b;c"',
    "boundary-not-ascii": "; boundary=\xe4",
    "boundary-unterminated": '; boundary="b',
    "boundary-twice": "; boundary=b; boundary=b",
    "boundary-twice-and-other": "; boundary=b; BOUNDARY=c",
    "boundary-extended": "; boundary*=utf-8''b",
    "boundary-continued": "; boundary*0=b",
    "boundary-and-garbage": "; boundary=b c",
    "two-types": "; boundary=b, multipart/form-data; boundary=c",
    "parameter-without-a-value": "; boundary=b; charset",
    "parameter-without-a-name": "; =x; boundary=b",
    "space-around-equals": "; boundary = b",
    "only-semicolons": ";;;",
    "another-boundary": "; boundary=c",
    "boundary-in-another-case": "; boundary=B",
    "longer-boundary": "; boundary=bb",
    "boundary-with-its-hyphens": "; boundary=--b",
}

# The whole body is malformed.
BODIES = {
    "empty": b"",
    "one-byte": b"-",
    "one-hyphen-less": b"-b--\r\n",
    "hyphens-alone": b"--",
    "nul": bytes(1000),
    "text": b"a=1&b=2",
    "json": b'{"a": 1}',
    "line-ends": b"\r\n" * 500,
    "preamble-of-a-line-feed": b"\n" + GOOD,
    "preamble-of-hyphens": b"-" + GOOD,
    "space-first": b" " + GOOD,
    "nul-first": b"\x00" + GOOD,
    "byte-order-mark": b"\xef\xbb\xbf" + GOOD,
    "boundary-alone": b"--b",
    "boundary-without-line-end": b"--b" + FIELD + b"\r\nx\r\n" + END,
    "boundary-and-line-feed": b"--b\n" + FIELD + b"\r\nx\r\n" + END,
    "boundary-and-cr": b"--b\r" + FIELD + b"\r\nx\r\n" + END,
    "preamble-without-a-boundary": b"preamble\r\n" * 10,
    "preamble-that-ends-in-the-boundary": b"preamble\r\n--b",
    "boundary-and-much-padding": b"--b" + b" " * 300 + b"\r\n" + FIELD + b"\r\nx\r\n" + END,
    "boundary-and-padding-and-more": b"--b x\r\n" + FIELD + b"\r\nx\r\n" + END,
    "end-and-more": b"--b--x\r\n",
    "end-and-much-padding": b"--b--" + b" " * 300,
    "boundary-and-more": b"--bb\r\n" + FIELD + b"\r\nx\r\n" + END,
    "boundary-and-one-hyphen": b"--b-\r\n",
    "line-feeds-alone": GOOD.replace(b"\r\n", b"\n"),
    "carriage-returns-alone": GOOD.replace(b"\r\n", b"\r"),
    "end-and-one-cr": b"--b--\r",
    "end-and-line-feed": b"--b--\n",
    "end-and-hyphens": b"--b---\r\n",
}

# The fault is after a valid first part.
TAILS = {
    "unterminated": b"",
    "unterminated-head": B + FIELD,
    "unterminated-line": B + FIELD[:20],
    "unterminated-content": B + FIELD + b"\r\nx",
    "unterminated-boundary": B + FIELD + b"\r\nx\r\n--",
    "end-without-hyphens": B,
    "end-with-one-hyphen": b"--b-",
    "end-of-another": part(FIELD) + b"--c--\r\n",
    "boundary-twice": B + part(FIELD) + END,
    "boundary-often": B * 100 + END,
    "no-headers": B + b"\r\nx\r\n" + END,
    "no-empty-line": B + FIELD + END,
    "no-disposition": part(b"Content-Type: text/plain\r\n") + END,
    "empty-disposition": part(b"Content-Disposition:\r\n") + END,
    "disposition-of-a-file": part(b'Content-Disposition: file; filename="a"\r\n') + END,
    "disposition-of-an-attachment": part(b'Content-Disposition: attachment; name="a"\r\n') + END,
    "disposition-form-database": part(b'Content-Disposition: form-database; name="a"\r\n') + END,
    "disposition-twice": part(FIELD + FIELD) + END,
    "disposition-twice-and-other": part(FIELD + FILE.replace(b'"f"', b'"g"')) + END,
    "disposition-in-another-case-twice": part(FIELD + FIELD.lower()) + END,
    "no-name": part(b"Content-Disposition: form-data\r\n") + END,
    "no-name-but-a-filename": part(b'Content-Disposition: form-data; filename="a"\r\n') + END,
    "name-extended": part(b"Content-Disposition: form-data; name*=utf-8''a\r\n") + END,
    "name-twice": part(FIELD[:-2] + b'; name="g"\r\n') + END,
    "name-twice-in-another-case": part(FIELD[:-2] + b'; NAME="g"\r\n') + END,
    "filename-twice": part(FILE[:-2] + b'; filename="b"\r\n') + END,
    "name-unterminated": part(b'Content-Disposition: form-data; name="f\r\n') + END,
    "name-and-garbage": part(FIELD[:-2] + b" garbage\r\n") + END,
    "name-and-garbage-parameter": part(FIELD[:-2] + b"; garbage\r\n") + END,
    "name-without-semicolon": part(b'Content-Disposition: form-data name="f"\r\n') + END,
    "name-with-nul": part(b'Content-Disposition: form-data; name="\x00"\r\n') + END,
    "name-with-escape": part(b'Content-Disposition: form-data; name="\x1b[2J"\r\n') + END,
    "name-with-delete": part(b'Content-Disposition: form-data; name="\x7f"\r\n') + END,
    "name-with-line-feed": part(b'Content-Disposition: form-data; name="a\nb"\r\n') + END,
    "name-with-cr": part(b'Content-Disposition: form-data; name="a\rb"\r\n') + END,
    "name-in-latin-1": part(b'Content-Disposition: form-data; name="\xe4"\r\n') + END,
    "name-with-a-surrogate": part(b'Content-Disposition: form-data; name="\xed\xa0\x80"\r\n') + END,
    "name-overlong-utf-8": part(b'Content-Disposition: form-data; name="\xc0\xaf"\r\n') + END,
    "filename-extended-in-latin-1": part(FIELD[:-2] + b"; filename*=iso-8859-1''%E4\r\n") + END,
    "filename-extended-without-charset": part(FIELD[:-2] + b"; filename*=a.txt\r\n") + END,
    "filename-extended-without-quote": part(FIELD[:-2] + b"; filename*=utf-8'a\r\n") + END,
    "filename-extended-broken": part(FIELD[:-2] + b"; filename*=utf-8''%FF\r\n") + END,
    "filename-extended-broken-escape": part(FIELD[:-2] + b"; filename*=utf-8''%2\r\n") + END,
    "filename-with-nul": part(FILE.replace(b"a.bin", b"a.bin\x00.txt")) + END,
    "header-without-colon": part(FIELD + b"garbage\r\n") + END,
    "header-without-name": part(FIELD + b": x\r\n") + END,
    "header-with-a-space": part(FIELD + b"X Y: x\r\n") + END,
    "header-with-nul": part(FIELD + b"X\x00: x\r\n") + END,
    "header-value-with-nul": part(FIELD + b"X: \x00\r\n") + END,
    "header-not-utf-8": part(FIELD + b"X: \xff\r\n") + END,
    "header-folded-first": part(b" a\r\n" + FIELD) + END,
    "header-line-feed": part(FIELD + b"X: a\nY: b\r\n") + END,
    "header-twice": part(FIELD + b"X: a\r\nx: b\r\n") + END,
    "length-too-small": part(FIELD + b"Content-Length: 0\r\n") + END,
    "length-too-large": part(FIELD + b"Content-Length: 2\r\n") + END,
    "length-negative": part(FIELD + b"Content-Length: -1\r\n") + END,
    "length-no-number": part(FIELD + b"Content-Length: 1_0\r\n", b"x" * 10) + END,
    "length-signed": part(FIELD + b"Content-Length: +1\r\n") + END,
    "length-huge": part(FIELD + b"Content-Length: " + b"9" * 3000 + b"\r\n") + END,
    "length-not-ascii": part(FIELD + b"Content-Length: \xd9\xa1\r\n") + END,
    "length-twice": part(FIELD + b"Content-Length: 1\r\nContent-Length: 1\r\n") + END,
    "base64": part(FIELD + b"Content-Transfer-Encoding: base64\r\n", b"eA==") + END,
    "quoted-printable": part(FIELD + b"Content-Transfer-Encoding: quoted-printable\r\n") + END,
    "base64-in-capitals": part(FILE + b"Content-Transfer-Encoding: BASE64\r\n", b"eA==") + END,
    "nested": part(FIELD + b"Content-Type: multipart/mixed; boundary=c\r\n", b"--c--") + END,
    "nested-form": part(FIELD + b"Content-Type: multipart/form-data; boundary=b\r\n") + END,
    "nested-in-capitals": part(FIELD + b"Content-Type: MULTIPART/MIXED\r\n") + END,
    "charset-twice": part(FIELD + b"Content-Type: text/plain; charset=utf-8; charset=utf-8\r\n")
    + END,
    "charset-field": part(FIELD.replace(b'"f"', b'"_charset_"'), b"utf-16") + END,
    "content-in-latin-1": part(FIELD, b"\xe4") + END,
    "content-cut-in-a-character": part(FIELD, "ä".encode()[:1]) + END,
    "content-overlong-utf-8": part(FIELD, b"\xc0\x80") + END,
    "content-of-a-surrogate": part(FIELD, b"\xed\xa0\x80") + END,
}

# The form is over a limit, after a valid first part.
TOO_LARGE_TAILS = {
    "header-of-a-megabyte": part(FIELD + b"X: " + b"x" * (1 << 20) + b"\r\n") + END,
    "header-of-a-megabyte-unterminated": B + FIELD + b"X: " + b"x" * (1 << 20),
    "header-name-of-a-megabyte": part(FIELD + b"x" * (1 << 20) + b": x\r\n") + END,
    "name-of-a-megabyte": part(FIELD.replace(b'"f"', b'"%b"' % (b"f" * (1 << 20)))) + END,
    "filename-of-a-megabyte": part(FILE.replace(b"a.bin", b"f" * (1 << 20))) + END,
    "line-of-spaces": part(FIELD + b"X:" + b" " * (1 << 20) + b"\r\n") + END,
    "line-of-colons": part(FIELD + b":" * (1 << 20) + b"\r\n") + END,
    "nine-headers": part(FIELD + b"".join(b"X-%d: x\r\n" % n for n in range(8))) + END,
    "ten-thousand-headers": part(FIELD + b"".join(b"X%d: x\r\n" % n for n in range(10_000))) + END,
    "one-part-too-many": part(FIELD) * 1000 + END,
    "ten-thousand-parts": part(FIELD, b"") * 10_000 + END,
    "ten-thousand-files": part(FILE, b"") * 10_000 + END,
    "ten-thousand-parts-that-are-not-chosen": part(FILE.replace(b"a.bin", b""), b"") * 10_000 + END,
    "field-of-two-megabytes": part(FIELD, b"x" * (2 << 20)) + END,
    "fields-of-two-megabytes": part(FIELD, b"x" * (1 << 16)) * 32 + END,
    "field-of-line-ends": part(FIELD, b"\r\n" * (1 << 20)) + END,
    "field-of-half-boundaries": part(FIELD, b"\r\n--" * (1 << 19)) + END,
    "names-of-two-megabytes": part(FIELD.replace(b'"f"', b'"%b"' % (b"f" * 3000))) * 700 + END,
    "filenames-of-two-megabytes": part(FILE.replace(b"a.bin", b"f" * 3000), b"") * 700 + END,
}

REFUSED_FORMS = [
    *(
        RefusedForm(f"content-type-{id}", GOOD, f"multipart/form-data{parameters}")
        for id, parameters in CONTENT_TYPES.items()
    ),
    RefusedForm("content-type-comma", GOOD, "multipart/form-data, boundary=b", 415),
    RefusedForm("content-type-mixed", GOOD, "multipart/mixed; boundary=b", 415),
    *(RefusedForm(f"body-{id}", body) for id, body in BODIES.items()),
    *(RefusedForm(f"part-{id}", LARGE + tail) for id, tail in TAILS.items()),
    *(RefusedForm(f"limit-{id}", LARGE + tail, status=413) for id, tail in TOO_LARGE_TAILS.items()),
]
