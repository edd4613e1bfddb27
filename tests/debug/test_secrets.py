"""Secrets in a text: telling names, in each form, found in linear time."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.growth import grows_linearly

from microweb.debug.masking import Mask
from microweb.debug.secrets import is_secret


@pytest.mark.parametrize(
    "name",
    "password passwd PASSWORD db_password userPassword pwd token access_token accessToken secret "
    "SECRET_KEY client-secret key api_key apiKey apikey X-API-Key authorization "
    "Proxy-Authorization cookie Set-Cookie cookies credentials csrf jwt X-Auth "
    "private_key X-Session session_id PHPSESSID JSESSIONID cvv".split(),
)
def test_name_that_tells(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", "name user keyboard monkey author spin path id passenger request hash obsession".split()
)
def test_name_that_does_not(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # names as they are written
        ("/?pass%77ord=hunter22&page=2", "/?pass%77ord=[hidden]&page=2"),
        ("/?user%5Bpassword%5D=hunter22", "/?user%5Bpassword%5D=[hidden]"),
        ("/?user[password]=hunter22", "/?user[password]=[hidden]"),
        (r'{"pass\u0077ord": "hunter22"}', r'{"pass\u0077ord": [hidden]}'),
        ('{"password"\n:\n"hunter22", "x": 1}', '{"password"\n:\n[hidden], "x": 1}'),
        ("x" * 300 + "_password=hunter22", "x" * 300 + "_password=[hidden]"),
        # values to their end
        ("password=a;b&x=1", "password=[hidden]&x=1"),
        ("password=a,b)c]d>e&x=1", "password=[hidden]&x=1"),
        ("password='a'b\"c&x=1", "password=[hidden]&x=1"),
        ("User(name=ada, token=abc)", "User(name=ada, token=[hidden])"),
        ('{"passwords": ["a", {"b": "]"}], "x": 1}', '{"passwords": [hidden], "x": 1}'),
        ('{"token": {"a": [1, 2]}, "x": 1}', '{"token": [hidden], "x": 1}'),
        ('{"password": "hunter', '{"password": [hidden]'),
        ('{"passwords": ["hunter", "hun', '{"passwords": [hidden]'),
        # numbers
        ('{"pin": 1234, "x": 1}', '{"pin": [hidden], "x": 1}'),
        ("otp=123456&x=1", "otp=[hidden]&x=1"),
        ("{'token': 12.5, 'x': 1}", "{'token': [hidden], 'x': 1}"),
        # YAML
        ("user: ada\npassword: correct horse battery\nx: 1", "user: ada\npassword: [hidden]\nx: 1"),
        ("a:\n  password: correct horse, x\n  b: 1", "a:\n  password: [hidden]\n  b: 1"),
        ("password: |\n  correct\n\n  horse\nx: 1", "password: [hidden]\nx: 1"),
        ("passwords:\n- correct\n- horse\nx: 1", "passwords:[hidden]\nx: 1"),
        ("- token: correct horse\n  x: 1", "- token: [hidden]\n  x: 1"),
        ("{password: correct horse, x: 1}", "{password: [hidden], x: 1}"),
        ("secret_key = correct horse\nx = 1", "secret_key = [hidden]\nx = 1"),
        # XML
        ("<a><password>hunter22</password></a>", "<a><password>[hidden]</password></a>"),
        ("<Password x='1'><![CDATA[a<b]]></Password>", "<Password x='1'>[hidden]</Password>"),
        ('<entry key="password">hunter22</entry>', "<entry key=[hidden]>[hidden]</entry>"),
        ("<x:token><v>1</v><v>2</v></x:token>", "<x:token>[hidden]</x:token>"),
        ("<password>hunter", "<password>[hidden]"),
        ('<meta name="csrf-token" content="abc">', '<meta name="csrf-token" content=[hidden]>'),
        ('{"name": "password", "value": "x"}', '{"name": "password", "value": [hidden]}'),
        ("<app.Token object at 0x7f00>", "<app.Token object at 0x7f00>"),
        # cards
        ("card 4111 1111 1111 1111.", "card [hidden]."),
        ("card=4111111111111111&x=1", "card=[hidden]&x=1"),
        ("5500-0000-0000-0004", "[hidden]"),
        ("4111+1111+1111+1111", "[hidden]"),
        ("4111111111111112", "4111111111111112"),
        ("1700000000000000000", "1700000000000000000"),
        # credentials
        ("with Bearer abcdef.123456, x", "with Bearer [hidden], x"),
        ("with Basic YWRhOmh1bnRlcjIy", "with Basic [hidden]"),
        ("basic authentication", "basic authentication"),
        ("x-auth: Digest u=1, v=2", "x-auth: [hidden]"),
        # prose
        ("KeyError: 'x'", "KeyError: 'x'"),
        ("unknown session: x", "unknown session: x"),
    ],
)
def test_secret_is_found_in_each_form_and_whole(text: str, shown: str) -> None:
    assert Mask().hide(text) == shown


def test_field_with_an_authentication_scheme_is_hidden_whatever_its_name() -> None:
    head = "GET / HTTP/1.1\r\nX-Session: abc\r\nX-Access: Bearer abc\r\nX-Other: token abc\r\n"
    assert Mask().hide_head(head) == (
        "GET / HTTP/1.1\r\nX-Session: [hidden]\r\nX-Access: [hidden]\r\nX-Other: [hidden]\r\n"
    )


HOSTILE = [
    "a",
    'a="',
    "password=",
    "name=x\r\n",
    'name="x"\r\n',
    "://:",
    "://a:",
    "\\",
    "Content-Disposition: x; name=token\r\n\r\n",
    'Content-Disposition: name="',
    "token=' ",
    'token="\\',
    "token: [ ",
    'token: ["',
    "token:\n ",
    " token: x\n",
    "- token:\n",
    "<token>",
    "<token a='",
    "<a b=''",
    "</token>",
    "<token>x</token>",
    'name="name="',
    "key=key='a' value",
    "4 4",
    "Bearer ",
    "('a', ",
    "%61",
    " ",
    "\n",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    def learn_and_hide(size: int) -> None:
        text = "token " + piece * (size // len(piece))
        mask = Mask()
        mask.learn_text(text)
        mask.hide(text)

    assert grows_linearly(learn_and_hide, size=2048)


@given(st.text(max_size=30).filter(lambda text: len(text.strip()) > 5), st.text(max_size=30))
def test_value_of_a_json_key_is_never_shown(secret: str, other: str) -> None:
    text = json.dumps({"other": other, "password": f"ZQX{secret}ZQX", "more": [other]})
    assert "ZQX" not in Mask().hide(text)
    assert "ZQX" not in Mask().hide(text[: text.rindex("ZQX")])


@given(st.text(max_size=30))
def test_value_of_a_form_is_never_shown(secret: str) -> None:
    text = urlencode(
        {"other": "x", "user[password]": f"ZQX{secret}ZQX", "more": "y"}, errors="replace"
    )
    assert "ZQX" not in Mask().hide(text)
