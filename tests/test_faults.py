"""Faults of a request: their text, their members in problem details, how many one answer names."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

from microweb.faults import (
    MAX_FAULTS,
    Fault,
    Source,
    body_fault,
    first_faults,
    json_of,
    texts_of,
)


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("body", "#/tags/1", "#/tags/1: missing"),
        ("query", "limit", "query parameter 'limit': missing"),
        ("path", "id", "path parameter 'id': missing"),
        ("header", "x-api-key", "header parameter 'x-api-key': missing"),
        ("cookie", "seen", "cookie 'seen': missing"),
    ],
)
def test_text_names_the_place(source: Source, name: str, text: str) -> None:
    assert str(Fault(source, name, "missing")) == text


def test_members_have_a_pointer_in_the_body_else_a_name() -> None:
    assert Fault("body", "#/a", "missing").members() == {
        "in": "body",
        "pointer": "#/a",
        "detail": "missing",
    }
    assert Fault("query", "a", "missing").members() == {
        "in": "query",
        "name": "a",
        "detail": "missing",
    }


def test_one_answer_names_twenty_faults() -> None:
    faults = [Fault("body", f"#/{number}", "missing") for number in range(MAX_FAULTS + 1)]
    assert first_faults(faults[:-1]) == (tuple(faults[:-1]), False)
    assert first_faults(faults) == (tuple(faults[:-1]), True)
    assert first_faults(iter(())) == ((), False)


def test_one_answer_names_faults_of_six_kibibytes() -> None:
    faults = [Fault("body", "#/" + "x" * 198, "é" * 400)] * 10
    kept, has_more = first_faults(faults)
    assert (len(kept), has_more) == (5, True)


def test_escapes_count() -> None:
    faults = [Fault("body", "#", '"' * 400)] * 10
    assert len(first_faults(faults)[0]) == 2


def test_a_single_fault_is_always_named() -> None:
    fault = Fault("body", "#", "x" * 10_000)
    assert first_faults([fault, fault]) == ((fault,), True)


@pytest.mark.parametrize(
    ("sources", "has_more", "summary"),
    [
        (["body"], False, "1 fault in the body"),
        (["body"] * 3, True, "3 faults in the body and more"),
        (["query"], False, "1 parameter at fault"),
        (["query", "header"], False, "2 parameters at fault"),
    ],
)
def test_summary_counts_them(sources: list[Source], has_more: bool, summary: str) -> None:
    faults = tuple(Fault(source, "a", "missing") for source in sources)
    lines = [str(fault) for fault in faults] + ["and more"] * has_more
    assert texts_of(faults, "", has_more) == (summary, "\n".join(lines))
    assert texts_of(faults, "no", has_more) == ("no", "\n".join(["no", *lines]))


def test_fault_of_a_body_is_a_fault() -> None:
    fault = body_fault("#/a", "missing")
    assert (fault, type(fault)) == (Fault("body", "#/a", "missing"), Fault)
    with pytest.raises(FrozenInstanceError):
        fault.name = "#/b"  # type: ignore[misc]


def test_json_has_the_members_of_each_fault() -> None:
    faults = (Fault("body", '#/"', "got \u00e9"), Fault("query", "a", "missing\n"))
    assert json.loads(json_of(faults)) == [fault.members() for fault in faults]
    assert json_of(()) == "[]"
