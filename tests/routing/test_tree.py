from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import BadRequest, ConfigurationError, RouteConflict
from microweb.routing.patterns import BUILT_IN, Converter, Parameter, parse_pattern
from microweb.routing.tree import Found, Missed, RouteTree, Scopes

OWN = {
    **BUILT_IN,
    "date": Converter("date", r"[0-9-]{10}", date.fromisoformat),
    "slug": Converter("slug", r"[a-z0-9-]+", str),
}
ID = "6f1c3d1e-5b1a-4f61-9c55-1d2f3a4b5c6d"
NOT_FOUND = Missed(())
NOT_FOUND_NOW = Missed((), is_repeatable=False)  # a converter of the application decided it


def tree_of(*lines: str, converters: Mapping[str, Converter] = OWN) -> RouteTree[str]:
    """Return a tree of lines such as "GET,POST /users/{id}"; each line is its own value."""
    tree: RouteTree[str] = RouteTree()
    for line in lines:
        methods, path = line.split(" ")
        tree.add(parse_pattern(path, converters), methods.split(","), line)
    return tree


def found(tree: RouteTree[str], path: str, method: str = "GET") -> str | None:
    result = tree.find(method, path)
    return result.value if isinstance(result, Found) else None


# --- finding --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/b", "/a//b", "/caf%C3%A9"])
def test_literal_path_is_found(path: str) -> None:
    assert tree_of(f"GET {path}").find("GET", path) == Found(f"GET {path}", {})


@pytest.mark.parametrize("path", ["/", "/A", "/a/", "//a", "/a/b", "/ab", "a", "", "*", "x/a"])
def test_other_path_is_not_found(path: str) -> None:
    assert tree_of("GET /a").find("GET", path) == NOT_FOUND


def test_empty_tree_finds_nothing() -> None:
    assert tree_of().find("GET", "/") == NOT_FOUND


def test_parameters_are_converted_and_in_order() -> None:
    tree = tree_of("GET /{z:int}/x/{a}/{m:float}")
    result = tree.find("GET", "/-3/x/bob/1.5")
    assert isinstance(result, Found)
    assert list(result.params.items()) == [("z", -3), ("a", "bob"), ("m", 1.5)]


def test_params_of_two_requests_are_not_shared() -> None:
    tree = tree_of("GET /a")
    first = tree.find("GET", "/a")
    assert isinstance(first, Found)
    first.params["x"] = 1
    assert tree.find("GET", "/a") == Found("GET /a", {})


@pytest.mark.parametrize("path", ["/a//b", "/a/", "//"])
def test_empty_segment_is_no_str(path: str) -> None:
    assert found(tree_of("GET /a/{x}/b", "GET /a/{x}", "GET /{x}/{y}"), path) is None


def test_number_that_int_can_not_hold_is_not_found() -> None:
    for digits in ("9" * 19, "9" * 5000):
        assert tree_of("GET /{n:int}").find("GET", "/" + digits) == NOT_FOUND


def test_own_converter_that_raises_value_error_does_not_match() -> None:
    tree = tree_of("GET /{day:date}", "GET /{any}")
    day = Found("GET /{day:date}", {"day": date(2024, 2, 29)}, is_repeatable=False)
    assert tree.find("GET", "/2024-02-29") == day
    other = Found("GET /{any}", {"any": "2024-02-30"}, is_repeatable=False)
    assert tree.find("GET", "/2024-02-30") == other
    assert tree.find("GET", "/2024") == Found("GET /{any}", {"any": "2024"})


def test_own_converter_is_not_asked_where_a_literal_answers() -> None:
    def fail(text: str) -> object:
        raise AssertionError(f"asked for {text!r}")

    converters = {**BUILT_IN, "own": Converter("own", ".+", fail)}
    tree = tree_of("GET /{x:own}/b", "GET /a/b", "GET /a/{y}", converters=converters)
    assert found(tree, "/a/c") == "GET /a/{y}"


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/files/a", "a"),
        ("/files/a/b", "a/b"),
        ("/files/a/", "a/"),
        ("/files//a", "/a"),
        ("/files/a%2Fb/%C3%A9", "a/b/é"),
        ("/files/../x", "../x"),
    ],
)
def test_path_takes_the_rest(path: str, rest: str) -> None:
    assert tree_of("GET /files/{rest:path}").find("GET", path) == Found(
        "GET /files/{rest:path}", {"rest": rest}
    )


@pytest.mark.parametrize("path", ["/files", "/files/", "/file"])
def test_path_is_not_empty(path: str) -> None:
    assert tree_of("GET /files/{rest:path}").find("GET", path) == NOT_FOUND


# --- escapes --------------------------------------------------------------------------


def test_escaped_slash_stays_inside_its_segment() -> None:
    tree = tree_of("GET /{x}", "GET /a/b", "GET /c%2Fd")
    assert tree.find("GET", "/a%2Fb") == Found("GET /{x}", {"x": "a/b"})
    assert found(tree, "/c%2fd") == "GET /c%2Fd"
    assert found(tree, "/c/d") is None


@pytest.mark.parametrize("path", ["/caf%C3%A9", "/caf%c3%a9", "/%63af%C3%A9"])
@pytest.mark.parametrize("line", ["GET /café", "GET /caf%C3%A9"])
def test_literals_are_compared_decoded(line: str, path: str) -> None:
    assert found(tree_of(line), path) == line


def test_escape_is_decoded_once() -> None:
    tree = tree_of("GET /%2541", "GET /A")
    assert found(tree, "/%2541") == "GET /%2541"
    assert found(tree, "/%41") == "GET /A"


def test_parameter_is_unicode() -> None:
    result = tree_of("GET /{x}").find("GET", "/%F0%9F%90%8D%20")
    assert result == Found("GET /{x}", {"x": "🐍 "})


@pytest.mark.parametrize("segment", ["%", "%4", "%zz", "%FF", "%C3", "%C0%AF", "%ED%A0%80", "%+1"])
@pytest.mark.parametrize("place", ["/{}", "/a/{}", "/nothing/here/{}/x"])
def test_broken_escape_is_a_bad_request_wherever_it_is(segment: str, place: str) -> None:
    with pytest.raises(BadRequest) as caught:
        tree_of("GET /{x}", "GET /a/{y}").find("GET", place.format(segment))
    assert caught.value.detail == "the path has a broken escape, or one that is not UTF-8"


@pytest.mark.parametrize("path", ["/a/../b", "/a/./b", "/b/", "/a/%2e%2e/b", "/./b"])
def test_dot_segments_are_not_normalised(path: str) -> None:
    assert tree_of("GET /b").find("GET", path) == NOT_FOUND


# --- precedence -----------------------------------------------------------------------

BY_RANK = ["a", "{x:uuid}", "{x:int}", "{x:float}", "{x:date}", "{x:slug}", "{x}", "{x:path}"]


@pytest.mark.parametrize(
    ("segment", "winner"),
    [
        ("a", "a"),
        (ID, "{x:uuid}"),
        ("12", "{x:int}"),
        ("1.5", "{x:float}"),
        ("2024-01-01", "{x:date}"),
        ("2024-99-99", "{x:slug}"),
        ("A", "{x}"),
        ("A/b", "{x:path}"),
    ],
)
def test_most_specific_wins_in_any_order_of_registration(segment: str, winner: str) -> None:
    lines = [f"GET /{pattern}" for pattern in BY_RANK]
    for order in (lines, lines[::-1], lines[3:] + lines[:3]):
        assert found(tree_of(*order), f"/{segment}") == f"GET /{winner}"


def test_converter_registered_after_a_str_route_stands_before_it() -> None:
    tree: RouteTree[str] = RouteTree()
    tree.add(parse_pattern("/{x}", BUILT_IN), ["GET"], "str")
    tree.add(parse_pattern("/{x:date}", OWN), ["GET"], "date")
    assert found(tree, "/2024-01-01") == "date"


def test_first_segment_decides_before_the_second() -> None:
    tree = tree_of("GET /{x}/b", "GET /a/{y}")
    assert found(tree, "/a/b") == "GET /a/{y}"


def test_search_backtracks() -> None:
    tree = tree_of("GET /a/{x:int}/b", "GET /a/{y}/c", "GET /{z}/1/d", "GET /{rest:path}")
    assert tree.find("GET", "/a/1/b") == Found("GET /a/{x:int}/b", {"x": 1})
    assert tree.find("GET", "/a/1/c") == Found("GET /a/{y}/c", {"y": "1"})
    assert tree.find("GET", "/a/1/d") == Found("GET /{z}/1/d", {"z": "a"})
    assert tree.find("GET", "/a/1/e") == Found("GET /{rest:path}", {"rest": "a/1/e"})


def naive_find(lines: list[str], path: str) -> str | None:
    """Return the line with the most specific shape that matches, by trying all lines."""

    def shape(line: str) -> list[int]:
        segments = parse_pattern(line.removeprefix("GET "), OWN).segments
        return [s.rank if isinstance(s, Parameter) else -1 for s in segments]

    def matches(line: str) -> bool:
        segments, given = (
            parse_pattern(line.removeprefix("GET "), OWN).segments,
            path.split("/")[1:],
        )
        for segment in segments:
            if not given:
                return False
            text = given.pop(0)
            if isinstance(segment, str):
                if segment != text:
                    return False
                continue
            if segment.takes_rest:
                text, given = "/".join([text, *given]), []
            if not segment.converter.matches(text):
                return False
        return not given

    return min(filter(matches, lines), key=shape, default=None)


segments = st.sampled_from(["a", "b", "1", "{%s:int}", "{%s:float}", "{%s}"])
lines = st.lists(segments, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(["", "/{rest:path}"]).map(
        lambda rest: (
            "GET " + "".join("/" + p.replace("%s", f"p{i}") for i, p in enumerate(parts)) + rest
        )
    )
)


@given(
    st.lists(lines, unique=True, max_size=12).flatmap(st.permutations),
    st.lists(st.sampled_from(["a", "b", "1", "1.5", ""]), min_size=1, max_size=5),
)
def test_tree_agrees_with_trying_all_patterns(order: list[str], parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert found(tree_of(*order), path) == naive_find(order, path)


@given(st.text(min_size=1))
def test_written_path_is_found_with_the_same_value(text: str) -> None:
    for path in ("/u/{x}", "/u/{x:path}"):
        pattern = parse_pattern(path)
        tree: RouteTree[str] = RouteTree()
        tree.add(pattern, ["GET"], "it")
        try:
            written = pattern.format({"x": text})
        except ValueError:
            continue
        assert tree.find("GET", written) == Found("it", {"x": text})


# --- reserved prefixes ----------------------------------------------------------------


def test_parameters_do_not_match_below_a_reserved_prefix() -> None:
    tree = tree_of(
        "GET /{rest:path}", "GET /{a}/{b}", "GET /api/x", "POST /api/{c}", "GET /api/v2/{d}"
    )
    tree.reserve(parse_pattern("/api"))
    tree.reserve(parse_pattern("/api/v2"))
    assert found(tree, "/api/x") == "GET /api/x"
    assert found(tree, "/api/v2/y") == "GET /api/v2/{d}"
    assert found(tree, "/apis/y") == "GET /{a}/{b}"
    assert found(tree, "/other") == "GET /{rest:path}"
    assert tree.find("GET", "/api") == NOT_FOUND
    assert tree.find("GET", "/%61pi/y") == Missed(("OPTIONS", "POST"))
    assert tree.find("PUT", "/api/y/z") == NOT_FOUND
    assert tree.find("POST", "/api/v2") == NOT_FOUND  # of the inner prefix alone


# --- methods --------------------------------------------------------------------------


def test_other_method_is_told_what_is_allowed() -> None:
    tree = tree_of("POST,PUT /a")
    assert tree.find("DELETE", "/a") == Missed(("OPTIONS", "POST", "PUT"))


def test_allowed_has_head_beside_get() -> None:
    assert tree_of("GET /a").find("POST", "/a") == Missed(("GET", "HEAD", "OPTIONS"))


def test_less_specific_pattern_that_has_the_method_answers() -> None:
    tree = tree_of("GET /users/me", "POST /users/{name}", "DELETE /users/{id:int}")
    assert tree.find("POST", "/users/me") == Found("POST /users/{name}", {"name": "me"})
    assert tree.find("POST", "/users/7") == Found("POST /users/{name}", {"name": "7"})


def test_allowed_is_of_all_patterns_that_match() -> None:
    tree = tree_of("GET /u/me", "POST /u/{name}", "PUT /{rest:path}", "PATCH /u/{id:int}")
    assert tree.find("DELETE", "/u/me") == Missed(("GET", "HEAD", "OPTIONS", "POST", "PUT"))
    assert tree.find("DELETE", "/u/1") == Missed(("OPTIONS", "PATCH", "POST", "PUT"))


def test_get_answers_head() -> None:
    tree = tree_of("GET /a", "GET /u/{id}")
    assert tree.find("HEAD", "/a") == Found("GET /a", {})
    assert tree.find("HEAD", "/u/1") == Found("GET /u/{id}", {"id": "1"})


def test_head_of_the_same_shape_goes_before_get() -> None:
    for order in itertools.permutations(["GET /{a}", "HEAD /{b}"]):
        assert tree_of(*order).find("HEAD", "/x") == Found("HEAD /{b}", {"b": "x"})


def test_head_of_a_more_specific_shape_goes_before_get() -> None:
    assert found(tree_of("GET /{a}", "HEAD /x"), "/x", "HEAD") == "HEAD /x"


def test_get_of_a_more_specific_shape_goes_before_head() -> None:
    assert found(tree_of("GET /x", "HEAD /{a}"), "/x", "HEAD") == "GET /x"


def test_head_alone_does_not_allow_get() -> None:
    assert tree_of("HEAD /a").find("GET", "/a") == Missed(("HEAD", "OPTIONS"))


def test_post_does_not_answer_head() -> None:
    assert tree_of("POST /a").find("HEAD", "/a") == Missed(("OPTIONS", "POST"))


def test_options_is_found_only_where_it_is_registered() -> None:
    tree = tree_of("GET /a", "OPTIONS /b")
    assert tree.find("OPTIONS", "/a") == Missed(("GET", "HEAD", "OPTIONS"))
    assert found(tree, "/b", "OPTIONS") == "OPTIONS /b"
    assert tree.find("OPTIONS", "*") == NOT_FOUND


def test_names_may_differ_by_method() -> None:
    tree = tree_of("GET /u/{id:int}", "POST /u/{number:int}")
    assert tree.find("GET", "/u/1") == Found("GET /u/{id:int}", {"id": 1})
    assert tree.find("POST", "/u/1") == Found("POST /u/{number:int}", {"number": 1})


# --- conflicts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET /a", "GET /a"),
        ("GET,POST /a", "PUT,GET /a"),
        ("GET /{x:int}/b", "GET /{y:int}/b"),
        ("GET /{x}", "GET /{y:str}"),
        ("GET /café", "GET /caf%C3%A9"),
    ],
)
def test_same_shape_and_method_is_a_conflict_that_names_both(one: str, other: str) -> None:
    with pytest.raises(RouteConflict) as caught:
        tree_of(one, other)
    assert str(caught.value) == (
        f"{one} and {other} both answer GET at the same shape of path: "
        "change the path or the methods of one"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET /a", "POST /a"),
        ("GET /a", "HEAD /a"),
        ("GET /a", "GET /a/"),
        ("GET /{x}", "GET /{x:int}"),
        ("GET /{x}", "GET /{x:path}"),
        ("GET /int", "GET /{x:int}"),
        ("GET /a%2Fb", "GET /a/b"),
    ],
)
def test_other_shape_or_method_is_no_conflict(one: str, other: str) -> None:
    tree_of(one, other)


def test_conflict_adds_nothing() -> None:
    tree = tree_of("GET /a")
    with pytest.raises(RouteConflict):
        tree.add(parse_pattern("/a"), ["POST", "GET"], "second")
    assert tree.find("POST", "/a") == Missed(("GET", "HEAD", "OPTIONS"))


# --- cost -----------------------------------------------------------------------------


class Counted:
    """A converter that matches anything and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, text: str) -> str:
        self.calls += 1
        return text


def counted_tree(paths: Iterable[str]) -> tuple[RouteTree[str], Counted]:
    counted = Counted()
    converters = {**BUILT_IN} | {name: Converter(name, ".*", counted) for name in ("p", "q")}
    return tree_of(*(f"GET {path}" for path in paths), converters=converters), counted


def test_search_meets_each_node_once_however_hostile_the_path() -> None:
    depth = 8  # two converters at each of eight places: 2 + 4 + ... + 256 nodes, all of them match
    paths = [
        "/" + "/".join(f"{{x{place}:{name}}}" for place, name in enumerate(names)) + "/end"
        for names in itertools.product("pq", repeat=depth)
    ]
    tree, counted = counted_tree(paths)
    assert tree.find("GET", "/x" * depth + "/other") == NOT_FOUND_NOW
    assert counted.calls == 2 ** (depth + 1) - 2


def test_deep_path_costs_one_step_per_node() -> None:
    paths = ["".join(f"/{{x{i}:p}}" for i in range(n)) + "/end" for n in range(1, 201)]
    tree, counted = counted_tree(paths)
    assert tree.find("GET", "/x" * 200) == NOT_FOUND_NOW
    assert counted.calls == 200


def test_path_deeper_than_every_pattern_ends_with_the_patterns() -> None:
    tree, counted = counted_tree(["/{a:p}/{b:p}/{c:q}"])
    assert tree.find("GET", "/" * 16_000) == NOT_FOUND_NOW
    assert counted.calls == 3


def test_routes_with_other_literals_are_not_tried() -> None:
    tree, counted = counted_tree(f"/r{n}/{{x:p}}/{{y:q}}" for n in range(1000))
    assert found(tree, "/r999/a/b") == "GET /r999/{x:p}/{y:q}"
    assert counted.calls == 2


# --- scopes ---------------------------------------------------------------------------


def scopes_of(*prefixes: str) -> Scopes[str]:
    scopes: Scopes[str] = Scopes()
    for prefix in prefixes:
        scopes.add(parse_pattern(prefix), prefix)
    return scopes


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/admin", "/admin"),
        ("/admin/", "/admin"),
        ("/admin/x/y", "/admin"),
        ("/%61dmin/x", "/admin"),
        ("/admin/%zz", "/admin"),
        ("/admin/deep", "/admin/deep"),
        ("/admin/deep/er", "/admin/deep"),
        ("/admin/deeper", "/admin"),
        ("/administrator", None),
        ("/admin%2Fx", None),
        ("/x/admin", None),
        ("/%zz", None),
        ("/", None),
        ("*", None),
    ],
)
def test_scope_is_the_deepest_that_the_path_lies_in(path: str, scope: str | None) -> None:
    for order in (("/admin", "/admin/deep"), ("/admin/deep", "/admin")):
        assert scopes_of(*order).find(path) == scope


def test_root_scope_has_all_paths() -> None:
    scopes = scopes_of("/", "/admin/")
    assert scopes.find("/x/y") == "/"
    assert scopes.find("/admin/x") == "/admin/"


def test_scope_is_taken_once() -> None:
    with pytest.raises(RouteConflict, match="/a and /a/ both have the prefix '/a/': change one"):
        scopes_of("/a", "/a/")


def test_scope_has_no_parameters() -> None:
    with pytest.raises(ConfigurationError, match=r"prefix '/\{x\}': leave the parameters out"):
        scopes_of("/{x}")
