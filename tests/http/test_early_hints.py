"""RFC 8297: the interim response 103, and the links that it may carry (RFC 8288 section 3)."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import LocalProtocolError
from microweb.http.early_hints import check_links, encode_early_hints

STYLE = "</style.css>; rel=preload; as=style"


@pytest.mark.parametrize(
    "link",
    [
        STYLE,
        "<https://cdn.example>; rel=preconnect",
        "<https://[::1]:8080/a?b=c&d=%20#e>;rel=preload",
        '</a~b_c.js>; rel="preload"; as="script"; title="é \xff"',
        "</a>; rel=preload, </b>; rel=preload",
        "</a>\t;\trel=preload",
        "</only-a-target>",
        "<>; rel=self",
    ],
)
def test_link_is_kept_as_it_is(link: str) -> None:
    assert check_links([link]) == [link]


@pytest.mark.parametrize(
    "link",
    [
        "",
        "/style.css",
        "style.css; rel=preload",
        "</style.css; rel=preload",
        "/style.css>; rel=preload",
        "</a b>; rel=preload",
        "</é>; rel=preload",
        '</a"b>; rel=preload',
        "</a> rel=preload",
        " </a>; rel=preload",
        "<<a>>",
    ],
)
def test_text_that_is_no_link_is_refused(link: str) -> None:
    with pytest.raises(LocalProtocolError, match="expected a link such as"):
        check_links([STYLE, link])


@pytest.mark.parametrize(
    "link",
    ["</a>\r\nSet-Cookie: a=b", "</a>;\n x", "</a>\r", "</a>;\0", "</\r\n\r\nHTTP/1.1 200 OK>"],
)
def test_link_can_add_no_field(link: str) -> None:
    with pytest.raises(LocalProtocolError, match="without control characters"):
        check_links([link])


@pytest.mark.parametrize("link", ["</a>; title=☃", None, 7, b"</a>"])
def test_value_that_no_field_can_hold_is_refused(link: object) -> None:
    with pytest.raises(LocalProtocolError, match="expected a"):
        check_links([link])  # type: ignore[list-item]


@pytest.mark.parametrize("links", [STYLE, STYLE.encode()])
def test_one_link_in_place_of_several_is_refused(links: str | bytes) -> None:
    with pytest.raises(TypeError, match=r"expected an iterable of links, got .*: pass \[link\]"):
        check_links(links)  # type: ignore[arg-type]


def test_each_link_has_its_line() -> None:
    links = check_links(link for link in (STYLE, "</é>".replace("é", "%C3%A9")))
    assert encode_early_hints(links) == (
        b"HTTP/1.1 103 Early Hints\r\n"
        b"Link: </style.css>; rel=preload; as=style\r\n"
        b"Link: </%C3%A9>\r\n"
        b"\r\n"
    )


@given(st.lists(st.text(max_size=20).map("</a>;{}".format) | st.text(max_size=20), max_size=4))
def test_whatever_is_not_refused_is_one_interim_response(links: list[str]) -> None:
    try:
        checked = check_links(links)
    except LocalProtocolError:
        return
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.receive_data(encode_early_hints(checked))
    event = client.next_event()
    assert isinstance(event, h11.InformationalResponse)
    assert event.status_code == 103
    assert [value.decode("latin-1").rstrip() for _, value in event.headers] == [
        link.rstrip() for link in links
    ]
    assert client.next_event() is h11.NEED_DATA
