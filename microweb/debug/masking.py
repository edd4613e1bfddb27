"""Hide secrets on a debug page, by their names and by their values.

A `Mask` learns the values that have telling names (a local `password`, the field Authorization). It
hides these values in every text, and each value that follows a telling name in a text. It does not
find every secret: one with a harmless name is shown.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Iterable
from itertools import islice
from types import NoneType
from urllib.parse import quote_plus, unquote_plus

from ..http.cookies import parse_cookies
from ..http.headers import Headers, MutableHeaders
from ..http.multidict import MultiDict
from .secrets import (
    find_secrets,
    has_scheme,
    is_secret,
    is_telling,
    pairs_in,
    parts_in,
    userinfo_in,
    values_in,
)

HIDDEN = "[hidden]"

_MIN_LEARNED = 6  # characters: a shorter value would be hidden in the middle of other words
_MAX_LEARNED = 500
_MAX_VISITED = 20_000  # values, of all frames together
_MAX_MEMBERS = 200  # of one container
_MAX_SECRET = 4096
_SCANNED = 4 * 1024  # characters of one value's text; it is cut before any slow work
_SHOWN = 400  # characters of one value
_MAX_SHOWN = 2000  # of a container with its members
_MEMBERS = 20
_DEPTH = 3
_LEARNED_DEPTH = 6


class Mask:
    """Learns secrets, and hides them in texts; each page has its own."""

    def __init__(self) -> None:
        self._learned: set[str] = set()
        self._visited = 0
        self._longest_first: list[str] | None = None

    # --- learning

    def learn(self, name: str, value: object) -> None:
        """Hide `value` everywhere if `name` is the name of a secret; search containers too."""
        self._learn(name, value, _LEARNED_DEPTH)

    def _learn(self, name: str, value: object, depth: int) -> None:
        """Learn a value or its members: the members of a secret list are secrets themselves."""
        self._visited += 1
        if self._visited > _MAX_VISITED:
            return
        kind = type(value)  # `value.__class__` may run the value's own code
        if (text := _text_of(value)) is not None:
            if has_scheme(text[:_MAX_SECRET]):
                self._learn_credentials(text)
            if is_telling(name):
                self._learn_secret(name, text)
        elif kind in (int, float):
            if is_telling(name):
                self._add(repr(value))
        elif depth > 0 and (pairs := _pairs_of(value)) is not None:
            for key, member in islice(pairs, _MAX_MEMBERS):
                own = key if type(key) is str else ""
                self._learn(own if not is_telling(name) else name, member, depth - 1)
        elif depth > 0 and kind in _BRACKETS:
            for member in islice(value, _MAX_MEMBERS):  # type: ignore[call-overload]
                self._learn(name, member, depth - 1)

    def learn_text(self, text: str) -> None:
        """Learn each value that follows a telling name in a text, such as a query or a form."""
        for span in pairs_in(text):
            for value in islice(values_in(text, span), _MAX_MEMBERS):
                self._add(value)
        for start, end in parts_in(text):
            self._add(text[start:end])

    def _learn_secret(self, name: str, text: str) -> None:
        if name.lower() in ("cookie", "cookies"):
            for cookie in parse_cookies(text).values():
                self._add(cookie)
        self._add(text)

    def _learn_credentials(self, value: str) -> None:
        scheme, _, credentials = value.partition(" ")
        self._add(credentials.strip())
        if scheme.lower() == "basic":
            try:
                pair = b64decode(credentials.strip(), validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):  # these are not credentials
                return
            self._add(pair)
            self._add(pair.partition(":")[2])

    def _add(self, value: str) -> None:
        if len(value) <= _MAX_SECRET and len(self._learned) < _MAX_LEARNED:
            quoted = json.dumps(value)[1:-1]
            encoded = quote_plus(value, errors="replace")
            forms = (value, repr(value)[1:-1], quoted, encoded, unquote_plus(value))
            self._learned.update(form for form in forms if len(form.strip()) >= _MIN_LEARNED)
            self._longest_first = None

    # --- hiding

    def hide_values(self, text: str) -> str:
        """Return source code without learned values and without the passwords of URLs."""
        text = _without(text, userinfo_in(text))
        if self._longest_first is None:
            self._longest_first = sorted(self._learned, key=len, reverse=True)
        for value in self._longest_first:  # 1 us each for 8 KiB; one regex for all is far slower
            if value in text:
                text = text.replace(value, HIDDEN)
        return text

    def hide(self, text: str) -> str:
        """Return `text` without learned values and without the secrets that its form reveals."""
        text = self.hide_values(text)
        return _without(text, find_secrets(text))

    def hide_head(self, head: str) -> str:
        """Return a request's head without the values of secret fields."""
        first, *lines = head.split("\r\n")
        return "\r\n".join([self.hide(first), *map(self._hide_field, lines)])

    def _hide_field(self, line: str) -> str:
        name, colon, value = line.partition(":")
        is_hidden = is_secret(name) or has_scheme(value.strip())
        return f"{name}: {HIDDEN}" if colon and is_hidden else self.hide(line)

    # --- showing

    def show(self, name: str, value: object) -> str:
        """Return a short text for a value of this name. Raise nothing, for any value.

        A `__repr__` is code of the application: it may raise, or return a text of any length.
        """
        if _is_hidden(name, value):
            return HIDDEN
        try:
            return cut(self._show(value, _DEPTH), _MAX_SHOWN)
        except Exception as error:  # of its `__repr__`
            return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"

    def _show(self, value: object, depth: int) -> str:
        kind = type(value)
        pairs = _pairs_of(value)
        if kind in _BRACKETS:
            start, end = _BRACKETS[kind]
            members = (self._show(each, depth - 1) for each in value)  # type: ignore[attr-defined]
            return start + _listed(members, len(value), depth) + end  # type: ignore[arg-type]
        if pairs is not None:
            named = (self._show_pair(key, each, depth - 1) for key, each in pairs)
            text = "{" + _listed(named, len(value), depth) + "}"  # type: ignore[arg-type]
            return text if kind is dict else f"{kind.__name__}({text})"
        if kind is str:
            text = value  # type: ignore[assignment]
            return cut(repr(self.hide(text[:_SCANNED])), _SHOWN, len(text))
        if kind in (bytes, bytearray):
            data = bytes(value[:_SCANNED])  # type: ignore[index]
            shown = self.hide(data.decode("latin-1")).encode("latin-1")
            return cut(repr(shown), _SHOWN, len(value))  # type: ignore[arg-type]
        text = repr(value)
        return cut(self.hide(text[:_SCANNED]), _SHOWN, len(text))

    def _show_pair(self, key: object, value: object, depth: int) -> str:
        is_hidden = type(key) is str and _is_hidden(key, value)
        return f"{self._show(key, depth)}: {HIDDEN if is_hidden else self._show(value, depth)}"


def cut(text: str, limit: int, length: int | None = None) -> str:
    """Return at most `limit` characters; if some are left out, add the full count."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({length or len(text):,} characters)"


def _is_hidden(name: str, value: object) -> bool:
    """Return whether a value is hidden because of its name; True, False and None are shown."""
    kind = type(value)
    if kind in (bool, NoneType) or not is_secret(name):
        return False
    return name.lower() != "session" or kind in (str, bytes, int)  # else its members are shown


def _without(text: str, places: Iterable[tuple[int, int]]) -> str:
    parts, position = list[str](), 0
    for start, end in places:
        parts += text[position:start], HIDDEN
        position = end
    return "".join([*parts, text[position:]])


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def _pairs_of(value: object) -> Iterable[tuple[object, object]] | None:
    """Return the pairs of a mapping of a known class, without running code of a subclass."""
    kind = type(value)
    if issubclass(kind, dict):
        return dict.items(value)  # type: ignore[arg-type]
    if issubclass(kind, Headers):
        return Headers.pairs(value)  # type: ignore[arg-type]
    if issubclass(kind, MutableHeaders):
        return MutableHeaders.pairs(value)  # type: ignore[arg-type]
    return MultiDict.pairs(value) if issubclass(kind, MultiDict) else None  # type: ignore[arg-type]


def _text_of(value: object) -> str | None:
    """Return a str or bytes value as a plain str, without running code of a subclass."""
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, bytes):
        return bytes.decode(value, "latin-1")  # type: ignore[arg-type]
    return None


def _listed(members: Iterable[str], count: int, depth: int) -> str:
    """Join members, but take no more of them than are shown."""
    if depth <= 0 and count:
        return "…"
    shown, size = list[str](), 0
    for member in members:
        if len(shown) == _MEMBERS or size > _MAX_SHOWN:
            return ", ".join([*shown, f"… {count - len(shown)} more"])
        shown.append(member)
        size += len(member)
    return ", ".join(shown)
