"""A corpus of requests that must be refused, and of unusual requests that must be accepted.

Each refused request has one fault, so the refusal is the same for the bytes cut at every place. The
server of the corpus needs `/`, and `/echo`, which answers POST with the body. It has the default
limits, also for `max_body`.
"""

from __future__ import annotations

from dataclasses import dataclass

from microweb.errors import (
    ContentTooLarge,
    HeadTooLarge,
    MalformedRequest,
    TargetTooLong,
    TLSUnexpected,
    UnknownCoding,
    UnknownMethod,
    UnsupportedVersion,
)

HOST = b"Host: localhost\r\n"

Refusal = (
    type[MalformedRequest]
    | type[TargetTooLong]
    | type[TLSUnexpected]
    | type[HeadTooLarge]
    | type[UnknownCoding]
    | type[UnknownMethod]
    | type[UnsupportedVersion]
    | type[ContentTooLarge]
)


@dataclass(frozen=True)
class Refused:
    """Bytes of a malformed request, the status of its refusal, and the reason."""

    id: str
    raw: bytes
    refusal: Refusal
    reason: str

    @property
    def status(self) -> int:
        return self.refusal._status


@dataclass(frozen=True)
class Accepted:
    """Unusual bytes of a valid request, and the values that are parsed from them."""

    id: str
    raw: bytes
    method: str = "GET"
    path: str = "/"
    query_string: str = ""
    body: bytes = b""


def line(first: bytes, fields: bytes = HOST) -> bytes:
    return first + b"\r\n" + fields + b"\r\n"


def fields(extra: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + extra + b"\r\n"


def host(*values: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET / HTTP/%b\r\n%b\r\n" % (version, b"".join(b"Host: %b\r\n" % v for v in values))


def post(extra: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\n" + HOST + extra + b"\r\n" + body


def length(value: bytes) -> bytes:
    return post(b"Content-Length: %b\r\n" % value, b"hello")


def coding(value: bytes) -> bytes:
    return post(b"Transfer-Encoding: %b\r\n" % value, b"5\r\nhello\r\n0\r\n\r\n")


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


def _refused(refusal: Refusal, reason: str, **raws: bytes) -> list[Refused]:
    return [Refused(name.replace("_", "-"), raw, refusal, reason) for name, raw in raws.items()]


REFUSED: list[Refused] = [
    # --- the request line: RFC 9112 sections 2.2, 2.3 and 3
    *_refused(
        MalformedRequest,
        "expected method SP target SP HTTP-version in ASCII",
        line_without_version=line(b"GET /"),
        line_without_version_but_space=line(b"GET / "),
        line_of_method_alone=line(b"GET"),
        line_with_two_spaces=line(b"GET  / HTTP/1.1"),
        line_with_two_spaces_before_version=line(b"GET /  HTTP/1.1"),
        line_with_tab=line(b"GET\t/ HTTP/1.1"),
        line_with_tab_before_version=line(b"GET /\tHTTP/1.1"),
        line_with_leading_space=line(b" GET / HTTP/1.1"),
        line_with_leading_tab=line(b"\tGET / HTTP/1.1"),
        line_with_trailing_space=line(b"GET / HTTP/1.1 "),
        line_with_trailing_tab=line(b"GET / HTTP/1.1\t"),
        line_with_trailing_word=line(b"GET / HTTP/1.1 x"),
        line_with_form_feed=line(b"GET\x0c/\x0cHTTP/1.1"),
        line_with_byte_order_mark=line(b"\xef\xbb\xbfGET / HTTP/1.1"),
        line_that_is_a_status_line=line(b"HTTP/1.1 200 OK"),
        line_that_is_a_field=line(b"Host: localhost"),
        version_in_lower_case=line(b"GET / http/1.1"),
        version_of_other_name=line(b"GET / HTTQ/1.1"),
        version_without_name=line(b"GET / 1.1"),
        version_without_minor=line(b"GET / HTTP/1"),
        version_without_dot=line(b"GET / HTTP/11"),
        version_with_comma=line(b"GET / HTTP/1,1"),
        version_with_two_digits=line(b"GET / HTTP/1.10"),
        version_with_leading_zero=line(b"GET / HTTP/01.1"),
        version_with_sign=line(b"GET / HTTP/+1.1"),
        version_with_inner_space=line(b"GET / HTTP/ 1.1"),
        version_with_arabic_digit=line("GET / HTTP/1.\N{ARABIC-INDIC DIGIT ONE}".encode()),
        method_with_parenthesis=line(b"GE(T / HTTP/1.1"),
        method_with_quotes=line(b'"GET" / HTTP/1.1'),
        method_with_colon=line(b"GET: / HTTP/1.1"),
        method_with_nul=line(b"GET\x00 / HTTP/1.1"),
        method_with_obs_text=line(b"G\xc9T / HTTP/1.1"),
        method_with_slash=line(b"GET/1 / HTTP/1.1"),
        method_missing=line(b" / HTTP/1.1"),
        target_with_space=line(b"GET /a b HTTP/1.1"),
        target_with_nul=line(b"GET /\x00 HTTP/1.1"),
        target_with_bell=line(b"GET /\x07a HTTP/1.1"),
        target_with_delete=line(b"GET /\x7f HTTP/1.1"),
        target_with_escape=line(b"GET /\x1b[31m HTTP/1.1"),
        target_with_utf8=line("GET /\N{LATIN SMALL LETTER E WITH ACUTE} HTTP/1.1".encode()),
        target_with_latin1=line(b"GET /\xe9 HTTP/1.1"),
        target_with_fragment=line(b"GET /#top HTTP/1.1"),
        target_that_is_a_fragment=line(b"GET #top HTTP/1.1"),
        socks_hello=b"\x05\x01\x00",
        ssh_hello=b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        proxy_line=line(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443"),
        json=b'{"method": "GET"}\r\n\r\n',
        junk=b"junk\r\n\r\n",
    ),
    *_refused(
        TLSUnexpected,
        "TLS on a port that speaks HTTP",
        tls_hello=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x99" * 200,
    ),
    *_refused(
        MalformedRequest,
        "a bare CR or LF in the request line",
        line_with_lf_end=b"GET / HTTP/1.1\n" + HOST + b"\r\n",
        line_with_lf_in_place_of_space=line(b"GET /\nHTTP/1.1"),
        line_with_lf_after_method=line(b"GET\n/ HTTP/1.1"),
        line_with_cr_in_place_of_space=line(b"GET\r/ HTTP/1.1"),
        line_with_cr_in_target=line(b"GET /a\rb HTTP/1.1"),
        line_with_two_crs=line(b"GET / HTTP/1.1\r"),
        line_with_cr_end=b"GET / HTTP/1.1\rHost: localhost\r\n\r\n",
        two_lfs=b"\n\n",
        line_behind_lf=b"\n" + line(b"GET / HTTP/1.1"),
        line_behind_cr=b"\r" + line(b"GET / HTTP/1.1"),
        line_behind_lf_cr=b"\n\r" + line(b"GET / HTTP/1.1"),
        lf_everywhere=b"GET / HTTP/1.1\nHost: localhost\n\n",
    ),
    *_refused(
        MalformedRequest,
        "more empty lines before a request than the limit",
        nine_empty_lines=b"\r\n" * 9 + line(b"GET / HTTP/1.1"),
        empty_lines_without_end=b"\r\n" * 5000,
    ),
    *_refused(
        UnsupportedVersion,
        "a major version other than HTTP/1",
        version_2_0=line(b"GET / HTTP/2.0"),
        version_3_0=line(b"GET / HTTP/3.0"),
        version_0_9=line(b"GET / HTTP/0.9"),
        version_9_9=line(b"GET / HTTP/9.9"),
        http2_preface=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    *_refused(
        UnknownMethod,
        "CONNECT, which is for proxies",
        method_connect=line(b"CONNECT localhost:443 HTTP/1.1"),
        method_connect_with_path=line(b"CONNECT / HTTP/1.1"),
    ),
    *_refused(
        TargetTooLong,
        "a request line over the limit",
        target_long=line(b"GET /" + b"a" * 17_000 + b" HTTP/1.1"),
        target_without_end=b"GET /" + b"a" * 100_000,
        query_long=line(b"GET /?" + b"a" * 200_000 + b" HTTP/1.1"),
        method_without_end=b"A" * 20_000,
    ),
    # --- the target's forms: RFC 9112 section 3.2
    *_refused(
        MalformedRequest,
        "a target in none of the forms that HTTP allows",
        target_without_slash=line(b"GET index HTTP/1.1"),
        target_relative=line(b"GET ../etc/passwd HTTP/1.1"),
        target_of_query_alone=line(b"GET ?q=1 HTTP/1.1"),
        target_authority_in_get=line(b"GET localhost:80 HTTP/1.1"),
        target_asterisk_in_get=line(b"GET * HTTP/1.1"),
        target_asterisk_and_more=line(b"OPTIONS *x HTTP/1.1"),
        target_asterisk_with_query=line(b"OPTIONS *?q HTTP/1.1"),
        target_backslash=line(b"GET \\ HTTP/1.1"),
        target_percent=line(b"GET %2F HTTP/1.1"),
        target_of_other_scheme=line(b"GET ftp://localhost/ HTTP/1.1"),
        target_of_file_scheme=line(b"GET file:///etc/passwd HTTP/1.1"),
        target_of_script_scheme=line(b"GET javascript:alert(1) HTTP/1.1"),
        target_with_one_slash=line(b"GET http:/localhost/ HTTP/1.1"),
        target_without_slashes=line(b"GET http:localhost HTTP/1.1"),
        target_with_backslashes=line(b"GET http:\\\\localhost/ HTTP/1.1"),
    ),
    *_refused(
        MalformedRequest,
        "an authority that is not a host",
        authority_empty=line(b"GET http:/// HTTP/1.1"),
        authority_missing=line(b"GET http:// HTTP/1.1"),
        authority_of_port_alone=line(b"GET http://:80/ HTTP/1.1"),
        authority_with_userinfo=line(b"GET http://user:pass@localhost/ HTTP/1.1"),
        authority_with_at=line(b"GET http://@localhost/ HTTP/1.1"),
        authority_with_backslash=line(b"GET http://evil.example\\@localhost/ HTTP/1.1"),
        authority_with_comma=line(b"GET http://a,b/ HTTP/1.1"),
        authority_with_bad_port=line(b"GET http://localhost:x/ HTTP/1.1"),
        authority_with_two_ports=line(b"GET http://localhost:80:80/ HTTP/1.1"),
        authority_with_open_bracket=line(b"GET http://[::1/ HTTP/1.1"),
        authority_with_bad_escape=line(b"GET http://a%zz/ HTTP/1.1"),
        authority_long=line(b"GET http://" + b"a" * 300 + b"/ HTTP/1.1"),
    ),
    # --- field lines: RFC 9112 sections 2.2 and 5
    *_refused(
        MalformedRequest,
        "whitespace before a field name, or a folded line",
        field_folded=fields(b"X-Test: a\r\n b\r\n"),
        field_folded_by_tab=fields(b"X-Test: a\r\n\tb\r\n"),
        field_folded_empty=fields(b"X-Test: a\r\n \r\n"),
        field_folded_first=line(b"GET / HTTP/1.1", b" " + HOST),
        field_folded_first_by_tab=line(b"GET / HTTP/1.1", b"\tX: y\r\n" + HOST),
        field_indented=fields(b" X-Test: a\r\n"),
        field_of_spaces=fields(b"   \r\n"),
        field_content_length_indented=post(b"\tContent-Length: 5\r\n", b"hello"),
        field_coding_folded=post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "a field line without a colon",
        field_without_colon=fields(b"JustText\r\n"),
        field_without_colon_first=line(b"GET / HTTP/1.1", b"Host localhost\r\n"),
        field_request_line_again=fields(b"GET / HTTP/1.1\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "a field name that is not a token",
        name_empty=fields(b": v\r\n"),
        name_with_space_behind=fields(b"X-Test : v\r\n"),
        name_with_tab_behind=fields(b"X-Test\t: v\r\n"),
        name_with_space=fields(b"X Test: v\r\n"),
        name_with_comma=fields(b"X,Test: v\r\n"),
        name_with_slash=fields(b"X/Test: v\r\n"),
        name_with_quotes=fields(b'"X-Test": v\r\n'),
        name_with_parenthesis=fields(b"X(Test: v\r\n"),
        name_with_brackets=fields(b"X[0]: v\r\n"),
        name_with_at=fields(b"x@y: v\r\n"),
        name_with_equals=fields(b"X=Y: v\r\n"),
        name_with_semicolon=fields(b"X;Y: v\r\n"),
        name_with_nul=fields(b"X-\x00: v\r\n"),
        name_with_vertical_tab=fields(b"X-\x0b: v\r\n"),
        name_with_delete=fields(b"X-\x7f: v\r\n"),
        name_with_obs_text=fields(b"X-\xe9: v\r\n"),
        name_with_utf8=fields("X-\N{LATIN SMALL LETTER E WITH ACUTE}: v\r\n".encode()),
        name_with_no_break_space=fields(b"\xa0X-Test: v\r\n"),
        name_content_length_with_space=post(b"Content-Length : 5\r\n", b"hello"),
        name_coding_with_tab=post(b"Transfer-Encoding\t: chunked\r\n", b"0\r\n\r\n"),
        name_host_with_space=line(b"GET / HTTP/1.1", b"Host : localhost\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "a control byte in a field value",
        value_with_nul=fields(b"X-Test: a\x00b\r\n"),
        value_with_bell=fields(b"X-Test: \x07\r\n"),
        value_with_vertical_tab=fields(b"X-Test: a\x0bb\r\n"),
        value_with_form_feed=fields(b"X-Test: a\x0cb\r\n"),
        value_with_backspace=fields(b"X-Test: a\x08\r\n"),
        value_with_escape=fields(b"X-Test: \x1b[31m\r\n"),
        value_with_delete=fields(b"X-Test: \x7f\r\n"),
        value_with_nul_behind_colon=fields(b"X-Test:\x00\r\n"),
        value_coding_with_nul=coding(b"chunked\x00"),
        value_coding_with_vertical_tab=coding(b"\x0bchunked"),
        value_length_with_form_feed=length(b"\x0c5"),
        value_host_with_nul=host(b"local\x00host"),
    ),
    *_refused(
        MalformedRequest,
        "a bare CR or LF in the header section",
        value_with_lf=fields(b"X-Test: a\nX-Other: b\r\n"),
        value_with_cr=fields(b"X-Test: a\rb\r\n"),
        value_with_cr_before_end=fields(b"X-Test: a\r\r\n"),
        value_with_lf_before_end=fields(b"X-Test: a\n\r\n"),
        value_with_lf_cr=fields(b"X-Test: a\n\rb\r\n"),
        value_that_smuggles_a_coding=post(b"X-Test: a\rTransfer-Encoding: chunked\r\n"),
        value_that_smuggles_a_length=post(b"X-Test: a\nContent-Length: 5\r\n", b"hello"),
        name_with_lf=fields(b"X-\nTest: a\r\n"),
        name_with_cr=fields(b"X-\rTest: a\r\n"),
        name_behind_cr=fields(b"\rX-Test: 1\r\n"),
        name_behind_lf=fields(b"\nX-Test: 1\r\n"),
        section_ended_by_lf=b"GET / HTTP/1.1\r\n" + HOST + b"\n",
        section_ended_by_lf_lf=b"GET / HTTP/1.1\r\nHost: localhost\n\n",
        section_ended_by_cr_cr_lf=b"GET / HTTP/1.1\r\n" + HOST + b"\r\r\n",
    ),
    *_refused(
        HeadTooLarge,
        "more header fields than the limit",
        fields_101=fields(b"".join(b"X-%d: v\r\n" % i for i in range(100))),
        fields_1000_of_one_name=fields(b"X: v\r\n" * 1000),
    ),
    *_refused(
        HeadTooLarge,
        "a header section over the limit",
        section_long=fields(b"X-Pad: " + b"a" * 40_000 + b"\r\n"),
        section_of_spaces=fields(b"X-Pad: " + b" " * 40_000 + b"\r\n"),
        section_without_end=b"GET / HTTP/1.1\r\n" + HOST + b"X-Pad: aaaaaaaaaaaaaaaa\r\n" * 4000,
        section_of_one_name_without_end=b"GET / HTTP/1.1\r\n" + HOST + b"X" * 40_000,
    ),
    # --- Host: RFC 9112 section 3.2, RFC 3986 section 3.2.2
    *_refused(
        MalformedRequest,
        "no Host field in HTTP/1.1",
        host_missing=host(),
        host_missing_in_1_2=host(version=b"1.2"),
        host_missing_in_absolute_form=line(b"GET http://localhost/ HTTP/1.1", b""),
    ),
    *_refused(
        MalformedRequest,
        "more than one Host field, or one that is not a host",
        host_twice=host(b"a", b"b"),
        host_twice_alike=host(b"a", b"a"),
        host_twice_one_empty=host(b"a", b""),
        host_twice_both_empty=host(b"", b""),
        host_twice_in_other_case=line(b"GET / HTTP/1.1", b"Host: a\r\nhOST: b\r\n"),
        host_twice_in_1_0=host(b"a", b"b", version=b"1.0"),
        host_twice_in_absolute_form=line(b"GET http://a/ HTTP/1.1", b"Host: a\r\nHost: a\r\n"),
        host_bad_in_absolute_form=line(b"GET http://localhost/ HTTP/1.1", b"Host: a b\r\n"),
        host_bad_in_1_0=host(b"a/b", version=b"1.0"),
        host_with_slash=host(b"a/b"),
        host_with_backslash=host(b"a\\b"),
        host_with_userinfo=host(b"user@a"),
        host_with_question_mark=host(b"a?b"),
        host_with_fragment=host(b"a#b"),
        host_with_scheme=host(b"http://a"),
        host_with_space=host(b"a b"),
        host_with_tab=host(b"a\tb"),
        host_of_list=host(b"a, b"),
        host_with_comma=host(b"a,b"),
        host_with_quote=host(b'a"b'),
        host_with_angle=host(b"<a>"),
        host_with_obs_text=host(b"\xe9"),
        host_with_bad_escape=host(b"a%4"),
        host_of_port_alone=host(b":80"),
        host_with_word_port=host(b"a:b"),
        host_with_negative_port=host(b"a:-1"),
        host_with_two_ports=host(b"a:80:80"),
        host_with_six_digit_port=host(b"a:123456"),
        host_with_open_bracket=host(b"[::1"),
        host_with_closed_bracket=host(b"::1]"),
        host_ipv6_without_brackets=host(b"::1"),
        host_with_empty_brackets=host(b"[]"),
        host_with_name_in_brackets=host(b"[localhost]"),
        host_with_bad_ipv6=host(b"[1:2:3]"),
        host_with_long_ipv6=host(b"[1:2:3:4:5:6:7:8:9]"),
        host_with_zone=host(b"[fe80::1%25eth0]"),
        host_with_word_behind_brackets=host(b"[::1]x"),
        host_long=host(b"a" * 300),
    ),
    # --- Content-Length: RFC 9110 section 8.6, RFC 9112 section 6.3
    *_refused(
        MalformedRequest,
        "expected 1*DIGIT once in Content-Length",
        length_with_plus=length(b"+5"),
        length_with_minus=length(b"-5"),
        length_negative_zero=length(b"-0"),
        length_hex=length(b"0x5"),
        length_with_underscore=length(b"0_5"),
        length_with_space=length(b"5 0"),
        length_with_tab=length(b"5\t0"),
        length_decimal=length(b"5.0"),
        length_with_exponent=length(b"5e0"),
        length_empty=length(b""),
        length_of_spaces=length(b"  "),
        length_of_letters=length(b"five"),
        length_with_parameter=length(b"5;"),
        length_quoted=length(b'"5"'),
        length_with_arabic_digit=length("\N{ARABIC-INDIC DIGIT FIVE}".encode()),
        length_with_superscript=length(b"\xb2"),
        length_with_no_break_space=length(b"\xa05"),
        length_of_list=length(b"5, 5"),
        length_of_differing_list=length(b"5, 6"),
        length_of_list_without_space=length(b"5,5"),
        length_of_list_with_empty_member=length(b"5,"),
        length_twice=post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
        length_twice_differing=post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
        length_twice_in_other_case=post(b"content-length: 5\r\nContent-LENGTH: 0\r\n", b"hello"),
        length_twice_one_empty=post(b"Content-Length: 5\r\nContent-Length:\r\n", b"hello"),
        length_bad_in_get=fields(b"Content-Length: x\r\n"),
        length_bad_in_1_0=line(b"POST /echo HTTP/1.0", HOST + b"Content-Length: x\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "a Content-Length larger than any body",
        length_of_2_to_the_64=length(b"18446744073709551621"),
        length_of_40_digits=length(b"9" * 40),
        length_of_5000_digits=length(b"9" * 5000),
        length_of_many_zeros=length(b"0" * 5000 + b"5"),
    ),
    # --- Transfer-Encoding: RFC 9112 sections 6.1 and 7
    *_refused(
        MalformedRequest,
        "both Transfer-Encoding and Content-Length",
        coding_and_length=post(
            b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n"
        ),
        length_and_coding=post(
            b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"
        ),
        length_zero_and_coding=post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        length_bad_and_coding=post(b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n"),
        length_and_unknown_coding=post(b"Content-Length: 3\r\nTransfer-Encoding: x\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "Transfer-Encoding in HTTP/1.0",
        coding_in_1_0=line(b"POST /echo HTTP/1.0", HOST + b"Transfer-Encoding: chunked\r\n"),
        coding_unknown_in_1_0=line(b"POST /echo HTTP/1.0", HOST + b"Transfer-Encoding: x\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "a Transfer-Encoding that is not a list of codings",
        coding_empty=coding(b""),
        coding_of_comma=coding(b","),
        coding_with_leading_comma=coding(b",chunked"),
        coding_with_trailing_comma=coding(b"chunked,"),
        coding_quoted=coding(b'"chunked"'),
        coding_single_quoted_with_space=coding(b"'chunked '"),
        coding_with_space=coding(b"chun ked"),
        coding_with_parameter=coding(b"chunked;q=1"),
        coding_with_semicolon=coding(b"chunked;"),
        coding_with_obs_text=coding(b"chunked\xff"),
        coding_with_no_break_space=coding(b"\xa0chunked"),
        coding_with_colon=coding(b": chunked"),
    ),
    *_refused(
        MalformedRequest,
        "chunked applied more than once",
        coding_twice=coding(b"chunked, chunked"),
        coding_in_two_fields=post(b"Transfer-Encoding: chunked\r\n" * 2, b"0\r\n\r\n"),
    ),
    *_refused(
        UnknownCoding,
        "a transfer coding other than chunked",
        coding_gzip=coding(b"gzip"),
        coding_identity=coding(b"identity"),
        coding_xchunked=coding(b"xchunked"),
        coding_chunked_dash=coding(b"chunked-"),
        coding_gzip_before_chunked=coding(b"gzip, chunked"),
        coding_gzip_behind_chunked=coding(b"chunked, gzip"),
        coding_identity_in_other_field=post(
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"
        ),
    ),
    # --- chunks: RFC 9112 section 7.1
    *_refused(
        MalformedRequest,
        "chunk size is not 1*HEXDIG",
        chunk_size_empty=chunked(b"\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_space_before=chunked(b" 5\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_space_behind=chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_tab=chunked(b"5\t\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_plus=chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_minus=chunked(b"-5\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_prefix=chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_underscore=chunked(b"0_5\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_letter=chunked(b"5g\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_dot=chunked(b"5.\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_nul=chunked(b"5\x00\r\nhello\r\n0\r\n\r\n"),
        chunk_size_with_fullwidth_digit=chunked(
            "\N{FULLWIDTH DIGIT FIVE}\r\nhello\r\n0\r\n\r\n".encode()
        ),
        chunk_size_of_second_chunk=chunked(b"5\r\nhello\r\nx\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "bare LF in a chunk line",
        chunk_line_with_lf=chunked(b"5\nhello\r\n0\r\n\r\n"),
        chunk_extension_with_lf=chunked(b"5;a\nhello\r\n0\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "bare CR in a chunk line",
        chunk_line_with_cr=chunked(b"5\rhello\r\n0\r\n\r\n"),
        chunk_line_with_two_crs=chunked(b"5\r\r\nhello\r\n0\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "invalid chunk extension",
        chunk_extension_empty=chunked(b"5;\r\nhello\r\n0\r\n\r\n"),
        chunk_extension_without_name=chunked(b"5;=a\r\nhello\r\n0\r\n\r\n"),
        chunk_extension_with_space=chunked(b"5; a\r\nhello\r\n0\r\n\r\n"),
        chunk_extension_with_open_quote=chunked(b'5;a="b\r\nhello\r\n0\r\n\r\n'),
        chunk_extension_with_nul=chunked(b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "chunk-data is longer than its chunk size",
        chunk_data_too_long=chunked(b"5\r\nhello!\r\n0\r\n\r\n"),
        chunk_data_without_end=chunked(b"5\r\nhello0\r\n\r\n"),
        chunk_data_ended_by_lf=chunked(b"5\r\nhello\n0\r\n\r\n"),
        chunk_data_ended_by_cr=chunked(b"5\r\nhello\r0\r\n\r\n"),
        chunk_data_ended_by_junk=chunked(b"5\r\nhelloXX0\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "chunk extensions too long",
        chunk_extension_long=chunked(b"5;" + b"a" * 200 + b"\r\nhello\r\n0\r\n\r\n"),
        chunk_extensions_many=chunked(
            b"".join(b"1;" + b"a" * 120 + b"\r\nx\r\n" for _ in range(600))
        ),
    ),
    *_refused(
        ContentTooLarge,
        "",
        chunk_of_2_to_the_64=chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunk_of_a_tebibyte=chunked(b"10000000000\r\nhello"),
    ),
    *_refused(
        MalformedRequest,
        "invalid trailer field name",
        trailer_without_colon=chunked(b"0\r\nno colon here\r\n\r\n"),
        trailer_with_space_before_colon=chunked(b"0\r\nX-Sum : 1\r\n\r\n"),
        trailer_without_name=chunked(b"0\r\n: 1\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "invalid trailer field value",
        trailer_with_nul=chunked(b"0\r\nX-Sum: \x00\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "obs-fold or whitespace before a trailer field",
        trailer_folded=chunked(b"0\r\nX-Sum: 1\r\n 2\r\n\r\n"),
        trailer_indented=chunked(b"0\r\n X-Sum: 1\r\n\r\n"),
    ),
    *_refused(
        MalformedRequest,
        "bare LF in a trailer line",
        trailer_ended_by_lf=chunked(b"0\r\nX-Sum: 1\n\r\n"),
        trailers_ended_by_lf=chunked(b"0\r\nX-Sum: 1\r\n\n"),
        last_chunk_ended_by_lf=chunked(b"0\r\n\n"),
    ),
    *_refused(
        HeadTooLarge,
        "trailer section too large",
        trailer_long=chunked(b"0\r\nX-Pad: " + b"a" * 9000 + b"\r\n\r\n"),
    ),
    *_refused(
        HeadTooLarge,
        "too many trailer fields",
        trailers_101=chunked(b"0\r\n" + b"X: 1\r\n" * 101 + b"\r\n"),
    ),
]

ACCEPTED: list[Accepted] = [
    Accepted("eight-empty-lines-before", b"\r\n" * 8 + fields(b"")),
    Accepted("version-1-2", line(b"GET / HTTP/1.2")),
    Accepted("version-1-9", line(b"GET / HTTP/1.9")),
    Accepted("version-1-0-without-host", line(b"GET / HTTP/1.0", b"")),
    Accepted("host-empty", host(b"")),
    Accepted("host-with-port", host(b"a:65535")),
    Accepted("host-with-empty-port", host(b"a:")),
    Accepted("host-ipv4", host(b"127.0.0.1:8000")),
    Accepted("host-ipv6", host(b"[::1]:8000")),
    Accepted("host-ipv6-with-ipv4", host(b"[::ffff:192.0.2.1]")),
    Accepted("host-with-escape", host(b"a%41")),
    Accepted("host-with-underscore", host(b"a_b")),
    Accepted("host-with-sub-delims", host(b"a!$&'()*+;=b")),
    Accepted("host-of-255", host(b"a" * 255)),
    Accepted("host-behind-other-fields", line(b"GET / HTTP/1.1", b"X: y\r\n" + HOST)),
    Accepted("host-in-capitals", line(b"GET / HTTP/1.1", b"HOST: A.EXAMPLE\r\n")),
    Accepted("path-of-slashes", line(b"GET //evil.example/ HTTP/1.1"), path="//evil.example/"),
    Accepted("path-with-dots", line(b"GET /../a/./b HTTP/1.1"), path="/../a/./b"),
    Accepted("path-with-bad-escape", line(b"GET /%zz HTTP/1.1"), path="/%zz"),
    Accepted("path-with-colon", line(b"GET /http://a/ HTTP/1.1"), path="/http://a/"),
    Accepted(
        "path-with-pchars", line(b"GET /-._~!$&'()*+,;=:@ HTTP/1.1"), path="/-._~!$&'()*+,;=:@"
    ),
    Accepted("path-with-star", line(b"GET /* HTTP/1.1"), path="/*"),
    Accepted("query-empty", line(b"GET /? HTTP/1.1")),
    Accepted("query-with-question-mark", line(b"GET /?a?b HTTP/1.1"), query_string="a?b"),
    Accepted("query-with-slash", line(b"GET /?a=/b HTTP/1.1"), query_string="a=/b"),
    Accepted("query-with-pipe", line(b"GET /?a|b HTTP/1.1"), query_string="a|b"),
    Accepted(
        "absolute-form", line(b"GET http://localhost/a?b HTTP/1.1"), path="/a", query_string="b"
    ),
    Accepted("absolute-form-in-capitals", line(b"GET HTTP://LOCALHOST/ HTTP/1.1")),
    Accepted("absolute-form-of-https", line(b"GET https://localhost/ HTTP/1.1")),
    Accepted("absolute-form-without-path", line(b"GET http://localhost HTTP/1.1")),
    Accepted("absolute-form-of-query", line(b"GET http://a?b HTTP/1.1"), query_string="b"),
    Accepted("absolute-form-ipv6", line(b"GET http://[::1]:80/ HTTP/1.1")),
    Accepted("absolute-form-beside-other-host", line(b"GET http://a/ HTTP/1.1", b"Host: b\r\n")),
    Accepted("absolute-form-beside-empty-host", line(b"GET http://a/ HTTP/1.1", b"Host:\r\n")),
    Accepted("options-asterisk", line(b"OPTIONS * HTTP/1.1"), "OPTIONS", "*"),
    Accepted("options-absolute", line(b"OPTIONS http://a HTTP/1.1"), "OPTIONS", "*"),
    Accepted("options-absolute-root", line(b"OPTIONS http://a/ HTTP/1.1"), "OPTIONS", "/"),
    Accepted("options-absolute-query", line(b"OPTIONS http://a? HTTP/1.1"), "OPTIONS", "/"),
    Accepted("query-method", line(b"QUERY / HTTP/1.1"), "QUERY"),
    Accepted("trace", line(b"TRACE / HTTP/1.1"), "TRACE"),
    Accepted("value-empty", fields(b"X-Empty:\r\nX-Blank: \t \r\n")),
    Accepted("value-of-obs-text", fields(b"X-Name: caf\xe9\r\n")),
    Accepted("value-of-colons", fields(b"X-Test: a:b: c\r\n")),
    Accepted("value-without-space", fields(b"X-Test:a\r\n")),
    Accepted("value-with-tab", fields(b"X-Test:\ta\tb\t\r\n")),
    Accepted("name-of-one-letter", fields(b"X: y\r\n")),
    Accepted("name-of-tchars", fields(b"!#$%&'*+-.^_`|~09AZaz: y\r\n")),
    Accepted(
        "name-with-underscore", fields(b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n")
    ),
    Accepted("fields-100", fields(b"".join(b"X-%d: v\r\n" % i for i in range(99)))),
    Accepted("cookie-4k", fields(b"Cookie: a=" + b"x" * 4096 + b"\r\n")),
    Accepted("expectation-unknown", fields(b"Expect: the-unexpected\r\n")),
    Accepted("upgrade-h2c", fields(b"Connection: Upgrade\r\nUpgrade: h2c\r\n")),
    Accepted("length-zero", post(b"Content-Length: 0\r\n"), "POST", "/echo"),
    Accepted("length-with-zeros", length(b"0005"), "POST", "/echo", body=b"hello"),
    Accepted("length-with-spaces", length(b"\t 5 \t"), "POST", "/echo", body=b"hello"),
    Accepted("length-missing", post(b""), "POST", "/echo"),
    Accepted("length-in-get", fields(b"Content-Length: 5\r\n") + b"hello", body=b"hello"),
    Accepted("coding", coding(b"chunked"), "POST", "/echo", body=b"hello"),
    Accepted("coding-in-capitals", coding(b"\tCHUNKED "), "POST", "/echo", body=b"hello"),
    Accepted(
        "chunk-with-zeros", chunked(b"005\r\nhello\r\n000\r\n\r\n"), "POST", "/echo", body=b"hello"
    ),
    Accepted(
        "chunk-extensions",
        chunked(b'5;a=b;c;d="e;\\"f"\r\nhello\r\n0;x\r\n\r\n'),
        "POST",
        "/echo",
        body=b"hello",
    ),
    Accepted(
        "chunk-trailers",
        chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: other\r\n\r\n"),
        "POST",
        "/echo",
        body=b"hello",
    ),
]
