from __future__ import annotations

import gc
import json
import json.encoder
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.bodies.json import (
    encode_json,
    has_more_values,
    parse_json,
    text_encoder,
)
from microweb.bodies.json_containers import JSONObject
from microweb.errors import BadRequest, ContentTooLarge, MissingValue

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def parse(data: bytes) -> Any:
    return parse_json(data)


def refusal_of(data: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        parse_json(data)
    assert caught.value.status == 400
    return caught.value.detail


# --- bytes to values ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}", {}),
        (b'{"message": "Hello"}', {"message": "Hello"}),
        (b"[1, -2.5, 1e3, true, false, null]", [1, -2.5, 1000.0, True, False, None]),
        (b'"NaN, -Infinity, 1e999"', "NaN, -Infinity, 1e999"),
        (b' \r\n\t{"a": 1}\r\n', {"a": 1}),
        ("é".join(['"', '"']).encode(), "é"),
        (rb'"\ud83d\ude00 \u00e9"', "\U0001f600 é"),
        (b"0", 0),
        (b"1e-999", 0.0),
        (b"9" * 4300, int("9" * 4300)),
    ],
)
def test_any_json_value_is_a_body(data: bytes, value: object) -> None:
    assert parse_json(data) == value


@given(JSON_VALUES)
def test_what_json_writes_is_read_as_json_reads_it(value: object) -> None:
    data = json.dumps(value)
    assert parse_json(data.encode()) == json.loads(data)


@given(st.binary())
def test_any_bytes_are_json_or_a_400(data: bytes) -> None:
    try:
        parse_json(data)
    except BadRequest as error:
        assert error.detail


def test_of_a_repeated_key_the_last_wins() -> None:
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "expected a JSON value, got an empty body"),
        (b" \r\n", "expected a JSON value, got an empty body"),
        (b"\xef\xbb\xbf", "expected a JSON value, got an empty body"),
        (b"{", None),
        (b'{"a" 1}', "not JSON at line 1, column 6: expecting ':' delimiter"),
        (b'\n\n  {"a":\n x}', "not JSON at line 4, column 2: expecting value"),
        (b'["a', "not JSON at line 1, column 2: unterminated string"),
        (b'["a\tb"]', "not JSON at line 1, column 4: invalid control character"),
        (b'{"a": 1} x', "not JSON at line 1, column 10: extra data"),
        (b"[1]\n[2]", "not JSON at line 2, column 1: extra data"),
        (b"hello", "not JSON at line 1, column 1: expecting value"),
        (b"'a'", "not JSON at line 1, column 1: expecting value"),
        (b"\xc2\xa01", "not JSON at line 1, column 1: expecting value"),
        (b"\x0c1", "not JSON at line 1, column 1: expecting value"),
    ],
)
def test_what_is_not_json_is_a_400_with_its_position(data: bytes, detail: str | None) -> None:
    refusal = refusal_of(data)
    if detail is None:  # versions of Python have different messages, but the same position
        assert refusal.startswith("not JSON at line 1, column 2: expecting property name")
    else:
        assert refusal == detail


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_json_lacks_are_refused_with_their_position(constant: str) -> None:
    data = b'{"NaN": "\\"Infinity",\n "b": [1.5, ' + constant.encode() + b"]}"
    assert refusal_of(data) == f"not JSON at line 2, column 13: {constant} is not JSON"


@pytest.mark.parametrize("literal", ["1e999", "-1E+400", "1" * 400 + ".0"])
def test_a_number_too_large_for_a_float_is_refused(literal: str) -> None:
    data = f'["1e999", 1e9, {literal}]'.encode()
    assert refusal_of(data) == "not JSON at line 1, column 16: a number too large for a float"


def test_an_integer_of_5000_digits_is_refused() -> None:
    assert refusal_of(b'{"a": -' + b"1" * 5000 + b"}") == (
        "not JSON at line 1, column 7: expected an integer of at most 4300 digits, got 5000"
    )


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_that_exhausts_the_stack_is_refused(opening: bytes) -> None:
    assert (
        refusal_of(opening * 200_000)
        == "expected less nesting in JSON, got values nested too deeply"
    )


@pytest.mark.parametrize(
    ("literal", "problem"),
    [
        ("NaN", "NaN is not JSON"),
        ("1e999", "a number too large for a float"),
        ("9" * 5000, "an integer of more than 4300 digits"),
    ],
)
def test_a_large_body_is_not_walked_for_the_position_of_a_number(
    literal: str, problem: str
) -> None:
    padding = " " * 65536
    assert refusal_of(f"[{padding}{literal}]".encode()) == f"not JSON: {problem}"
    # A syntax error has its position in a body of any size.
    assert refusal_of(f"[{padding}x]".encode()).startswith("not JSON at line 1, column 65538")


# --- UTF-8 ----------------------------------------------------------------------------


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse_json('\ufeff{"a": "é"}'.encode()) == {"a": "é"}


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b'["\xff"]', "expected JSON in UTF-8, got invalid start byte at byte 3"),
        (b'"\xed\xa0\x80"', "expected JSON in UTF-8, got invalid continuation byte at byte 2"),
        (b'\xef\xbb\xbf"\xff"', "expected JSON in UTF-8, got invalid start byte at byte 5"),
        ("[]".encode("utf-16"), "expected JSON in UTF-8, got invalid start byte at byte 1"),
    ],
)
def test_other_bytes_than_utf_8_are_a_400_that_names_the_first(data: bytes, detail: str) -> None:
    assert refusal_of(data) == detail


@pytest.mark.parametrize(
    ("data", "column", "escape"),
    [
        (rb'{"title": "\ud800"}', 12, r"\ud800"),
        (rb'{"\uDFFF": 1}', 3, r"\uDFFF"),
        (rb'["\ud83d\ude00", "\ud83d"]', 19, r"\ud83d"),
        (rb'["\ud83d\ud83d\ude00"]', 3, r"\ud83d"),
        (rb'["\ud83d\ude00\ude00"]', 15, r"\ude00"),
        (rb'["\ude00\ud83d"]', 3, r"\ude00"),
        (rb'["\\\ud800"]', 5, r"\ud800"),
        (rb'["\ud83d\\\ude00"]', 3, r"\ud83d"),
        (rb'["\ud83d\n\ude00"]', 3, r"\ud83d"),
    ],
)
def test_half_a_surrogate_pair_is_refused(data: bytes, column: int, escape: str) -> None:
    assert refusal_of(data) == (
        f"not JSON at line 1, column {column}: {escape} is half a surrogate pair"
    )
    assert parse_json(data, allow_surrogates=True) == json.loads(data)


@pytest.mark.parametrize(
    "data", [rb'"\\ud800"', rb'"\\\\ud800 \ud83d\ude00"', rb'"\uD83D\uDE00"', rb'"\u00e9 ud800"']
)
def test_what_looks_like_half_a_pair_is_taken(data: bytes) -> None:
    assert parse_json(data) == json.loads(data)


@given(st.lists(st.sampled_from(["\\ud83d", "\\ude00", "\\\\", "\\n", "ud800", "\\u00e9"])))
def test_what_is_taken_can_be_encoded(pieces: list[str]) -> None:
    data = f'["{"".join(pieces)}"]'
    text = json.loads(data)[0]
    try:
        text.encode()
    except UnicodeEncodeError:
        assert "is half a surrogate pair" in refusal_of(data.encode())
    else:
        assert parse_json(data.encode()) == [text]


# --- the number of values -------------------------------------------------------------


def number_of(value: object) -> int:
    """Return the number of elements and members at all depths. An empty array or object is one."""
    if isinstance(value, (dict, list)):
        inner = list(value.values() if isinstance(value, dict) else value)
        return max(len(inner), 1) + sum(map(number_of, inner))
    return 0


def objects_in(value: object) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    inner = list(value.values() if isinstance(value, dict) else value)
    return isinstance(value, dict) + sum(map(objects_in, inner))


@given(JSON_VALUES, st.booleans())
def test_elements_and_members_are_counted(value: object, is_ascii: bool) -> None:
    data = json.dumps(value, ensure_ascii=is_ascii).encode()
    number = max(number_of(value), 2 * objects_in(value))
    assert not has_more_values(data, number)
    assert number == 0 or has_more_values(data, number - 1)


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"[1,1,1]", 3),
        (b'{"a": 1, "b": [1, 2]}', 4),
        (b"[[[[]]]]", 4),
        (b"[{},{}]", 4),
        (rb'[",,,", "[[{{", "\",[{", "\\", ",", ""]', 6),
        (rb'{",\\\"[": ",\\", ":,": "{"}', 2),
    ],
)
def test_marks_in_strings_are_not_counted(data: bytes, number: int) -> None:
    assert number_of(json.loads(data)) == number
    assert not has_more_values(data, number)
    assert has_more_values(data, number - 1)
    assert parse_json(data, max_values=number) == json.loads(data)
    with pytest.raises(ContentTooLarge, match="max_json_values"):
        parse_json(data, max_values=number - 1)


def test_half_of_the_values_may_be_objects() -> None:
    nested = b'[{"{":{"[":{}}},1,2,3]'
    assert number_of(json.loads(nested)) == 7
    assert not has_more_values(nested, 7)
    deep = b'{"{":' * 3 + b"1" + b"}" * 3
    assert not has_more_values(deep, 6)
    assert has_more_values(deep, 5)
    with pytest.raises(ContentTooLarge, match="at most half as many objects"):
        parse_json(deep, max_values=5)


@pytest.mark.parametrize("length", [1, 2, 10])
def test_arrays_of_objects_may_have_as_many_values_as_the_limit(length: int) -> None:
    data = json.dumps([{str(key): 1 for key in range(length)}] * 20).encode()
    number = 20 + 20 * length
    assert not has_more_values(data, number)
    assert has_more_values(data, number - 1)


@pytest.mark.parametrize("was_enabled", [True, False])
@pytest.mark.parametrize("end", [b"]", b",NaN]", b"x"])
def test_the_garbage_collector_is_as_before(was_enabled: bool, end: bytes) -> None:
    (gc.enable if was_enabled else gc.disable)()
    try:
        with suppress(BadRequest):
            parse_json(b"[" + b"{}," * 10_000 + b"{}" + end)
        assert gc.isenabled() is was_enabled
    finally:
        gc.enable()


# --- objects --------------------------------------------------------------------------


def test_a_missing_key_is_a_400_that_names_it_at_any_depth() -> None:
    value = parse(b'{"items": [{"a": {}}]}')
    for owner in (value, value["items"][0], value["items"][0]["a"]):
        with pytest.raises(MissingValue) as caught:
            owner["title"]
        assert caught.value.detail == "expected the key 'title' in the JSON object, got none"
        assert caught.value.status == 400


def test_a_missing_key_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        parse(b"{}")["title"]


def test_get_and_in_never_raise() -> None:
    value = parse(b"{}")
    assert value.get("title") is None
    assert "title" not in value


def test_an_object_is_a_dict() -> None:
    value = parse(b'{"a": {"b": 1}}')
    assert type(value) is type(value["a"]) is JSONObject
    assert value == {"a": {"b": 1}}
    assert json.dumps(value) == '{"a": {"b": 1}}'
    assert encode_json(value) == b'{"a":{"b":1}}'


# --- values to bytes ------------------------------------------------------------------


class Color(Enum):
    RED = "red"
    NOTHING = None


class Level(IntEnum):
    HIGH = 3


class Shout(str, Enum):  # noqa: UP042
    HEY = "hey"


@dataclass
class Line:
    name: str
    price: Decimal


@dataclass(slots=True)
class Order:
    lines: list[Line]
    color: Color = Color.RED
    hidden: int = field(default=7, repr=False)


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


def money_as_dict(value: object) -> object:
    if isinstance(value, Money):
        return {"cents": value.cents}
    raise TypeError(f"what is {value!r}?")


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({"message": "Hello, World!"}, b'{"message":"Hello, World!"}'),
        ([1, 2.5, True, None], b"[1,2.5,true,null]"),
        ((), b"[]"),
        ("é\U0001f600/", '"é\U0001f600/"'.encode()),
        ('"\\\n\x00', rb'"\"\\\n\u0000"'),
        ("\ud800", rb'"\ud800"'),
        ("é\\\udfff", '"é\\\\\\udfff"'.encode()),
        ({"\ud800": 1}, rb'{"\ud800":1}'),
        ({1: "a", None: "b", False: "c"}, b'{"1":"a","null":"b","false":"c"}'),
        (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), b'"2024-02-29T12:30:00+00:00"'),
        (date(2024, 2, 29), b'"2024-02-29"'),
        (time(12, 30, 0, 5), b'"12:30:00.000005"'),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.10"), b'"1.10"'),
        (Color.RED, b'"red"'),
        (Color.NOTHING, b"null"),
        (Level.HIGH, b"3"),
        (Shout.HEY, b'"hey"'),
        (Line("tea", Decimal("2.50")), b'{"name":"tea","price":"2.50"}'),
        (
            [Order([Line("tea", Decimal(2))])],
            b'[{"lines":[{"name":"tea","price":"2"}],"color":"red","hidden":7}]',
        ),
    ],
)
def test_value_is_written_compactly_in_utf8(value: object, data: bytes) -> None:
    assert encode_json(value) == data


def test_a_dataclass_is_not_copied_deeply() -> None:
    @dataclass
    class Holder:
        held: object

    class Uncopyable:
        def __deepcopy__(self, memo: object) -> object:
            raise AssertionError("copied")

    assert encode_json(Holder(Uncopyable()), lambda _: "held") == b'{"held":"held"}'


def test_default_is_asked_for_what_is_unknown_at_any_depth() -> None:
    assert encode_json(Line, lambda value: "a class") == b'"a class"'
    assert encode_json({"a": [Money(5)]}, money_as_dict) == b'{"a":[{"cents":5}]}'


def test_default_may_return_none() -> None:
    assert encode_json([Money(5)], lambda _: None) == b"[null]"


def test_default_is_not_asked_for_what_is_known() -> None:
    assert encode_json([Color.NOTHING, date(2024, 1, 1)], money_as_dict) == b'[null,"2024-01-01"]'


def test_the_type_error_of_default_is_kept() -> None:
    with pytest.raises(TypeError, match="what is 1j"):
        encode_json(1j, money_as_dict)


@pytest.mark.parametrize(
    ("value", "name"),
    [(Money(5), "Money"), (1j, "complex"), (bytearray(), "bytearray"), (Line, "type")],
)
def test_an_unknown_type_is_named_with_the_remedy(value: object, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        encode_json({"a": [value]})
    assert str(caught.value) == (
        f"expected a value that JSON can hold, got {name!r}: return another value, or set "
        f"app.json_default to a function that converts the {name}"
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"a": number})


def circular_values() -> Iterator[object]:
    array: list[object] = []
    array.append(array)
    yield array
    mapping: dict[str, object] = {}
    mapping["a"] = [mapping]
    yield mapping
    line = Line("a", Decimal(1))
    line.name = line  # type: ignore[assignment]
    yield line


@pytest.mark.parametrize("value", [*circular_values()], ids=["list", "dict", "dataclass"])
def test_a_circular_reference_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="got a circular reference"):
        encode_json(value)


def test_a_default_that_returns_its_argument_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="got a circular reference"):
        encode_json(Money(1), lambda value: value)


def test_one_value_may_occur_twice() -> None:
    shared = [1]
    assert encode_json([shared, shared]) == b"[[1],[1]]"


def test_an_error_leaves_nothing_behind() -> None:
    value: list[object] = [1j]
    with pytest.raises(TypeError):
        encode_json(value)
    value[0] = 1
    assert encode_json(value) == b"[1]"


@given(JSON_VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    assert parse_json(encode_json(value)) == value


@given(JSON_VALUES)
def test_the_encoder_writes_what_json_writes(value: object) -> None:
    expected = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert encode_json(value) == expected.encode("utf-8", "backslashreplace")


@pytest.fixture
def without_c_encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    text_encoder.cache_clear()
    yield
    text_encoder.cache_clear()


@pytest.mark.usefixtures("without_c_encoder")
def test_without_the_c_encoder_the_answers_are_the_same() -> None:
    assert (
        encode_json([Line("é\ud800", Decimal(1))]) == '[{"name":"é\\ud800","price":"1"}]'.encode()
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json(float("nan"))
    for value in circular_values():
        with pytest.raises(ValueError, match="got a circular reference"):
            encode_json(value)


def test_the_integer_limit_of_the_process_is_followed() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(700)
    try:
        detail = refusal_of(b"[" + b"1" * 701 + b"]")
    finally:
        sys.set_int_max_str_digits(before)
    assert detail == (
        "not JSON at line 1, column 2: expected an integer of at most 700 digits, got 701"
    )
