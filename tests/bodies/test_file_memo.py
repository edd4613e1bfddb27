from __future__ import annotations

import threading

import pytest

from microweb.bodies.file_memo import ENTRY_BYTES, KEPT_S, MAX_BYTES, FileMemo, KeptFile
from microweb.http.negotiation import IDENTITY


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memo(clock: Clock) -> FileMemo:
    return FileMemo(clock)


def kept(content: bytes) -> KeptFile:
    return KeptFile({"etag": f'ETag: "{len(content)}"\r\n'}, content)


def keep(memo: FileMemo, name: str, content: bytes = b"x", read_at: float | None = None) -> None:
    memo.keep(name, (), IDENTITY, kept(content), memo.clock() if read_at is None else read_at)


def content_of(memo: FileMemo, name: str, accept: str = "") -> bytes | None:
    found = memo.find(name, accept)
    return None if found is None else found.content


def test_file_is_kept_for_a_second_after_it_was_opened(memo: FileMemo, clock: Clock) -> None:
    keep(memo, "a", read_at=clock.now - 0.25)
    clock.now += KEPT_S - 0.3
    assert content_of(memo, "a") == b"x"
    clock.now += 0.05
    assert content_of(memo, "a") is None
    assert content_of(memo, "b") is None


def test_file_that_was_read_again_replaces_the_old_one(memo: FileMemo, clock: Clock) -> None:
    keep(memo, "a", b"old")
    clock.now += KEPT_S
    keep(memo, "a", b"new")
    assert content_of(memo, "a") == b"new"


def test_forms_of_a_file_end_together(memo: FileMemo, clock: Clock) -> None:
    memo.keep("a", ("br", "gzip"), "br", kept(b"br"), clock.now)
    clock.now += 0.75
    memo.keep("a", ("br", "gzip"), "gzip", kept(b"gzip"), clock.now)
    assert content_of(memo, "a", "br") == b"br"
    assert content_of(memo, "a", "gzip") == b"gzip"
    clock.now += 0.25
    assert content_of(memo, "a", "br") is None
    assert content_of(memo, "a", "gzip") is None


def test_form_is_chosen_among_those_that_the_file_has(memo: FileMemo, clock: Clock) -> None:
    memo.keep("a", ("br", "gzip"), "gzip", kept(b"gzip"), clock.now)
    memo.keep("a", ("br", "gzip"), IDENTITY, kept(b"plain"), clock.now)
    assert content_of(memo, "a", "gzip, zstd") == b"gzip"
    assert content_of(memo, "a", "gzip;q=0.5, deflate") == b"gzip"
    assert content_of(memo, "a", "") == content_of(memo, "a", "gzip;q=0") == b"plain"
    assert content_of(memo, "a", "br, gzip") is None  # it would get br, which is not kept


def test_codings_that_have_changed_end_all_forms(memo: FileMemo, clock: Clock) -> None:
    memo.keep("a", ("br", "gzip"), "br", kept(b"br"), clock.now)
    memo.keep("a", ("gzip",), "gzip", kept(b"gzip"), clock.now)
    assert content_of(memo, "a", "br, gzip") == b"gzip"
    assert content_of(memo, "a", "br") is None


def test_slow_thread_brings_no_old_content(memo: FileMemo, clock: Clock) -> None:
    """It opened the file before the forms that are kept now."""
    keep(memo, "a", b"new")
    keep(memo, "a", b"old", read_at=clock.now - 0.5)
    assert content_of(memo, "a") == b"new"
    memo.keep("a", ("gzip",), "gzip", kept(b"old"), clock.now - 0.5)
    assert content_of(memo, "a", "gzip") == b"new"


def test_thread_that_took_more_than_a_second_keeps_nothing(memo: FileMemo, clock: Clock) -> None:
    keep(memo, "a", read_at=clock.now - KEPT_S)
    assert content_of(memo, "a") is None
    assert memo.size == 0


def test_oldest_files_go_when_there_is_no_room(memo: FileMemo) -> None:
    content = bytes(64 * 1024)
    count = MAX_BYTES // (len(content) + ENTRY_BYTES) + 10
    for number in range(count):
        keep(memo, f"{number}", content)
        assert memo.size <= MAX_BYTES
    found = [content_of(memo, f"{number}") is not None for number in range(count)]
    assert found == sorted(found)  # the first ones have gone
    assert 200 < sum(found) < count


def test_small_files_count_with_their_fields_and_names(memo: FileMemo) -> None:
    for number in range(MAX_BYTES // ENTRY_BYTES):
        keep(memo, f"{number}")
    assert content_of(memo, "0") is None
    before = memo.size
    keep(memo, "n" * 4000)
    keep(memo, "ö" * 4000)
    assert memo.size <= MAX_BYTES
    one = FileMemo()
    keep(one, "n" * 4000)
    assert one.size > 4000 + ENTRY_BYTES
    assert before > MAX_BYTES - 2 * ENTRY_BYTES


def test_files_whose_second_is_over_go_when_another_comes(memo: FileMemo, clock: Clock) -> None:
    for number in range(100):
        keep(memo, f"{number}", bytes(1000))
    clock.now += KEPT_S
    keep(memo, "new")
    assert memo.size < 2 * ENTRY_BYTES
    clock.now += KEPT_S
    keep(memo, "late", read_at=clock.now - 2 * KEPT_S)
    assert memo.size == 0


def test_threads_keep_files_at_the_same_time(memo: FileMemo, clock: Clock) -> None:
    def work(own: int) -> None:
        for number in range(300):
            keep(memo, f"{own * number % 50}", bytes(number))
            memo.find(f"{number % 50}", "")

    threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += KEPT_S
    keep(memo, "last", read_at=clock.now - KEPT_S)
    assert memo.size == 0  # no file was counted twice


def test_names_are_those_of_one_memo(clock: Clock) -> None:
    one, other = FileMemo(clock), FileMemo(clock)
    keep(one, "a", b"one")
    assert other.find("a", "") is None
