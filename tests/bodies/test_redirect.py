from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answering import (
    GET,
    encode,
    make_request,
    split,
)

from microweb.bodies.redirect import local_url
from microweb.errors import LocalProtocolError
from microweb.response import Response


def location(response: Response) -> str:
    return response.headers["location"]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("/a?b=c&d#e", "/a?b=c&d#e"),
        ("/a b", "/a%20b"),
        ("/é", "/%C3%A9"),
        ("/%C3%A9", "/%C3%A9"),
        ("https://a.test/x?y=%20", "https://a.test/x?y=%20"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("/\r\nSet-Cookie: a=b", "/%0D%0ASet-Cookie:%20a=b"),
        ("/\x00", "/%00"),
        ("\\\\evil.test", "%5C%5Cevil.test"),
        ('/"<>', "/%22%3C%3E"),
        ("//other.test/", "//other.test/"),  # the application's own value is not checked
    ],
)
def test_a_redirect_is_encoded(url: str, sent: str) -> None:
    response = Response.redirect(url)
    assert response.status == 303
    assert location(response) == sent
    assert split(encode(response))[1] == {b"location": sent.encode(), b"content-length": b"0"}


@pytest.mark.parametrize("status", [201, 301, 302, 303, 307, 308])
def test_a_redirect_has_a_status_that_redirects(status: int) -> None:
    assert Response.redirect("/", status).status == status


@pytest.mark.parametrize("status", [200, 204, 300, 304, 305, 404, "303"])
def test_a_redirect_has_no_other_status(status: int) -> None:
    with pytest.raises(LocalProtocolError, match="expected a redirecting status"):
        Response.redirect("/", status)


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/a/b?c=d#e",
        "/%41",
        "/%C3%A9t%C3%A9",
        "/a//b",
        "/a%5cb",
        "/:80",
        "/@evil.test",
        "a/b",
        "../a",
        "?a=b",
        "?next=https://evil.test/",
        "#top",
        "",
        "http://testserver",
        "http://testserver/a",
        "HTTP://TESTSERVER/a",
        "http://testserver?a",
    ],
)
async def test_a_local_redirect_stays_on_this_origin(url: str) -> None:
    response = await Response.redirect(url, local=True).prepare(GET)
    assert location(response) == url


@pytest.mark.parametrize(
    "url",
    [
        "//evil.test",
        "///evil.test",
        "////evil.test",
        "//testserver@evil.test",
        "/\\evil.test",
        "/\\/evil.test",
        "/%5cevil.test",
        "/%5Cevil.test",
        "/%2fevil.test",
        "/%2F/evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "/\r/evil.test",
        "/%09/evil.test",
        "/%0a/evil.test",
        "/%0D/evil.test",
        "https:evil.test",
        "http:evil.test",
        "http:/evil.test",
        "http:///evil.test",
        "http:\\\\evil.test",
        "https://evil.test/",
        "http://evil.test/",
        "https://testserver/",  # another origin: RFC 6454
        "http://testserver:81/",
        "http://testserver.evil.test/",
        "http://testserver@evil.test/",
        "http://evil.test\\@testserver/",
        "http://testserver\\.evil.test/",
        "http://evil.test#@testserver/",
        "http://evil.test?@testserver/",
        "ftp://testserver/",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "mailto:a@b",
        "http://[evil",
        "http://[::1",
        "//[",
        "http://]",
    ],
)
async def test_a_local_redirect_goes_nowhere_else(url: str) -> None:
    response = await Response.redirect(url, local=True).prepare(GET)
    assert location(response) == "/"


@pytest.mark.parametrize(
    "url",
    [
        " //evil.test",
        "\t//evil.test",
        "\x01//evil.test",
        "\\\\evil.test",
        "\\/evil.test",
        "java\tscript:alert(1)",
        " javascript:alert(1)",
        "\x00javascript:alert(1)",
        "h\ttp://evil.test",
        "\N{FULLWIDTH SOLIDUS}\N{FULLWIDTH SOLIDUS}evil.test",
    ],
)
async def test_what_a_browser_would_drop_or_turn_is_escaped(url: str) -> None:
    sent = location(await Response.redirect(url, local=True).prepare(GET))
    # The URL is a relative path, because no scheme has an escape.
    assert re.match(r"[a-z]*%", sent)


async def test_a_local_redirect_needs_a_host_to_compare() -> None:
    for url in ("http:///evil.test", "http:evil.test", "http://"):
        response = await Response.redirect(url, local=True).prepare(make_request(host=""))
        assert location(response) == "/"


async def test_a_local_redirect_knows_its_port_and_scheme() -> None:
    request = make_request(scheme="https", host="[::1]:8443")
    for url, sent in [
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("http://[::1]:8443/a", "/"),
        ("https://[::1]/a", "/"),
    ]:
        assert location(await Response.redirect(url, local=True).prepare(request)) == sent


@given(st.text(max_size=20))
def test_no_text_splits_a_redirect(text: str) -> None:
    if not any("\ud800" <= c <= "\udfff" for c in text):
        sent = location(Response.redirect(text))
        assert re.fullmatch(r"[\x21-\x7e]*", sent)
        assert not set(sent) & set('\\"<>^`{|}')


async def test_local_redirect_stays_here_with_a_content_of_its_own() -> None:
    response = Response.redirect("https://evil.test/", local=True)
    response.body = b"see there"
    prepared = await response.prepare(GET)
    assert (location(prepared), prepared.body) == ("/", b"see there")
    assert split(encode(response))[1][b"location"] == b"/"


async def test_local_redirect_without_a_request_leads_to_no_host() -> None:
    response = Response.redirect("https://testserver/", local=True)
    assert response.body == b""
    assert location(response) == "https://testserver/"
    assert location(response.rendered(None)) == "/"


async def test_local_redirect_is_looked_at_when_all_is_set() -> None:
    response = Response.redirect("/", local=True)
    response.headers["Location"] = "https://evil.test/"
    assert location(await response.hand_on().prepare(GET)) == "/"


@pytest.mark.parametrize(
    ("raw_path", "query", "url"),
    [
        ("/a/", "", "/a/"),
        ("/a/", "b=%20c", "/a/?b=%20c"),
        ("//evil.test/", "", "/evil.test/"),
        ("/\\evil.test/", "a", "/evil.test/?a"),
    ],
)
def test_local_url_names_no_authority(raw_path: str, query: str, url: str) -> None:
    assert local_url(raw_path, query) == url
