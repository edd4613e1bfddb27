"""Header fields of requests and responses. RFC 9110 section 5.

A request's `Headers` is immutable, so requests with the same header section can share one. A field
line that most clients repeat (`Accept-Encoding: gzip, deflate`) is parsed and checked once per
process. `parse_header_section` maps whole lines through a bounded cache; only a line that is not
in it costs a regex. A response's `MutableHeaders` checks each name and value when it is set,
so that no CR, LF or NUL can be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import NoReturn, TypeVar, overload

from ..errors import LocalProtocolError, MalformedRequest, MissingValue
from .grammar import FIELD_LINE, FIELD_VALUE_TEXT, TOKEN, TOKEN_TEXT

MAX_MEMBERS = 100  # of a client's list, which may have 32,000 that cost 2 to 30 ms; usual: 1 to 15

K = TypeVar("K")
T = TypeVar("T")

# Only lines of these fields are cached: they have few distinct values, unlike cookies and tokens.
CACHED_NAMES = frozenset(
    "accept accept-encoding accept-language cache-control connection content-type host "
    "sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user upgrade-insecure-requests "
    "user-agent".split()
)
_CACHED_LINE_BYTES = 300  # a listed name and a value of at most 256 bytes
_CACHED_LINES = 512
_CACHED_FIELD_NAMES = 256
_CACHED_NAME_BYTES = 64
_KEYS: dict[str, str] = {}  # name as the application writes it -> name in lower case
_VARYING: dict[str, str] = {}  # name, as sent, of a field without cached lines -> in lower case


class Headers(Mapping[str, str]):
    """An immutable mapping of field names, in any case, to values.

    `headers["accept"]` is the field's value. The values of a repeated field are joined by a comma,
    as RFC 9110 section 5.3 allows, and those of Cookie by a semicolon. A missing field raises
    `MissingValue`, which is a `KeyError` and a 400 that names the field. Iteration gives the
    distinct names in lower case.

    Raises: ValueError for a name that is not a token or a value with control characters.
    """

    __slots__ = ("_fields", "by_name")

    _fields: list[tuple[str, str]]
    by_name: dict[str, str]  # lower-case name -> value: for code that runs at each request

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        checked = [(check_name(name).lower(), check_value(value)) for name, value in pairs]
        self._fields = checked
        self.by_name = _join_repeated(checked)

    def __getitem__(self, name: str) -> str:
        value = self.by_name.get(name)
        if value is None:
            value = self.by_name.get(name.lower())
            if value is None:
                raise MissingValue(f"missing header {name!r}")
        return value

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str | T, /) -> str | T: ...
    def get(self, name: str, default: object = None, /) -> object:
        """Return the field's value, or `default` if it is missing."""
        return self.by_name.get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Return every value of the field, in the order in which they were sent."""
        wanted = name.lower()
        return [value for name, value in self._fields if name == wanted]

    def pairs(self) -> list[tuple[str, str]]:
        """Return each field line as (name in lower case, value), repeated ones too."""
        return list(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"


class CheckedHeaders(Headers):
    """Headers made of fields that are checked already, with names in lower case."""

    __slots__ = ()

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields
        index = dict(fields)
        self.by_name = index if len(index) == len(fields) else _join_repeated(fields)


class MutableHeaders(MutableMapping[str, str]):
    """A response's header fields, found by a name in any case, and sent as they were set.

    `headers["X"] = "y"` replaces the field, `headers.add("X", "z")` appends another line. Names and
    values are checked when they are set.

    Raises: LocalProtocolError for a name or value that HTTP can't carry, and for a change after
    the response was sent or copied.
    """

    __slots__ = ("is_frozen", "lines")

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        # Lower-case name -> its lines as they are sent, because most are never read.
        self.lines: dict[str, str] = {}
        self.is_frozen = False
        if fields:
            for name, value in fields.items() if isinstance(fields, Mapping) else fields:
                self.add(name, value)

    def __getitem__(self, name: str) -> str:
        return ", ".join([value for _, value in _split(self.lines[name.lower()])])

    def get_all(self, name: str) -> list[str]:
        """Return every value of the field, in the order in which they were added."""
        return [value for _, value in _split(self.lines.get(name.lower(), ""))]

    def pairs(self) -> list[tuple[str, str]]:
        """Return each field line as (name as set, value), repeated ones too."""
        return [field for lines in self.lines.values() for field in _split(lines)]

    def __setitem__(self, name: str, value: str) -> None:
        self.lines[self._check(name, value)] = f"{name}: {value}\r\n"

    def add(self, name: str, value: str) -> None:
        """Add a field line; existing lines of this name stay."""
        key = self._check(name, value)
        lines = self.lines.get(key, "")
        if lines:
            name, _, _ = lines.partition(":")
        self.lines[key] = f"{lines}{name}: {value}\r\n"

    def fill(self, fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """Add all fields; only a Content-Type replaces an existing one."""
        for name, value in fields.items() if isinstance(fields, Mapping) else fields:
            if name.lower() == "content-type":
                self[name] = value
            else:
                self.add(name, value)

    def set_missing(self, fields: MutableHeaders) -> None:
        """Add each of `fields` that is not set yet, without checking it again.

        Five fields cost 1 us, and 7 us if they are set one by one.
        """
        if self.is_frozen:
            refuse_touch()
        self.lines = {**fields.lines, **self.lines}

    def freeze(self) -> MutableHeaders:
        """Refuse changes from now on, and return a copy that may be changed."""
        self.is_frozen = True
        other: MutableHeaders = CopiedHeaders()
        other.lines = self.lines.copy()
        other.is_frozen = False
        return other

    def __delitem__(self, name: str) -> None:
        if self.is_frozen:
            refuse_touch()
        del self.lines[name.lower()]

    def _check(self, name: str, value: str) -> str:
        """Return the name in lower case if it and the value may be set."""
        if self.is_frozen:
            refuse_touch()
        key = _KEYS.get(name)
        # A usual field costs no regex and no call, because middleware sets fields on each response.
        if key is not None and type(value) is str and value.isascii() and value.isprintable():
            return key
        try:
            key = check_name(name).lower()
            check_value(value)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error
        if len(name) <= _CACHED_NAME_BYTES:
            _put(_KEYS, name, key, _CACHED_FIELD_NAMES)
        return key

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.lines

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        return f"MutableHeaders({self.pairs()!r})"


class CopiedHeaders(MutableHeaders):
    """A copy that may be changed. Without an `__init__` it is made in half the time."""

    __slots__ = ()

    __init__ = object.__init__


def headers_of(content_type: str | None, *, is_frozen: bool) -> MutableHeaders:
    """Return the fields of a response that set none: its media type, which is checked already."""
    headers: MutableHeaders = CopiedHeaders()
    headers.lines = {}
    if content_type is not None:
        headers.lines["content-type"] = f"Content-Type: {content_type}\r\n"
    headers.is_frozen = is_frozen
    return headers


def check_name(name: str) -> str:
    """Return `name` if it is a token. Raises: ValueError. RFC 9110 section 5.1."""
    # A name of letters and hyphens needs no regex, which halves the cost of setting a field.
    if (name.replace("-", "a").isalnum() and name.isascii()) or TOKEN_TEXT.fullmatch(name):
        return name
    raise ValueError(f"expected a token as a field name, got {name[:80]!r}")


def check_value(value: str) -> str:
    """Return `value` if it is a field value. Raises: ValueError. RFC 9110 section 5.5."""
    if not isinstance(value, str):
        raise ValueError(f"expected a str as a field value, got {value!r:.80}")
    if (value.isprintable() and value.isascii()) or FIELD_VALUE_TEXT.fullmatch(value):
        return value
    raise ValueError(f"expected a field value without control characters, got {value[:80]!r}")


def list_members(value: str, most: int = -1) -> list[str]:
    """Return the members of a comma-separated value, without empty ones. RFC 9110 section 5.6.1.

    Only the first `most` are read, and empty ones count: for a value that a client has sent.
    """
    parts = value.split(",", most)[: most if most >= 0 else None]
    return [member for part in parts if (member := part.strip(" \t"))]


def add_vary(headers: MutableHeaders, name: str) -> None:
    """Add `name` to Vary: the response depends on that request field. RFC 9110 section 12.5.5"""
    if "vary" not in headers.lines:
        headers["Vary"] = name
    elif {"*", name.lower()}.isdisjoint(list_members(headers["vary"].lower())):
        headers["Vary"] = f"{headers['vary']}, {name}"


def parse_header_section(lines: list[bytes]) -> Headers:
    """Parse field lines without their CRLF. Raises: MalformedRequest. RFC 9112 section 5."""
    return CheckedHeaders(list(map(_FIELDS.__getitem__, lines)))


class _FieldCache(dict[bytes, tuple[str, str]]):
    """Field line -> (name, value); a line that is missing is parsed when it is looked up.

    A browser's ten lines cost 7 us to parse one by one, and 0.5 us through the cache.
    """

    def __missing__(self, line: bytes) -> tuple[str, str]:
        raw_name, colon, value = line.decode("latin-1").partition(":")
        # Names recur, and a printable value has no control byte. This costs half as much as the
        # regex, which decides about all other values (with a tab, a soft hyphen).
        name = _VARYING.get(raw_name)
        if name is not None and colon and value.isprintable():
            return name, value.strip(" ")
        if FIELD_LINE.fullmatch(line) is None:
            _refuse_line(line)
        name = raw_name.lower()
        field = name, value.strip(" \t")
        if name not in CACHED_NAMES:
            if len(raw_name) <= _CACHED_NAME_BYTES:
                _put(_VARYING, raw_name, name, _CACHED_FIELD_NAMES)
        elif len(line) <= _CACHED_LINE_BYTES:
            _put(self, line, field, _CACHED_LINES)
        return field


def _split(lines: str) -> list[tuple[str, str]]:
    """Return the lines of a field in `MutableHeaders` as (name, value)."""
    fields = [line.partition(": ") for line in lines.split("\r\n")[:-1]]
    return [(name, value) for name, _, value in fields]


def _put(cache: dict[K, T], key: K, value: T, limit: int) -> None:
    if len(cache) >= limit:
        cache.clear()
    cache[key] = value


_FIELDS = _FieldCache()


def _join_repeated(fields: list[tuple[str, str]]) -> dict[str, str]:
    index: dict[str, str] = {}
    for name, value in fields:
        if name in index:
            value = index[name] + ("; " if name == "cookie" else ", ") + value
        index[name] = value
    return index


def _refuse_line(line: bytes) -> NoReturn:
    if line[:1] in (b" ", b"\t"):
        raise MalformedRequest("whitespace before a field name, or a folded line", line, TOKEN)
    if b"\n" in line or b"\r" in line:
        raise MalformedRequest("a bare CR or LF in the header section", line)
    name, colon, _ = line.partition(b":")
    if not colon:
        raise MalformedRequest("a field line without a colon", line)
    if not TOKEN.fullmatch(name):
        raise MalformedRequest("a field name that is not a token", name, TOKEN)
    raise MalformedRequest("a control byte in a field value", line, FIELD_LINE)


def refuse_touch() -> NoReturn:
    """Raise LocalProtocolError for a change of a response that was sent or copied."""
    raise LocalProtocolError(
        "this response was sent or copied, and can't be changed any more: make a new response for "
        "each request, or change the one that call_next returns"
    )
