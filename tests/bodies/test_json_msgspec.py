"""JSON by msgspec: the same bytes, values and refusals as without it."""

from __future__ import annotations

import enum
import gc
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.bodies import json_msgspec
from microweb.bodies.json import encode_json, parse_json
from microweb.bodies.json_containers import JSONArray, JSONObject
from microweb.errors import BadRequest

pytest.importorskip("msgspec")
CODEC = json_msgspec.import_codec()
assert CODEC is not None


class Text(str):
    pass


class Number(int):
    pass


class Fraction(float):
    pass


class Table(dict[str, object]):
    pass


class Objects(JSONObject):
    __slots__ = ()


class Arrays(JSONArray):
    __slots__ = ()


class Pair(NamedTuple):
    left: int
    right: int


class Color(enum.StrEnum):
    RED = "red"


@dataclass
class User:
    name: str


@dataclass
class Order:
    id: object
    user: object = None
    rest: object = ()


class Level(Order, enum.Enum):
    LOW = 1, "low"


@dataclass(init=False)
class Day(date):
    note: str = "a"


@dataclass(init=False)
class Tags(dict[str, int]):
    note: str = "a"


@dataclass(init=False)
class Words(list[str]):
    note: str = "a"


@dataclass(init=False)
class Title(str):
    note: str = "a"


@dataclass(init=False)
class Both(tuple[int, ...]):
    note: str = "a"


@dataclass(init=False)
class Amount(int):
    note: str = "a"


TEXTS = st.text(st.characters(codec=None, exclude_categories=()))  # with lone surrogates
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.floats(1e-7, 1e17)
OTHERS = st.sampled_from(
    [
        Text("a"),
        Number(1),
        Fraction(2.5),
        Table(a=1),
        Pair(1, 2),
        Color.RED,
        User("Ada"),
        UUID(int=1),
        Decimal("1.50"),
        datetime(2026, 1, 2, tzinfo=UTC),
        b"ab",
        {1, 2},
        JSONObject(a=1),
        bytearray(b"a"),
        1j,
        10**400,
    ]
)
KEYS = TEXTS | st.integers() | st.booleans() | st.none() | st.floats() | st.just(Text("key"))


def containers_of(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> Any:
    return st.recursive(
        st.lists(scalars) | st.dictionaries(keys, scalars),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(keys, inner | scalars)
            | st.lists(st.dictionaries(keys, scalars))
        ),
        max_leaves=12,
    )


@pytest.fixture
def without_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_msgspec, "msgspec_codec", lambda: None)


def outcome(function: Any, *arguments: Any) -> object:
    """Return the value or the refusal of a call, so that they can be compared."""
    try:
        return function(*arguments)
    except (BadRequest, TypeError, ValueError) as error:
        return type(error), str(error)


def with_types(value: object) -> object:
    if isinstance(value, dict):
        return type(value), [(key, with_types(each)) for key, each in value.items()]
    if isinstance(value, list):
        return type(value), [with_types(each) for each in value]
    return type(value), repr(value)


# --- values to bytes ------------------------------------------------------------------


@pytest.mark.usefixtures("without_msgspec")
@pytest.mark.parametrize("scalars", [SCALARS, SCALARS | OTHERS], ids=["JSON", "others"])
def test_same_bytes_or_left(scalars: st.SearchStrategy[Any]) -> None:
    @given(containers_of(scalars, TEXTS) | containers_of(scalars, KEYS))
    def check(value: Any) -> None:
        written = json_msgspec.write(CODEC, value)
        assert written is None or written == outcome(encode_json, value)

    check()


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"message": "Hello"},
        {"a": 1, "b": [1, 2], "c": {"d": None}, "e": -0.0, "f": 1e-4},
        [{"id": 1, "price": 9.99}, {"id": 2, "price": 0.0}],
        {"items": [{"id": 1}], "next": None},
        {"large": 10**400},
        JSONObject(a=JSONObject(b=[1]), c=1.5),
        JSONArray([JSONObject(a=1)]),
    ],
)
def test_common_shapes_are_written(value: object) -> None:
    assert json_msgspec.write(CODEC, value) == json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "value",
    [
        {"a": float("nan")},
        [float("inf")],
        [{"a": float("nan")}],
        [1e16],
        [-1e16],
        {"a": 1e-5},
        {"a": Text("b")},
        [Text("b")],
        {"a": [Pair(1, 2)]},
        {Text("a"): 1},
        [{Text("a"): 1}],
        {1: 2},
        {"a": User("Ada")},
        [User("Ada")],
        Table(a=1),
        {"a": Table(a=1)},
        [Table(a=1)],
        Objects(a=1),
        Arrays([1]),
        {"a": Arrays([1])},
        "text",
        {"a": "\ud800"},
    ],
    ids=repr,
)
def test_other_values_are_left(value: object) -> None:
    assert json_msgspec.write(CODEC, value) is None


@pytest.mark.parametrize(
    "value",
    [
        Order(1),
        Order(1, "Ada", [1, 2]),
        Order(1.5, User("Ada"), {"a": [1.0]}),
        Order(float("nan")),
        Order(1e16, None, JSONObject(a=1)),
        Order("\ud800", Color.RED),
        Order(1, 1j),
        Level.LOW,
        Day(2026, 1, 2),
        Tags(x=1),
        Words("ab"),
        Title("Ada"),
        Both((1, 2)),
        Amount(7),
        Order,
    ],
    ids=repr,
)
def test_object_of_a_dataclass_has_the_same_bytes(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_msgspec, "msgspec_codec", lambda: CODEC)
    written = outcome(encode_json, value), outcome(encode_json, [value])
    monkeypatch.setattr(json_msgspec, "msgspec_codec", lambda: None)
    assert written == (outcome(encode_json, value), outcome(encode_json, [value]))


def test_dict_that_contains_itself_is_left() -> None:
    value: dict[str, object] = {}
    value["self"] = value
    assert json_msgspec.write(CODEC, value) is None
    with pytest.raises(ValueError, match="circular"):
        encode_json(value)


# --- bytes to values ------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *b'[ ] { } , : " \\ 0 1 - . e E + t \n \x00 \x7f \xff'.split(b" "),
        *(b'"a":', b'"\\u0041"', b'"\\ud800"', b'"\\ud83d\\ude00"', b"null", b"true", b"1e999"),
        *(b"NaN", b"-Infinity", b"\xef\xbb\xbf", b"\xed\xa0\x80", "é".encode(), b"-0", b"01"),
        *(b"9" * 30, b"9" * 5000, b'{"a":1,"a":2}', b"[[]]", b'[{"a":[{}]}]', b"1.5e-7"),
    ]
)


@pytest.mark.usefixtures("without_msgspec")
@given(
    st.binary()
    | st.lists(PIECES).map(b"".join)
    | containers_of(SCALARS, st.text()).map(json.dumps).map(str.encode)
)
def test_same_value_or_left(data: bytes) -> None:
    read = json_msgspec.read(CODEC, data, JSONObject)
    if read is not json_msgspec.LEFT:
        assert with_types(read) == with_types(parse_json(data))
        plain = json_msgspec.read(CODEC, data, None)
        assert with_types(plain) == with_types(parse_json(data, plain=True))


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":{"b":{}}}',
        b'[{"a":1},{"a":2}]',
        b'[{"a":1},{"a":[{}]}]',
        b"[[1],[2]]",
        b"[[1],[{}]]",
        b'{"a":[1,{}],"b":2}',
        b' {"a":[[[{}]]]} ',
        b"[1.5,-0,1e5,null]",
        b'{"a":[[1],["b"]],"c":null}',
        b'{"{":1}',
        b'{"\\u007b":{"a":1}}',
    ],
)
def test_objects_are_made_at_any_depth(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read = json_msgspec.read(CODEC, data, JSONObject)
    assert read is not json_msgspec.LEFT
    monkeypatch.setattr(json_msgspec, "msgspec_codec", lambda: None)
    assert with_types(read) == with_types(parse_json(data))


@pytest.mark.parametrize(
    "data",
    [b"NaN", b"1e999", b'"\\ud800"', b"\xff", b"[1] 2", b"", b'"\n"', b"9" * 5000, b"[" * 10**5],
    ids=lambda data: repr(data[:10]),
)
def test_refusal_is_the_same(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json_msgspec.read(CODEC, data, JSONObject) is json_msgspec.LEFT
    monkeypatch.setattr(json_msgspec, "msgspec_codec", lambda: CODEC)
    refusal = outcome(parse_json, data)
    monkeypatch.setattr(json_msgspec, "msgspec_codec", lambda: None)
    assert refusal == outcome(parse_json, data)


def test_fewer_digits_are_refused_by_msgspec_too() -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert json_msgspec.read(CODEC, b"9" * 1000, JSONObject) is json_msgspec.LEFT
        assert json_msgspec.write(CODEC, [10**1000]) is None
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize("data", [b"[%b1]" % (b"1," * 20_000), b"[%b" % (b"1," * 20_000)])
def test_collector_is_on_after_a_long_text(data: bytes) -> None:
    json_msgspec.read(CODEC, data, JSONObject)
    assert gc.isenabled()


# --- whether it is used ---------------------------------------------------------------


def test_imported_at_first_use() -> None:
    code = (
        "import sys, microweb; from microweb.bodies.json import encode_json\n"
        "assert 'msgspec' not in sys.modules\n"
        "assert encode_json({'a': 1}) == b'{\"a\":1}'\n"
        "assert 'msgspec' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_not_installed() -> None:
    code = (
        "import sys; sys.modules['msgspec'] = None\n"
        "from microweb.bodies.json import encode_json, parse_json\n"
        "assert encode_json({'a': 1}) == b'{\"a\":1}'\n"
        "assert parse_json(b'[1]') == [1]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
