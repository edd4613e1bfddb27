from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import ConfigurationError
from microweb.routing.patterns import BUILT_IN, Converter, Parameter, names_in, parse_pattern

DATE = Converter("date", r"[0-9]{4}-[0-9]{2}-[0-9]{2}", date.fromisoformat, date.isoformat)
ID = "6f1c3d1e-5b1a-4f61-9c55-1d2f3a4b5c6d"
MAX, MIN = str(2**63 - 1), str(-(2**63))


def accepts(converter: str, text: str) -> bool:
    return BUILT_IN[converter].matches(text) is not None


# --- converters -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "-1", "007", MAX, f"-{MAX}"])
def test_int_takes_ascii_digits(text: str) -> None:
    assert accepts("int", text)


@pytest.mark.parametrize("text", ["", "+1", "1.0", "1_0", " 1", "1\n", "٣", "--1", "9" * 20])
def test_int_refuses_what_is_no_plain_number(text: str) -> None:
    assert not accepts("int", text)


@pytest.mark.parametrize(("text", "value"), [("007", 7), (MAX, 2**63 - 1), (MIN, -(2**63))])
def test_int_has_64_bits(text: str, value: int) -> None:
    assert accepts("int", text)
    assert BUILT_IN["int"].parse(text) == value


@pytest.mark.parametrize("text", [str(2**63), str(-(2**63) - 1), "9" * 19])
def test_int_of_more_bits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"expected an integer of 64 bits, got '{text}'"):
        BUILT_IN["int"].parse(text)


@pytest.mark.parametrize("text", ["0", "-1.5", "10.25", "9" * 308, "0." + "1" * 400])
def test_float_takes_digits_with_an_optional_fraction(text: str) -> None:
    assert accepts("float", text)
    assert abs(float(text)) != float("inf")


@pytest.mark.parametrize("text", ["", ".5", "1.", "1e5", "nan", "inf", "1.5\n", "1.٣", "9" * 309])
def test_float_refuses_exponents_and_what_is_not_finite(text: str) -> None:
    assert not accepts("float", text)


@pytest.mark.parametrize("text", [ID, ID.upper()])
def test_uuid_takes_the_canonical_form_in_either_case(text: str) -> None:
    assert accepts("uuid", text)
    assert BUILT_IN["uuid"].parse(text) == UUID(ID)


@pytest.mark.parametrize(
    "text", ["", ID.replace("-", ""), "{" + ID + "}", "urn:uuid:" + ID, ID + "0"]
)
def test_uuid_refuses_other_forms(text: str) -> None:
    assert not accepts("uuid", text)


def test_str_takes_all_but_the_empty_segment() -> None:
    assert accepts("str", "a/b\n\0é")
    assert not accepts("str", "")


def test_converter_needs_a_regex() -> None:
    with pytest.raises(ConfigurationError, match=r"converter 'x': correct its regex '\('"):
        Converter("x", "(", str)


def test_converter_needs_an_identifier_as_name() -> None:
    with pytest.raises(ConfigurationError, match=r"expected an identifier .*, got 'a-b'$"):
        Converter("a-b", ".+", str)


def test_built_in_converters_stand_in_order_of_priority() -> None:
    assert list(BUILT_IN) == ["uuid", "int", "float", "str", "path"]


# --- parsing --------------------------------------------------------------------------


def test_segments_are_literals_and_parameters() -> None:
    pattern = parse_pattern("/users/{id:int}/files/{rest:path}")
    names = [p.name if isinstance(p, Parameter) else p for p in pattern.segments]
    assert names == ["users", "id", "files", "rest"]
    assert list(pattern.parameters.items()) == [("id", "int"), ("rest", "path")]


def test_root_is_one_empty_segment() -> None:
    assert parse_pattern("/").segments == ("",)


def test_trailing_slash_is_an_empty_segment() -> None:
    assert parse_pattern("/a/").segments == ("a", "")


def test_literals_are_decoded() -> None:
    assert parse_pattern("/caf%C3%A9/a%2Fb/%7Bx%7D/é").segments == ("café", "a/b", "{x}", "é")


def test_parameter_without_converter_is_str() -> None:
    assert parse_pattern("/{id}").parameters == {"id": "str"}


def test_default_converter_of_a_name_comes_from_the_caller() -> None:
    pattern = parse_pattern("/{id}/{n:float}", BUILT_IN, {"id": "int", "n": "int", "other": "uuid"})
    assert pattern.parameters == {"id": "int", "n": "float"}


def test_names_are_known_before_the_path_is_parsed() -> None:
    assert names_in("/{id}/a/{number:unknown}") == ["id", "number"]
    assert names_in("/a/{b") == []


def test_ranks_of_one_converter_never_change() -> None:
    def rank(path: str, converters: Mapping[str, Converter]) -> int:
        (parameter,) = parse_pattern(path, converters).segments
        assert isinstance(parameter, Parameter)
        return parameter.rank

    later = {**BUILT_IN, "date": DATE}
    assert rank("/{x:float}", later) < rank("/{x:date}", later) < rank("/{x}", BUILT_IN)
    assert rank("/{x}", BUILT_IN) == rank("/{x}", later) < rank("/{x:path}", BUILT_IN)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("", "write '/'; only a Router with a prefix has a route at ''"),
        ("users", "begin it with '/'"),
        ("{id}", "begin it with '/'"),
        ("//evil", "begin it with one '/': browsers read '//name' as another host"),
        ("/a?b=1", "leave the query and fragment out (a literal '?' is %3F, '#' is %23)"),
        ("/a#b", "leave the query and fragment out (a literal '?' is %3F, '#' is %23)"),
        (
            "/a{b}",
            "write 'a{b}' as a whole segment, '{name}' or '{name:converter}' "
            "(a literal '{' is %7B, '}' is %7D)",
        ),
        ("/{1x}", "name the parameter '{1x}' with an identifier that is not a keyword"),
        ("/{}", "name the parameter '{}' with an identifier that is not a keyword"),
        ("/{class}", "name the parameter '{class}' with an identifier that is not a keyword"),
        (
            "/{id:number}",
            "register the converter 'number' of '{id:number}', or use one of "
            "uuid, int, float, str, path",
        ),
        ("/{id}/x/{id:int}", "'id' is there twice: give each parameter its own name"),
        ("/{rest:path}/edit", "'rest' matches all remaining segments: make it the last"),
        ("/{rest:path}/", "'rest' matches all remaining segments: make it the last"),
        (
            "/100%",
            "correct the escape in '100%': '%' and two hex digits, UTF-8 (a '%' is %25)",
        ),
        ("/%FF", "correct the escape in '%FF': '%' and two hex digits, UTF-8 (a '%' is %25)"),
        ("/a/../b", "leave the segment '..' out: clients resolve it before they send it"),
        ("/%2e", "leave the segment '%2e' out: clients resolve it before they send it"),
    ],
)
def test_wrong_path_names_itself_and_the_remedy(path: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_pattern(path)
    assert str(caught.value) == f"route path {path!r}: {remedy}"


@pytest.mark.parametrize(
    "raw", ["{", "}", "{a", "a}", "{a}}", "{{a}", "{a}{b}", "{a:int}-{b}", "{a:{b}}"]
)
def test_braces_are_balanced_and_around_a_whole_segment(raw: str) -> None:
    with pytest.raises(ConfigurationError, match="as a whole segment"):
        parse_pattern("/x/" + raw)


@pytest.mark.parametrize("raw", ["{a:}", "{a: int}", "{a:int:int}"])
def test_converter_name_is_exact(raw: str) -> None:
    with pytest.raises(ConfigurationError, match="register the converter"):
        parse_pattern("/" + raw)


def test_path_by_default_has_to_be_last_too() -> None:
    with pytest.raises(ConfigurationError, match=r"make it the last$"):
        parse_pattern("/{rest}/x", BUILT_IN, {"rest": "path"})


# --- writing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "written"),
    [
        ("/", {}, "/"),
        ("/a/", {}, "/a/"),
        ("/café", {}, "/caf%C3%A9"),
        ("/%7Bx%7D", {}, "/%7Bx%7D"),
        ("/u/{id:int}", {"id": -7}, "/u/-7"),
        ("/u/{id:int}", {"id": 2**63 - 1}, "/u/" + MAX),
        ("/u/{id:uuid}", {"id": UUID(ID)}, "/u/" + ID),
        ("/u/{id:uuid}", {"id": ID.upper()}, "/u/" + ID),
        ("/u/{id:uuid}", {"id": UUID(ID).hex}, "/u/" + ID),
        ("/u/{name}", {"name": "a/b ?#%é"}, "/u/a%2Fb%20%3F%23%25%C3%A9"),
        ("/u/{name}", {"name": 5}, "/u/5"),
        ("/u/{x:float}", {"x": 1.5}, "/u/1.5"),
        ("/u/{x:float}", {"x": 3}, "/u/3.0"),
        ("/u/{x:float}", {"x": 1e-07}, "/u/0.0000001"),
        ("/f/{rest:path}", {"rest": "a b/c/"}, "/f/a%20b/c/"),
        ("/{a}/{b}", {"b": "2", "a": "1"}, "/1/2"),
    ],
)
def test_written_path(path: str, params: dict[str, object], written: str) -> None:
    assert parse_pattern(path).format(params) == written


def test_own_converter_writes_its_values() -> None:
    pattern = parse_pattern("/on/{day:date}", {**BUILT_IN, "date": DATE})
    assert pattern.format({"day": date(2024, 2, 29)}) == "/on/2024-02-29"


@pytest.mark.parametrize("params", [{}, {"nmae": "x"}, {"name": "x", "more": "y"}])
def test_missing_and_unknown_parameters_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"expected the parameters \(name\) for '/u/\{name\}', got"):
        parse_pattern("/u/{name}").format(params)


def test_none_is_no_value() -> None:
    with pytest.raises(TypeError, match="expected a value for the path parameter 'name', got None"):
        parse_pattern("/u/{name}").format({"name": None})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/u/{x:int}", "seven"),
        ("/u/{x:int}", 1.5),
        ("/u/{x:int}", True),
        ("/u/{x:int}", 10**19),
        ("/u/{x:float}", float("nan")),
        ("/u/{x:float}", float("inf")),
        ("/u/{x:uuid}", "1"),
        ("/u/{x}", ""),
        ("/u/{x:path}", ""),
    ],
)
def test_value_that_would_not_be_read_is_refused(path: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"expected \w+ for the path parameter 'x', got"):
        parse_pattern(path).format({"x": value})


def test_int_that_would_not_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an integer of 64 bits, got"):
        parse_pattern("/u/{x:int}").format({"x": 2**63})


def test_value_that_parse_refuses_is_refused() -> None:
    sure = Converter("date", DATE.pattern, date.fromisoformat)
    pattern = parse_pattern("/on/{day:date}", {**BUILT_IN, "date": sure})
    with pytest.raises(ValueError, match="month must be in"):
        pattern.format({"day": "2024-13-01"})


@pytest.mark.parametrize(
    ("path", "value"),
    [("/{x}", "."), ("/{x}", ".."), ("/{x:path}", ".."), ("/{x:path}", "a/../b")],
)
def test_dot_segments_are_never_written(path: str, value: str) -> None:
    with pytest.raises(ValueError, match="clients resolve it to another path"):
        parse_pattern(path).format({"x": value})


def test_another_host_is_never_written() -> None:
    with pytest.raises(ValueError, match="expected one leading '/'"):
        parse_pattern("/{rest:path}").format({"rest": "/evil.example"})
    anything = {**BUILT_IN, "any": Converter("any", ".*", str)}
    with pytest.raises(ValueError, match="expected one leading '/'"):
        parse_pattern("/{a:any}/{b}", anything).format({"a": "", "b": "evil.example"})
    assert parse_pattern("/{name}").format({"name": "/evil"}) == "/%2Fevil"
    assert parse_pattern("/{name}").format({"name": "\\evil"}) == "/%5Cevil"


@given(st.text())
def test_what_is_written_is_a_path_of_this_origin_in_ascii(text: str) -> None:
    for path in ("/{x}", "/{x:path}"):
        try:
            written = parse_pattern(path).format({"x": text})
        except ValueError:
            continue
        assert written.isascii()
        assert written.startswith("/")
        assert not written.startswith(("//", "/\\"))
        assert not set(written) & set(' ?#\r\n\\"<>')
