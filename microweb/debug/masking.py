"""What a debug page must not show: secrets, by the name they have and wherever their value is.

A `Mask` learns the values that stand under telling names (a local `password`, the field
Authorization), then hides these values in every text, and what follows such a name in one. It is a
net, not a wall: a secret under a harmless name passes it.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from types import NoneType
from urllib.parse import quote_plus, unquote_plus

from ..cookies import parse_cookies
from ..headers import Headers, MutableHeaders
from ..multidict import MultiDict

HIDDEN = "[hidden]"

_ANYWHERE = re.compile(
    "passw(?:or)?d|passphrase|passcode|secret|token|authorization|cookie|credential|api_?key"
    "|private_?key|signature|set-cookie"
)
_WORDS = frozenset(("key", "keys", "pwd", "auth", "jwt", "otp", "pin", "csrf", "xsrf", "sid", "pw"))
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

_MIN_LEARNED = 6  # characters: a shorter value would be hidden in the middle of other words
_MAX_LEARNED = 200
_MAX_SECRET = 4096
_LOOKED_AT = 4 * 1024  # of one value's text; it is cut before anything slow is done to it
_SHOWN = 400  # characters of one value
_MAX_SHOWN = 2000  # of a container with its members
_MEMBERS = 20
_DEPTH = 3

# A name and what is said to be its value: `token=abc`, `'password': 'x'`, `('cookie', 'a=b')`.
_NAME = re.compile(
    r"""(?<![\w.-])([A-Za-z_][\w.-]{0,63}+)(?:["']?[ \t]*+[=:][ \t]*+|["'],[ ]?(?=b?["']))"""
)
_VALUE = re.compile(
    r"""(?:(?:Bearer|Basic|Digest|Token)[ ]++)?+
    (?:\[hidden\]|b?"(?:[^"\\]|\\.)*+"|b?'(?:[^'\\]|\\.)*+'|[^\s,;&"')}\]<>]++)""",
    re.VERBOSE | re.DOTALL,
)
_PART = re.compile(  # of a multipart form
    r"""(name="?(?P<name>[^"\r\n;]{1,64})"?[^\r\n]*+\r\n(?:[^\r\n]++\r\n)*+\r\n)(.*?)(?=\r\n--|\Z)""",
    re.DOTALL,
)
_USERINFO = re.compile(r"(?<=://)[^\s/@:'\"]{0,64}:[^\s/@'\"]{1,256}(?=@)")


def is_secret(name: str) -> bool:
    """Whether what has this name is probably a secret: `api_key`, `userPassword`, `X-Auth`."""
    if _ANYWHERE.search(name.lower()):
        return True
    return not _WORDS.isdisjoint(word.lower() for word in _WORD.findall(name))


class Mask:
    """What hides the secrets that it learned; one for each page."""

    def __init__(self) -> None:
        self._learned: set[str] = set()
        self._longest_first: list[str] | None = None

    # --- learning

    def learn(self, name: str, value: object) -> None:
        """Hide `value` everywhere if `name` is that of a secret; look into a mapping."""
        pairs = _pairs_of(value)
        if pairs is not None:
            for key, member in pairs:
                if isinstance(key, str) and isinstance(member, (str, bytes)):
                    self.learn(key, member)
        elif _is_telling(name) and isinstance(value, (str, bytes)):
            text = value if isinstance(value, str) else value.decode("latin-1")
            if name.lower() == "cookie":
                for cookie in parse_cookies(text).values():
                    self._add(cookie)
            elif name.lower().endswith("authorization"):
                self._learn_credentials(text)
            self._add(text)

    def learn_text(self, text: str) -> None:
        """Learn what stands behind a telling name in a text, such as a query or a form."""
        for start, end in _secrets_in(text):
            value = text[start:end]
            self._add(value.removeprefix("b").strip("\"'") if value[-1] in "\"'" else value)
        for match in _PART.finditer(text):
            if is_secret(match["name"]):
                self._add(match[3])

    def _learn_credentials(self, value: str) -> None:
        scheme, _, credentials = value.partition(" ")
        self._add(credentials.strip())
        if scheme.lower() == "basic":
            try:
                pair = b64decode(credentials.strip(), validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):  # no credentials then
                return
            self._add(pair)
            self._add(pair.partition(":")[2])

    def _add(self, value: str) -> None:
        if len(value) <= _MAX_SECRET and len(self._learned) < _MAX_LEARNED:
            forms = (value, repr(value)[1:-1], quote_plus(value), unquote_plus(value))
            self._learned.update(form for form in forms if len(form.strip()) >= _MIN_LEARNED)
            self._longest_first = None

    # --- hiding

    def hide_values(self, text: str) -> str:
        """Return `text` without learned values and the passwords of URLs: for source code."""
        text = _USERINFO.sub(HIDDEN, text)
        if self._longest_first is None:
            self._longest_first = sorted(self._learned, key=len, reverse=True)
        for value in self._longest_first:  # 1 us each for 8 KiB; one regex of all takes far more
            if value in text:
                text = text.replace(value, HIDDEN)
        return text

    def hide(self, text: str) -> str:
        """Return `text` without secrets: learned values, and what follows a telling name."""
        text = self.hide_values(text)
        text = _PART.sub(lambda m: m[1] + HIDDEN if is_secret(m["name"]) else m[0], text)
        parts, position = list[str](), 0
        for start, end in _secrets_in(text):
            parts += text[position:start], HIDDEN
            position = end
        return "".join([*parts, text[position:]])

    def hide_head(self, head: str) -> str:
        """Return a request's head without the values of fields that hold secrets."""
        first, *lines = head.split("\r\n")
        return "\r\n".join([self.hide(first), *map(self._hide_field, lines)])

    def _hide_field(self, line: str) -> str:
        name, colon, _ = line.partition(":")
        return f"{name}: {HIDDEN}" if colon and is_secret(name) else self.hide(line)

    # --- showing

    def show(self, name: str, value: object) -> str:
        """Return a short text for a value of this name; whatever the value is, nothing is raised.

        A repr is somebody's code: it may raise, and be of any length.
        """
        if is_secret(name) and not isinstance(value, _HARMLESS):
            return HIDDEN
        try:
            return cut(self._show(value, _DEPTH), _MAX_SHOWN)
        except Exception as error:
            return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"

    def _show(self, value: object, depth: int) -> str:
        pairs = _pairs_of(value)
        if type(value) in _BRACKETS:
            start, end = _BRACKETS[type(value)]
            members = (self._show(each, depth - 1) for each in value)  # type: ignore[attr-defined]
            return start + _listed(members, len(value), depth) + end  # type: ignore[arg-type]
        if pairs is not None:
            named = (self._show_pair(key, each, depth - 1) for key, each in pairs)
            text = "{" + _listed(named, len(value), depth) + "}"  # type: ignore[arg-type]
            return text if type(value) is dict else f"{type(value).__name__}({text})"
        if isinstance(value, str):
            return cut(repr(self.hide(value[:_LOOKED_AT])), _SHOWN, len(value))
        if isinstance(value, (bytes, bytearray)):
            return cut(self.hide(repr(value[:_LOOKED_AT])), _SHOWN, len(value))
        text = repr(value)
        return cut(self.hide(text[:_LOOKED_AT]), _SHOWN, len(text))

    def _show_pair(self, key: object, value: object, depth: int) -> str:
        is_hidden = isinstance(key, str) and is_secret(key) and not isinstance(value, _HARMLESS)
        return f"{self._show(key, depth)}: {HIDDEN if is_hidden else self._show(value, depth)}"


def cut(text: str, limit: int, length: int | None = None) -> str:
    """Return at most `limit` characters, and how many there were."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({length or len(text):,} characters)"


_HARMLESS = (bool, NoneType)  # whether there is one is worth knowing
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def _pairs_of(value: object) -> Iterable[tuple[object, object]] | None:
    """Return the pairs of a mapping, if its class is known to give them without other's code."""
    if isinstance(value, dict):
        return dict.items(value)
    if isinstance(value, (Headers, MutableHeaders)):
        return value.pairs()
    return value if isinstance(value, MultiDict) else None


def _listed(members: Iterable[str], count: int, depth: int) -> str:
    """Join members, no more of them than will be shown."""
    if depth <= 0 and count:
        return "…"
    shown, size = list[str](), 0
    for member in members:
        if len(shown) == _MEMBERS or size > _MAX_SHOWN:
            return ", ".join([*shown, f"… {count - len(shown)} more"])
        shown.append(member)
        size += len(member)
    return ", ".join(shown)


def _is_telling(name: str) -> bool:
    # In prose "key: x" is more often the name of a thing than a secret.
    return is_secret(name) and name.lower() not in ("key", "keys", "pin", "auth")


def _secrets_in(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values behind telling names begin and end."""
    position = 0
    while (name := _NAME.search(text, position)) is not None:
        position = name.end()
        if _is_telling(name[1]):
            value = _VALUE.match(text, position)
            if value is not None:
                position = value.end()
                yield value.span()
