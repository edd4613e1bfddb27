"""The objects and arrays of a JSON body, and their missing keys."""

from __future__ import annotations

import pytest

from microweb.bodies.json_containers import JSONArray, JSONObject
from microweb.errors import MissingValue


def test_a_key_of_an_array_is_a_400_that_names_it() -> None:
    array = JSONArray([1, 2])
    assert (array[0], array[-1], array[:1]) == (1, 2, [1])
    with pytest.raises(MissingValue, match="key 'title'"):
        array["title"]
    with pytest.raises(IndexError):
        array[2]


def test_a_missing_key_of_an_object_is_a_400_that_names_it() -> None:
    value = JSONObject(a=None)
    assert (value["a"], value.get("b"), "b" in value) == (None, None, False)
    with pytest.raises(MissingValue, match="the key 'b' in the JSON object, got none") as caught:
        value["b"]
    assert caught.value.status == 400


def test_a_shown_key_is_cut() -> None:
    for value in (JSONObject(), JSONArray()):
        with pytest.raises(MissingValue) as caught:
            value["k" * 1000]
        assert len(caught.value.detail) < 200
