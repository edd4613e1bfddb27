"""Secrets on a debug page: which names tell one, and that its value is shown nowhere."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb import Headers, MultiDict
from microweb.debug.masking import HIDDEN, Mask, cut
from microweb.debug.secrets import is_secret
from microweb.http.headers import parse_header_section


@dataclass
class User:
    name: str
    password: str


class Login(NamedTuple):
    name: str
    api_key: str


class Hostile:
    def __repr__(self) -> str:
        raise ValueError("no")


class Endless:
    def __repr__(self) -> str:
        return "x" * 5_000_000


class Disguised:
    """A lazy proxy whose object is not there: each question for its class raises."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("outside of a request")

    def __repr__(self) -> str:
        return "Disguised()"


class NotEqual:
    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    def __repr__(self) -> str:
        return "NotEqual()"


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
    ("value", "text"),
    [
        ({"password": "hunter22", "user": "ada"}, "{'password': [hidden], 'user': 'ada'}"),
        ({"a": {"token": "abc"}}, "{'a': {'token': [hidden]}}"),
        ([("x", {"key": 5})], "[('x', {'key': [hidden]})]"),
        ({"password": None, "token": True}, "{'password': None, 'token': True}"),
        (User("ada", "hunter22"), "User(name='ada', password=[hidden])"),
        (Login("ada", "sk-1"), "Login(name='ada', api_key=[hidden])"),
        (Headers({"Cookie": "a=b", "Host": "x"}), "Headers({'cookie': [hidden], 'host': 'x'})"),
        (parse_header_section([b"X-Session: a"]), "CheckedHeaders({'x-session': [hidden]})"),
        (MultiDict([("token", "1"), ("a", "2")]), "MultiDict({'token': [hidden], 'a': '2'})"),
        ("postgres://ada:hunter22@db/x", "'postgres://[hidden]@db/x'"),
        ("GET /?token=abc&page=2", "'GET /?token=[hidden]&page=2'"),
        ("Authorization: Bearer abc", "'Authorization: [hidden]'"),
        ('{"password": "a\\"b", "x": 1}', '\'{"password": [hidden], "x": 1}\''),
        (b"password=hunter22;x=1", "b'password=[hidden]'"),
        ([1, (2,), {3}, frozenset({4}), set()], "[1, (2), {3}, frozenset({4}), {}]"),
        ({"x": NotEqual()}, "{'x': NotEqual()}"),
        (
            {"session": {"user": "ada", "csrf": "x"}},
            "{'session': {'user': 'ada', 'csrf': [hidden]}}",
        ),
        ({"session": "abc", "card": 4111111111111111}, "{'session': [hidden], 'card': [hidden]}"),
        (Hostile(), "<Hostile whose repr raised ValueError>"),
        ([Hostile()], "<list whose repr raised ValueError>"),
        ([10**5000], "<list whose repr raised ValueError>"),
        ("unknown key: colour", "'unknown key: colour'"),
    ],
)
def test_value_is_shown_without_secrets(value: object, text: str) -> None:
    assert Mask().show("x", value) == text


def test_value_whose_class_raises_is_shown() -> None:
    mask = Mask()
    mask.learn("x", [Disguised()])
    shown = [
        mask.show("x", Disguised()),
        mask.show("x", [Disguised()]),
        mask.show("key", Disguised()),
    ]
    assert shown == ["Disguised()", "[Disguised()]", HIDDEN]


def test_value_of_a_telling_name_is_hidden_whatever_it_is() -> None:
    mask = Mask()
    assert [mask.show("token", value) for value in ("x", 5, [1], Hostile())] == [HIDDEN] * 4
    assert mask.show("token", None) == "None"


def test_long_value_is_cut() -> None:
    mask = Mask()
    for value in ("x" * 10**6, Endless(), b"x" * 10**6):
        assert len(mask.show("x", value)) < 450
    assert mask.show("x", "y" * 1_000_000).endswith("… (1,000,000 characters)")
    assert mask.show("x", list(range(100))).endswith("19, … 80 more]")
    assert len(mask.show("x", [["x" * 400] * 50] * 50)) < 2100
    assert mask.show("x", [[[[[1]]]]]) == "[[[[…]]]]"


def test_secret_at_the_cut_is_not_shown_in_part() -> None:
    mask = Mask()
    mask.learn("password", "correct horse battery")
    assert "corr" not in mask.show("x", "y" * 390 + "correct horse battery" + "z" * 5000)


def test_own_cycles_end() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    assert Mask().show("x", cycle) == "[[[[…]]]]"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("password", "hunter22", "with hunter22"),
        ("password", b"hunter22", "with hunter22"),
        ("form", {"password": "hunter22"}, "with hunter22"),
        ("form", MultiDict([("password", "hunter22")]), "with hunter22"),
        ("cookie", "session=hunter22; theme=dark", "with hunter22"),
        ("authorization", "Bearer hunter22", "with hunter22"),
        (
            "authorization",
            "Basic " + b64encode(b"ada:hunter22").decode(),
            "with hunter22",
        ),
        ("password", "a b&c=d e", "with a+b%26c%3Dd+e"),
        ("passwords", ["hunter22"], "with hunter22"),
        ("secrets", {"database": ("hunter22",)}, "with hunter22"),
        ("config", {"a": {"b": [{"password": "hunter22"}]}}, "with hunter22"),
        ("pin_token", 12345678, "with 12345678"),
        ("x-access", "Bearer hunter22", "with hunter22"),
        ("password", 'hun"ter22', 'with hun\\"ter22'),
        ("password", "li'ne\nbreak", "with li\\'ne\\nbreak"),
    ],
)
def test_learned_value_is_hidden_everywhere(name: str, value: object, text: str) -> None:
    mask = Mask()
    mask.learn(name, value)
    if "\\'" in text:
        text = "with " + repr(value)[1:-1]
    assert mask.hide(text) == f"with {HIDDEN}"
    assert mask.hide_values(text) == f"with {HIDDEN}"


def test_short_or_harmless_values_are_not_learned() -> None:
    mask = Mask()
    mask.learn("password", "abc")
    mask.learn("name", "hunter22")
    mask.learn("key", "content-type")
    mask.learn("authorization", "Basic !!!")
    assert mask.hide("abc hunter22 content-type") == "abc hunter22 content-type"


def test_head_keeps_names_and_order() -> None:
    head = (
        "GET /?token=abc HTTP/1.1\r\nHost: x\r\nCookie: a=1; b=2\r\nAuthorization: Digest u=1, v=2"
        "\r\nX-Api-Key: k\r\nReferer: http://x/?api_key=1\r\n\r\n"
    )
    assert Mask().hide_head(head) == (
        "GET /?token=[hidden] HTTP/1.1\r\nHost: x\r\nCookie: [hidden]\r\nAuthorization: [hidden]"
        "\r\nX-Api-Key: [hidden]\r\nReferer: http://x/?api_key=[hidden]\r\n\r\n"
    )


def test_secrets_of_a_body_are_hidden() -> None:
    mask = Mask()
    assert mask.hide("user=ada&password=hun%20ter") == "user=ada&password=[hidden]"
    part = '--x\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter22\r\n--x--\r\n'
    assert "hunter22" not in mask.hide(part)
    mask.learn_text(part)
    mask.learn_text("api_key=abcdefgh")
    assert mask.hide_values("hunter22 abcdefgh") == f"{HIDDEN} {HIDDEN}"


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
    """A quadratic scan of so much takes minutes; it is to be far from the deadline."""
    text = "token " + piece * (128 * 1024 // len(piece))
    mask = Mask()
    begun = time.perf_counter()
    mask.learn_text(text)
    mask.hide(text)
    assert time.perf_counter() - begun < 30


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


def test_cut_says_how_much_there_was() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc… (4 characters)"
