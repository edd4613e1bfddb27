"""The signed values of a cookie: they verify once, and only under their own keys and purpose."""

from __future__ import annotations

import hashlib
import hmac
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from itsdangerous import Signer, TimestampSigner, base64_encode

from microweb.sessions.signed import MAX_VERIFIED, SignedValues

KEY = b"an-example-key-for-tests-0123456789"
OTHER_KEY = b"another-example-key-for-tests-98765"
PURPOSE = "microweb.sessions data session"


def values_with(*keys: bytes, purpose: str = PURPOSE, is_text: bool = False) -> SignedValues:
    return SignedValues(keys or [KEY], purpose, 60, is_text=is_text)


@pytest.fixture
def values() -> SignedValues:
    return values_with()


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cookies whose signature is computed, in order."""
    cookies = []
    verify = SignedValues._verify

    def counted(self: SignedValues, signed: str) -> object:
        cookies.append(signed)
        return verify(self, signed)

    monkeypatch.setattr(SignedValues, "_verify", counted)
    return cookies


def derived(key: bytes, purpose: str = PURPOSE) -> TimestampSigner:
    key = hmac.digest(key, purpose.encode(), "sha256")
    return TimestampSigner(key, key_derivation="none", digest_method=hashlib.sha256)


# --- the form


@pytest.mark.parametrize(
    ("is_text", "value"), [(False, b'{"a":"\xc3\xa4 ;,"}'), (True, b"{tag}id"), (False, b"{}")]
)
def test_value_comes_back(is_text: bool, value: bytes) -> None:
    signed = values_with(is_text=is_text).sign(value)
    assert values_with(is_text=is_text).value_of(signed) == value


def test_cookies_are_those_of_a_timestamp_signer(values: SignedValues) -> None:
    text = base64_encode(b'{"user":"ada"}')
    assert derived(KEY).unsign(values.sign(b'{"user":"ada"}'), max_age=60) == text
    assert values.value_of(derived(KEY).sign(text).decode()) == b'{"user":"ada"}'


@pytest.mark.parametrize(
    "signed", [b"", b"e30", b".", b"e30.", b".Zw", b"e30.!", b"e." + base64_encode(b"\xff" * 300)]
)
def test_signed_text_without_value_or_time_is_nothing(values: SignedValues, signed: bytes) -> None:
    key = hmac.digest(KEY, PURPOSE.encode(), "sha256")
    signer = Signer(key, key_derivation="none", digest_method=hashlib.sha256)
    cookie = signer.sign(signed).decode()
    assert [values.value_of(cookie) for _ in range(2)] == [b"", b""]


@pytest.mark.parametrize("is_text", [False, True])
def test_signatures_do_not_depend_on_other_cookies(is_text: bool) -> None:
    """The keyed object is copied for each cookie, in both directions."""
    values, signer = values_with(KEY, OTHER_KEY, is_text=is_text), derived(KEY)
    for number in range(50):
        value = b"%d" % number
        text = value if is_text else base64_encode(value)
        assert signer.unsign(values.sign(value), max_age=60) == text
        for key in (KEY, OTHER_KEY):
            assert values.value_of(derived(key).sign(text).decode()) == value
        assert values.value_of(derived(b"k" * 32).sign(text).decode()) == b""


def test_each_changed_character_is_noticed() -> None:
    signed = values_with().sign(b'{"user":"ada"}')
    for place, character in enumerate(signed):
        for other in {"A", "B", ".", "_", "\xe9"} - {character}:
            forged = signed[:place] + other + signed[place + 1 :]
            assert values_with().value_of(forged) == b""


# --- the memo


def test_cookie_is_verified_once(verified: list[str]) -> None:
    signed = values_with().sign(b"{}")
    values = values_with()
    assert [values.value_of(signed) for _ in range(3)] == [b"{}"] * 3
    assert verified == [signed]


def test_cookie_that_was_signed_here_needs_no_check(
    values: SignedValues, verified: list[str]
) -> None:
    assert values.value_of(values.sign(b"{}")) == b"{}"
    assert verified == []


def test_each_of_many_clients_gets_its_own_value(values: SignedValues) -> None:
    cookies = [values.sign(b'{"user":%d}' % number) for number in range(10_000)]
    for _ in range(2):
        for number, cookie in enumerate(cookies):
            assert values.value_of(cookie) == b'{"user":%d}' % number


def test_memory_for_many_cookies_is_bounded() -> None:
    signer, values = values_with(), values_with()
    cookies = [signer.sign(b"%3000d" % number) for number in range(2 * MAX_VERIFIED)]
    tracemalloc.start()
    try:
        for cookie in cookies:
            assert len(values.value_of(cookie)) == 3000
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The texts of the cookies, of 4 KiB, are not counted: they were here before.
    assert MAX_VERIFIED * 3000 < kept < MAX_VERIFIED * 3500


def test_cookie_that_was_used_longest_ago_goes(values: SignedValues, verified: list[str]) -> None:
    used, unused, *others = [values.sign(b"%d" % number) for number in range(MAX_VERIFIED)]
    values.value_of(used)
    values.sign(b"one more")
    assert [values.value_of(each) for each in (used, others[0])] == [b"0", b"2"]
    assert verified == []
    assert values.value_of(unused) == b"1"
    assert verified == [unused]


def test_forged_cookies_are_not_kept(values: SignedValues, verified: list[str]) -> None:
    valid = values.sign(b"{}")
    for number in range(2 * MAX_VERIFIED):
        assert values.value_of(f"{number}.Zw.{'A' * 43}") == b""
    verified.clear()
    assert values.value_of(valid) == b"{}"
    assert verified == []


def test_value_too_large_for_a_cookie_is_not_kept(
    values: SignedValues, verified: list[str]
) -> None:
    signed = values.sign(b"x" * 4000)
    assert len(values.value_of(signed)) == 4000
    assert verified == [signed]


def test_threads_get_the_value_of_their_cookie(values: SignedValues) -> None:
    cookies = [values.sign(b"%d" % number) for number in range(MAX_VERIFIED + 8)]

    def read(start: int) -> list[bytes]:
        order = cookies[start:] + cookies[:start]
        return [values.value_of(cookie) for cookie in [*order, *order[:50]] * 3]

    with ThreadPoolExecutor(8) as threads:
        for start, found in enumerate(threads.map(read, range(8))):
            order = [
                b"%d" % (number % len(cookies)) for number in range(start, start + len(cookies))
            ]
            assert found == [*order, *order[:50]] * 3


# --- cookies that do not verify


def test_cookie_that_differs_in_one_character_is_nothing(values: SignedValues) -> None:
    signed = values.sign(b'{"user":"ada"}')
    assert values.value_of(signed)
    last = len(signed) - 1  # two bits of it are padding
    for place in range(last):
        other = "A" if signed[place] != "A" else "B"
        assert values.value_of(signed[:place] + other + signed[place + 1 :]) == b"", place
        assert values.value_of(signed[:place]) == b"", place
    assert values.value_of(signed + "A") == values.value_of(" " + signed) == b""
    assert values.value_of(signed) == b'{"user":"ada"}'


def test_age_is_checked_each_time(values: SignedValues, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = values.sign(b"{}")
    now = int(time.time())
    found = []
    for later in (0, 58, 63, 58):
        monkeypatch.setattr(time, "time", lambda at=now + later: at)
        found.append(values.value_of(signed))
    assert found == [b"{}", b"{}", b"", b"{}"]


def test_expired_cookie_is_not_kept(
    values: SignedValues, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = values.sign(b"{}")
    later = time.time() + 63
    monkeypatch.setattr(time, "time", lambda: later)
    assert [values.value_of(signed) for _ in range(2)] == [b"", b""]
    assert verified == [signed]


def test_cookie_of_a_clock_that_is_ahead_is_valid(
    values: SignedValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = values.sign(b"{}")
    behind = time.time() - 30
    monkeypatch.setattr(time, "time", lambda: behind)
    assert [each.value_of(signed) for each in (values, values_with())] == [b"{}", b"{}"]


@pytest.mark.parametrize(
    "other",
    [
        values_with(OTHER_KEY),
        values_with(purpose="microweb.sessions data other"),
        values_with(purpose="microweb.sessions data session /path"),
        values_with(purpose="microweb.sessions id session", is_text=True),
    ],
)
def test_memo_is_not_shared_by_keys_names_and_paths(
    values: SignedValues, other: SignedValues
) -> None:
    signed, others = values.sign(b"{}"), other.sign(b"{}")
    assert values.value_of(signed) == other.value_of(others) == b"{}"
    assert other.value_of(signed) == values.value_of(others) == b""


def test_key_that_was_removed_verifies_nothing() -> None:
    before, both, after = values_with(KEY), values_with(OTHER_KEY, KEY), values_with(OTHER_KEY)
    old, new = before.sign(b"old"), both.sign(b"new")
    assert [both.value_of(old), both.value_of(new)] == [b"old", b"new"]
    assert [after.value_of(old), after.value_of(new)] == [b"", b"new"]
    assert before.value_of(new) == b""
