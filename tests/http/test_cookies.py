from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.http.cookies import (
    SetCookie,
    cookie_values,
    parse_cookies,
    set_cookie_lines,
    with_cookie,
)


def encode(name: str, value: str = "", **options: Any) -> str:
    return SetCookie(name, value, **options).encode(secure_by_default=False)


# --- Cookie -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("SID=31d4d96e407aad42; lang=en-US", {"SID": "31d4d96e407aad42", "lang": "en-US"}),
        ("a=1;b=2;\tc=3", {"a": "1", "b": "2", "c": "3"}),
        ("a = 1 ;b\t=\t2", {"a": "1", "b": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
        (";;a=1;", {"a": "1"}),
        ("a=%20+é", {"a": "%20+é"}),
        ("A=1; a=2", {"A": "1", "a": "2"}),
    ],
)
def test_cookies_are_split_on_semicolons(header: str, cookies: dict[str, str]) -> None:
    assert parse_cookies(header) == cookies


def test_the_first_of_a_name_wins() -> None:
    assert parse_cookies("a=1; a=2; a=") == {"a": "1"}


def test_values_of_one_name_are_found_in_order() -> None:
    header = 'a=1; ab=2; b=a=3;\ta = "4" ;A=5; a;a=; xa=6; ;a=b=c; a\xa0=7'
    assert cookie_values(header, "a", 9) == ["1", "4", "", "b=c"]
    assert cookie_values(header, "a", 2) == ["1", "4"]
    assert cookie_values("a.b=1; axb=2", "a.b", 9) == ["1"]


@given(st.text("ab=; \t\"'\xa0\xe9", max_size=20))
def test_first_of_the_values_is_that_of_all_cookies(header: str) -> None:
    cookies = parse_cookies(header)
    for name in ("a", "ab"):
        found = cookie_values(header, name, 1)
        assert (found[0] if found else None) == cookies.get(name)


def test_the_first_thousand_cookies_are_read() -> None:
    cookies = parse_cookies(";".join(f"{number}=" for number in range(5000)))
    assert list(cookies) == [str(number) for number in range(1000)]


def test_a_pair_without_equals_or_name_is_skipped() -> None:
    assert parse_cookies("junk; =1; = ; a=1; ;") == {"a": "1"}


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ('"x"', "x"),
        (' "x" ', "x"),
        ('" x "', " x "),
        ('""', ""),
        ('"', '"'),
        ('"x', '"x'),
        ('x"', 'x"'),
        (r'"\073\""', r"\073\""),
    ],
)
def test_a_value_loses_its_double_quotes_and_nothing_else(sent: str, value: str) -> None:
    assert parse_cookies(f"a={sent}") == {"a": value}


def test_quotes_do_not_hide_a_cookie() -> None:
    assert parse_cookies('a="x; sid=1; b=y"') == {"a": '"x', "sid": "1", "b": 'y"'}


@pytest.mark.parametrize("space", ["\xa0", "\x85", "\u2028", "\v", "\f"])
def test_space_that_is_not_ows_stays_in_the_name(space: str) -> None:
    assert parse_cookies(f"{space}__Host-sid=1") == {f"{space}__Host-sid": "1"}


@given(st.text(alphabet=st.sampled_from('ab=; \t"\\\0\xa0é')))
def test_parse_cookies_never_raises(header: str) -> None:
    for name, value in parse_cookies(header).items():
        assert name and name == name.strip(" \t")
        assert ";" not in name + value and "=" not in name


@given(st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), st.text("abc=%/.0", max_size=9)))
def test_what_is_set_is_read_back(cookies: dict[str, str]) -> None:
    sent = [encode(name, value).partition(";")[0] for name, value in cookies.items()]
    assert parse_cookies("; ".join(sent)) == cookies


# --- Set-Cookie -------------------------------------------------------------------------


def test_the_defaults_are_safe() -> None:
    assert encode("sid", "x") == "sid=x; Path=/; HttpOnly; SameSite=Lax"


def test_every_attribute_in_its_order() -> None:
    cookie = SetCookie(
        "sid",
        "31d4d96e407aad42",
        max_age=3600,
        expires=784111777,
        path="/a b",
        domain="example.com",
        secure=True,
        samesite="strict",
        partitioned=True,
    )
    assert cookie.encode(secure_by_default=False) == (
        "sid=31d4d96e407aad42; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Max-Age=3600; "
        "Domain=example.com; Path=/a b; Secure; HttpOnly; SameSite=Strict; Partitioned"
    )


def test_every_attribute_can_be_left_out() -> None:
    assert encode("sid", path=None, httponly=False, samesite=None) == "sid="


@pytest.mark.parametrize("max_age", [0, -1, 10**12])
def test_max_age_is_any_integer(max_age: int) -> None:
    assert encode("a", max_age=max_age, path=None, httponly=False, samesite=None) == (
        f"a=; Max-Age={max_age}"
    )


def test_expires_is_converted_to_gmt() -> None:
    moment = datetime(1994, 11, 6, 9, 49, 37, tzinfo=timezone(timedelta(hours=1)))
    assert encode("a", expires=moment).startswith("a=; Expires=Sun, 06 Nov 1994 08:49:37 GMT;")
    assert encode("a", expires=0).startswith("a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT;")


@pytest.mark.parametrize(
    ("secure", "by_default", "sent"),
    [
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (True, True, True),
        (False, False, False),
        (False, True, False),
    ],
)
def test_secure_none_means_the_default(secure: bool | None, by_default: bool, sent: bool) -> None:
    field = SetCookie("a", secure=secure).encode(secure_by_default=by_default)
    assert ("; Secure" in field) is sent


NEED_SECURE: list[tuple[str, dict[str, Any]]] = [
    ("__Host-sid", {}),
    ("__Secure-sid", {}),
    ("__hOST-sid", {}),
    ("__SECURE-sid", {}),
    ("sid", {"samesite": "none"}),
    ("sid", {"partitioned": True}),
]


@pytest.mark.parametrize(("name", "options"), NEED_SECURE)
def test_what_needs_secure_implies_it(name: str, options: dict[str, Any]) -> None:
    assert "; Secure" in encode(name, **options)


@pytest.mark.parametrize(("name", "options"), NEED_SECURE)
def test_what_needs_secure_refuses_false(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^expected secure=True or None for .*, got False$"):
        SetCookie(name, secure=False, **options)


@pytest.mark.parametrize("name", ["__Host-sid", "__HOST-sid"])
@pytest.mark.parametrize("options", [{"path": "/a"}, {"path": None}, {"domain": "example.com"}])
def test_a_host_cookie_is_of_one_host_and_the_root(name: str, options: dict[str, Any]) -> None:
    expected = r"^expected path='/' and domain=None for a name with __Host"
    with pytest.raises(ValueError, match=expected):
        SetCookie(name, **options)


def test_a_secure_cookie_may_have_path_and_domain() -> None:
    assert encode("__Secure-a", path="/b", domain="example.com") == (
        "__Secure-a=; Domain=example.com; Path=/b; Secure; HttpOnly; SameSite=Lax"
    )


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "a\r\n", "é", "a,b", '"a"'])
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        SetCookie(name)
    assert str(caught.value) == f"expected a token as the cookie's name, got {name!r}"


@pytest.mark.parametrize(
    ("value", "bad", "index"),
    [
        ("a b;", " ", 1),
        ("a;b", ";", 1),
        ("12,5", ",", 2),
        ('"x"', '"', 0),
        ("\\", "\\", 0),
        ("a\r\nSet-Cookie: b", "\r", 1),
        ("\0", "\0", 0),
        ("\x7f", "\x7f", 0),
        ("zoé", "é", 2),
    ],
)
def test_a_bad_character_of_a_value_is_named_with_the_remedy(
    value: str, bad: str, index: int
) -> None:
    with pytest.raises(ValueError) as caught:
        SetCookie("sid", value)
    assert str(caught.value) == (
        "expected visible ASCII without quotes, commas, semicolons and backslashes as the value of "
        f"cookie 'sid', got {bad!r} at index {index}: encode it with urllib.parse.quote"
    )


def test_every_cookie_octet_may_stand_in_a_value() -> None:
    octets = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;\\')
    assert encode("a", octets).startswith(f"a={octets}; ")


@pytest.mark.parametrize("attribute", ["path", "domain"])
@pytest.mark.parametrize("bad", ["/a;b", "/\r", "/\n", "/\0", "/é", "/\x7f", "/a\n", ""])
def test_path_and_domain_hold_no_separator_or_control(attribute: str, bad: str) -> None:
    with pytest.raises(ValueError) as caught:
        SetCookie("a", **{attribute: bad})  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"expected {attribute} to ")
    assert str(caught.value).endswith(f"ASCII without ';', got {bad!r}")


def test_a_path_begins_with_a_slash() -> None:
    with pytest.raises(ValueError, match=r"^expected path to begin with '/' .* got 'admin'$"):
        SetCookie("a", path="admin")


def test_name_and_value_are_at_most_4096_bytes() -> None:
    assert encode("abc", "x" * 4093).startswith("abc=xxx")
    with pytest.raises(ValueError) as caught:
        SetCookie("abc", "x" * 4094)
    assert str(caught.value) == (
        "expected at most 4096 bytes in the name and value of cookie 'abc', got 4097: "
        "browsers ignore a larger one"
    )


@pytest.mark.parametrize(("attribute", "first"), [("path", "/"), ("domain", "d")])
def test_path_and_domain_are_at_most_1024_bytes(attribute: str, first: str) -> None:
    longest = first + "a" * 1023
    assert f"{attribute.capitalize()}={longest}" in encode("a", **{attribute: longest})
    with pytest.raises(ValueError) as caught:
        encode("a", **{attribute: longest + "a"})
    assert str(caught.value) == f"expected {attribute} of at most 1024 bytes, got 1025"


@pytest.mark.parametrize(
    ("options", "is_same"),
    [
        ({"value": "2", "max_age": 0, "samesite": None, "secure": True}, True),
        ({"domain": ".Example.COM"}, True),
        ({"name": "B"}, False),
        ({"path": "/b"}, False),
        ({"path": None}, False),
        ({"domain": None}, False),
        ({"domain": "a.example.com"}, False),
        ({"partitioned": True}, False),
    ],
)
def test_a_browser_keeps_one_of_a_name_domain_path_and_partition(
    options: dict[str, Any], is_same: bool
) -> None:
    first: dict[str, Any] = {"name": "b", "value": "1", "domain": "example.com"}
    assert SetCookie(**first).is_same_as(SetCookie(**{**first, **options})) is is_same


@pytest.mark.parametrize("max_age", [1.5, "60", True, timedelta(hours=1)])
def test_max_age_is_an_int(max_age: Any) -> None:
    with pytest.raises(ValueError) as caught:
        SetCookie("a", max_age=max_age)
    assert str(caught.value) == f"expected max_age as an int of seconds, got {max_age!r}"


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^expected expires as an aware datetime, got datetime"):
        SetCookie("a", expires=datetime(2030, 1, 1))


def test_a_time_that_has_no_http_date_is_refused_when_made() -> None:
    with pytest.raises(ValueError, match=r"^expected a timestamp in the years 1 to 9999, got 1e\+"):
        SetCookie("a", expires=1e18)


@pytest.mark.parametrize("samesite", ["Lax", "", "no", True])
def test_samesite_is_one_of_three(samesite: Any) -> None:
    with pytest.raises(ValueError) as caught:
        SetCookie("a", samesite=samesite)
    assert str(caught.value) == (
        f"expected samesite as 'lax', 'strict', 'none' or None, got {samesite!r}"
    )


def test_a_cookie_takes_the_place_of_the_one_that_a_browser_would_drop() -> None:
    first, other, again = SetCookie("a", "1"), SetCookie("a", "2", path="/x"), SetCookie("a", "3")
    assert with_cookie(None, first) == [first]
    assert with_cookie([first, other], again) == [other, again]


def test_each_cookie_is_a_line_that_is_secure_by_the_scheme() -> None:
    cookies = [SetCookie("a", "1", samesite=None), SetCookie("b", "2", httponly=False)]
    assert set_cookie_lines(cookies, "http") == (
        "Set-Cookie: a=1; Path=/; HttpOnly\r\nSet-Cookie: b=2; Path=/; SameSite=Lax\r\n"
    )
    assert set_cookie_lines(cookies, "https").count("; Secure") == 2
    assert set_cookie_lines([], "https") == ""
