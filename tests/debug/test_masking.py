"""Secrets on a debug page: telling names, and values that are hidden everywhere."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from microweb import Headers, MultiDict
from microweb.debug.masking import HIDDEN, Mask, cut
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
    """A lazy proxy without an object: `__class__` raises."""

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


def test_cut_says_how_much_there_was() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc… (4 characters)"
