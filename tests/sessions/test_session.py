"""The dict that is a session, and its encoded form."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import InvalidSessionNumber, LocalProtocolError
from microweb.markup import html
from microweb.sessions.session import (
    EMPTY,
    Flash,
    Session,
    check_session,
    encode_session,
    is_surely_unchanged,
    make_encode,
    merge_session,
    parse_session,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=10,
)


# --- the encoded form


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
def test_what_json_holds_comes_back(values: dict[str, Any]) -> None:
    data = encode_session(values)
    check_session(values, data)
    assert parse_session(data) == values
    assert encode_session(parse_session(data)) == data  # so that reading is no change


def test_an_empty_session_has_one_form() -> None:
    assert encode_session({}) == EMPTY == encode_session(Session())


def test_a_lone_surrogate_comes_back() -> None:
    assert parse_session(encode_session({"a": "\ud800"})) == {"a": "\ud800"}


def test_text_that_is_no_ascii_takes_its_utf8() -> None:
    assert encode_session({"name": "Зоя"}) == '{"name":"Зоя"}'.encode()


class Color(StrEnum):
    RED = "red"


def test_a_str_enum_is_its_text() -> None:
    check_session({"color": Color.RED}, encode_session({"color": Color.RED}))


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ((1, 2), "tuple"),
        ({7: "a"}, "dict"),
        ([{"deep": {1, 2}}], "list"),
        (date(2026, 1, 1), "date"),
        (b"secret", "bytes"),
        (CIRCLE, "list"),
    ],
)
def test_what_json_does_not_give_back_is_named_but_not_shown(value: object, kind: str) -> None:
    values = {"good": 1, "bad": value}
    with pytest.raises(TypeError) as caught:
        check_session(values, encode_session(values))
    text = str(caught.value)
    assert text.startswith("session['bad']: expected values that JSON keeps unchanged ")
    assert text.endswith(f"got another key or value in {kind}")
    assert "secret" not in text


@pytest.mark.parametrize(
    "value",
    [float("nan"), -float("inf"), [{"deep": float("inf")}], [*CIRCLE, float("nan")], [10**5000]],
)
def test_number_that_json_cannot_write_is_no_fault_of_the_application(value: object) -> None:
    with pytest.raises(InvalidSessionNumber, match=r"a number in 'bad' that JSON can't write"):
        encode_session({"good": 1, "bad": value})


def test_a_key_is_a_str() -> None:
    values: Any = {1: "a"}
    with pytest.raises(TypeError, match=r"^session\[1\]: "):
        check_session(values, encode_session(values))


@pytest.mark.parametrize("data", [b"", b"\xff", b"[1]", b"null", b"{", b"[" * 100_000])
def test_what_is_no_session_is_empty(data: bytes) -> None:
    assert parse_session(data) == {}


def test_space_around_a_session_is_ignored() -> None:
    assert parse_session(b' {"a": 1}\n') == {"a": 1}
    assert parse_session(b'{"a": 1} {}') == {}


def test_encoder_without_an_extension_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"name": "Зоя", "items": [1, 2.5, None, True, {"a": "\ud800"}]}
    with_extension = make_encode()
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert make_encode()(values) == with_extension(values)


def test_encoder_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = json.encoder.c_make_encoder

    def counted(*args: object) -> object:
        built.append(args)
        return build(*args)

    monkeypatch.setattr(json.encoder, "c_make_encoder", counted)
    encode = make_encode()
    assert [encode({"a": [number]}) for number in range(3)] == [
        '{"a":[0]}',
        '{"a":[1]}',
        '{"a":[2]}',
    ]
    assert len(built) == 1


# --- whether it has changed


@pytest.mark.parametrize("value", ["text", 7, 1.5, True, None])
def test_session_of_plain_values_is_unchanged_without_its_encoded_form(value: object) -> None:
    session = Session({"a": value})
    assert session.get("a") is session["a"] is value
    assert is_surely_unchanged(session)


@pytest.mark.parametrize("value", [[], {}, (), Color.RED, date(2026, 1, 1)])
def test_session_with_a_value_that_may_change_inside_is_not(value: object) -> None:
    assert not is_surely_unchanged(Session({"a": value}))


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.__setitem__("a", 1),
        lambda session: session.__delitem__("a"),
        lambda session: session.__ior__({"b": 1}),
        lambda session: session.pop("b", None),
        lambda session: session.popitem(),
        lambda session: session.setdefault("b", 1),
        lambda session: session.update(b=1),
        lambda session: session.flash("hello"),
        lambda session: session.flashes(),
        lambda session: session.clear() or session.update(a=1),
    ],
)
def test_session_that_was_set_may_be_changed(change: Callable[[Session], object]) -> None:
    session = Session({"a": 1})
    change(session)
    assert not is_surely_unchanged(session)


# --- merging


@pytest.mark.parametrize(
    ("before", "after", "now", "merged"),
    [
        ({}, {"a": 1}, {"b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 2}, {"a": 1, "b": 2}, {"a": 2, "b": 2}),
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}),
        ({"a": 1}, {}, {"a": 3, "b": 2}, {"b": 2}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 2}, {"b": 3}),
        ({"a": 1}, {"a": True}, {"a": 1, "b": 2}, {"a": True, "b": 2}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
    ],
)
def test_a_merge_changes_what_was_changed(
    before: dict[str, Any], after: dict[str, Any], now: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert encode_session(merge_session(before, after, now)) == encode_session(merged)


# --- flashes


def test_flashes_are_taken_once_in_their_order() -> None:
    session = Session()
    session.flash("saved")
    session.flash("disk full", "error")
    session = Session(parse_session(encode_session(session)))  # the next request
    assert session.flashes() == [Flash("saved", "info"), Flash("disk full", "error")]
    assert session.flashes() == []
    assert session == {}


def test_a_flash_is_text_and_category() -> None:
    session = Session()
    session.flash("saved")
    (flash,) = session.flashes()
    assert (flash.text, flash.category) == flash == ("saved", "info")


def test_the_latest_16_flashes_are_kept() -> None:
    session = Session()
    for number in range(20):
        session.flash(str(number))
    assert [text for text, _ in session.flashes()] == [str(number) for number in range(4, 20)]


def test_a_flash_of_html_comes_back_as_plain_text() -> None:
    """A template then escapes it, whatever its parts are."""
    session = Session()
    session.flash(html("<b>{}</b>", "x"))
    (flash,) = Session(parse_session(encode_session(session))).flashes()
    assert type(flash.text) is str


# --- changes and end


def test_clear_renews() -> None:
    session = Session({"a": 1})
    assert not session.is_renewed
    session.clear()
    assert session.is_renewed
    assert session == {}


CHANGES: list[Callable[[Any], object]] = [
    lambda session: session.__setitem__("a", 2),
    lambda session: session.__delitem__("a"),
    lambda session: session.__ior__({"b": 1}),
    lambda session: session.pop("a"),
    lambda session: session.pop("missing", None),
    lambda session: session.popitem(),
    lambda session: session.setdefault("b", 1),
    lambda session: session.update(b=1),
    lambda session: session.clear(),
    lambda session: session.rotate(),
    lambda session: session.flash("a"),
    lambda session: session.flashes(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_behind_the_answer_is_an_error(change: Callable[[Any], object]) -> None:
    session = Session({"a": 1})
    session.is_over = True
    with pytest.raises(
        LocalProtocolError, match=r"^the session was changed after the response was made: "
    ):
        change(session)
    assert session == {"a": 1}


@pytest.mark.parametrize("change", CHANGES)
def test_before_the_end_each_of_them_may_change_it(change: Callable[[Any], object]) -> None:
    session = Session({"a": 1})
    assert is_surely_unchanged(session)
    change(session)
    assert not is_surely_unchanged(session) or session.is_ended or session.is_renewed


def test_every_method_of_dict_that_changes_it_is_guarded() -> None:
    changing = {
        name
        for name in dir(dict)
        if name not in {*dir(tuple), *dir(frozenset), "__init__", "__reversed__", "__ror__"}
    }
    reading = {"__class_getitem__", "fromkeys", "get", "items", "keys", "values"}
    assert changing - reading == {
        "__delitem__", "__ior__", "__setitem__", "clear", "pop", "popitem", "setdefault", "update"
    }  # fmt: skip
    for name in changing - reading:
        assert name in vars(Session), name
