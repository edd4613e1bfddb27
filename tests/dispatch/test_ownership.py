"""Who holds a response, counted by its references."""

from __future__ import annotations

import pytest

from microweb.dispatch.ownership import RESPONSE_CLASSES, is_held_once
from microweb.response import Response, plain_response


def is_ours_alone(made: list[Response]) -> bool:
    """Return whether only the two variables here refer to the response taken out of `made`."""
    response = value = made.pop()
    found = is_held_once(response)
    assert response is value
    return found


def test_response_in_two_variables_is_held_once() -> None:
    assert is_ours_alone([plain_response(b"a", "text/plain")])


def test_response_that_is_kept_is_held_more_than_once() -> None:
    response = plain_response(b"a", "text/plain")
    assert not is_ours_alone([response])
    assert response.body == b"a"


def test_response_whose_fields_are_kept_is_held_more_than_once() -> None:
    made = [plain_response(b"a", "text/plain")]
    made[0].headers["X"] = "y"
    kept = made[0].headers
    assert not is_ours_alone(made)
    assert kept["X"] == "y"


def test_response_with_fields_of_its_own_is_held_once() -> None:
    made = [plain_response(b"a", "text/plain")]
    made[0].headers["X"] = "y"
    assert is_ours_alone(made)


def test_response_that_was_handed_on_is_not_held_once() -> None:
    made = [plain_response(b"a", "text/plain")]
    made[0].hand_on()
    assert not is_ours_alone(made)


@pytest.mark.parametrize("kind", [Response, type("Own", (Response,), {})])
def test_response_of_another_class_is_copied(kind: type[Response]) -> None:
    assert not is_ours_alone([kind("a")])


def test_exact_classes_of_responses_are_found_first() -> None:
    assert {type(plain_response(b"", "text/plain")), Response} == set(RESPONSE_CLASSES)
