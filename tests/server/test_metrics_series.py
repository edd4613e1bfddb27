from __future__ import annotations

import random

import pytest

from microweb.server.metrics_series import (
    FAMILY,
    HISTOGRAM,
    OVERFLOW,
    SERIES,
    WORD,
    Definition,
    SeriesMemory,
    decode_labels,
    encode_labels,
    split_family,
)

ORDERS = Definition("orders", "counter", ("country",))


def memory(words: int = 1024) -> SeriesMemory:
    return SeriesMemory(memoryview(bytearray(words * WORD)).cast("Q"))


def test_definition_survives_its_bytes() -> None:
    definition = Definition("seconds", HISTOGRAM, ("a", "b"), (0.1, 1.0), "max")
    assert Definition.decode(definition.encode()) == definition


def test_numbers_of_a_series() -> None:
    assert ORDERS.size == 2  # when it was made, the value
    assert Definition("seconds", HISTOGRAM, (), (0.1, 1.0)).size == 5  # and the sum, 3 buckets


def test_reader_gets_what_was_added() -> None:
    region = memory()
    family = region.add_family(ORDERS.encode(), "Orders\nplaced", 7.0)
    assert family is not None
    region.add(OVERFLOW, family.start, b"", [0.0, 0.0])
    series = region.add(SERIES, family.start, encode_labels(["é"]), [1.0, 2.0])
    assert series is not None
    region.words[series.at + 1] += 3.0
    first, second, third = region.copy().entries()
    assert (first.kind, first.values) == (FAMILY, [7.0])
    assert split_family(first.text) == (ORDERS.encode(), "Orders\nplaced")
    assert (second.kind, second.family, second.values) == (OVERFLOW, family.start, [0.0, 0.0])
    assert (decode_labels(third.text), third.values) == (["é"], [1.0, 5.0])


def test_empty_region_has_no_entries() -> None:
    assert list(memory().copy().entries()) == []


def test_entry_for_which_there_is_no_room_changes_nothing() -> None:
    region = memory(words=8)
    assert region.add(SERIES, 1, b"x" * 9, [0.0] * 3) is None
    assert region.end == 0
    assert region.add(SERIES, 1, b"x" * 8, [0.0] * 3) is not None
    assert region.add(SERIES, 1, b"", []) is None


def test_writer_that_is_killed_before_the_end_of_an_entry_leaves_the_state_before() -> None:
    data = bytearray(1024 * WORD)
    region = SeriesMemory(memoryview(data).cast("Q"))
    region.add(SERIES, 1, b"first", [1.0])
    end = region.end
    region.add(SERIES, 1, b"second", [2.0])
    region._ends[0] = end  # as before its last store
    assert [entry.text for entry in region.copy().entries()] == [b"first"]


def test_reader_stops_at_an_entry_whose_bytes_it_does_not_see_yet() -> None:
    data = bytearray(1024 * WORD)
    region = SeriesMemory(memoryview(data).cast("Q"))
    region.add(SERIES, 1, b"first", [1.0])
    start = region.end * WORD
    region.add(SERIES, 1, b"second", [2.0])
    for place in range(start, region.end * WORD - WORD):
        before = data[place]
        data[place] = 0
        texts = [entry.text for entry in region.copy().entries()]
        assert texts[0] == b"first"
        assert before == 0 or len(texts) == 1 or texts[1] == b"second"
        data[place] = before


def test_region_with_any_bytes_never_raises() -> None:
    """A process with a fault may write anywhere in its memory."""
    chance = random.Random(7)
    for _ in range(300):
        data = bytearray(chance.randbytes(64 * WORD))
        data[:WORD] = (64).to_bytes(WORD, "little")
        region = SeriesMemory(memoryview(data).cast("Q"))
        assert len(list(region.copy().entries())) < 64


@pytest.mark.parametrize("values", [["a"], ["a", ""], ["", ""], ["a\nb", "ü"]])
def test_labels_survive_their_bytes(values: list[str]) -> None:
    assert decode_labels(encode_labels(values)) == values


def test_copy_of_a_region_replaces_the_entries() -> None:
    first, second = memory(), memory()
    first.add(SERIES, 1, b"new", [1.0])
    second.add(SERIES, 1, b"old", [1.0])
    second.take(first)
    assert [entry.text for entry in second.copy().entries()] == [b"new"]
    second.take(memory())
    assert list(second.copy().entries()) == []
