"""Session: the data that an application keeps for one client, a dict of JSON values.

A session is stored as JSON. Changes are found by comparing that JSON, so a change deep inside a
value counts too. `microweb.middleware.sessions` stores it, in a cookie or on the server.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import wraps
from types import NoneType
from typing import Any, NamedTuple

from ..errors import InvalidSessionNumber, LocalProtocolError, SessionTooLarge

EMPTY = b"{}"  # the encoded form of an empty session

_FLASHES = "_flashes"
_MAX_FLASHES = 16  # the latest, so that messages that no page shows never fill a cookie
_SHOWN_CHARACTERS = 80
_MAX_DEPTH = 100  # of nested lists and dicts, so that parsing never exhausts the stack

# These never change, and JSON keeps them unchanged.
_PLAIN = frozenset((str, int, float, bool, NoneType))
_STR = frozenset((str,))

_checked_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode
_raw_decode = json.JSONDecoder().raw_decode  # 1.4 us; `json.loads` takes 3.5


def make_encode() -> Callable[[object], str]:
    """Return a function that writes JSON; `JSONEncoder.encode` builds an encoder for each call.

    `encode_session` takes 3.0 us for a small session in place of 5.2. The encoder that is built
    once finds no circular references, so values that exhaust the stack are encoded again.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # a Python whose `json` has no C extension
        return _checked_encode
    markers = indent = None
    sort_keys = skip_keys = allow_nan = False
    default = json.JSONEncoder().default
    quote = json.encoder.encode_basestring
    chunks_of: Callable[[object, int], tuple[str, ...]] = make(
        markers, default, quote, indent, ":", ",", sort_keys, skip_keys, allow_nan
    )

    def encode(value: object) -> str:
        try:
            return "".join(chunks_of(value, 0))
        except RecursionError:
            return _checked_encode(value)

    return encode


_encode = make_encode()


class Flash(NamedTuple):
    """A message for the next page: `for text, category in session.flashes()`."""

    text: str
    category: str


class Session(dict[str, Any]):
    """The data that an application keeps for one client: `request.session`.

    A dict of values that JSON keeps unchanged: dicts with str keys, lists, str, int, float, bool,
    None. Changes inside a value are stored too.

    Raises: LocalProtocolError for a change after the response was made. A change inside a value
    raises nothing then, and is lost.
    """

    __slots__ = ("_is_touched", "is_ended", "is_over", "is_renewed")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        self.is_over = False  # the response was made
        self.is_renewed = False
        self.is_ended = False  # the stored session; values that are set later begin a new one
        self._is_touched = False  # a method that can set or remove an item was called

    def flash(self, text: str, category: str = "info") -> None:
        """Add a message for the next page that calls `flashes()`; the latest 16 are kept."""
        self[_FLASHES] = [*self.get(_FLASHES, ()), [text, category]][-_MAX_FLASHES:]

    def flashes(self) -> list[Flash]:
        """Remove and return the messages, the oldest first."""
        return [Flash(*each) for each in self.pop(_FLASHES, ())]

    def rotate(self) -> None:
        """Move the session to a new id, and end the old one. Call it when a client logs in.

        So an id that an attacker gave the client before is useless. If another request ends or
        rotates the session meanwhile, nothing happens, and the changes of this request are dropped.
        """
        self._check_open()
        self.is_renewed = True

    def clear(self) -> None:
        """End the session: remove its entry and its cookie. Later values begin a new session."""
        self._check_open()
        self.is_renewed = self.is_ended = True
        super().clear()

    def _check_open(self) -> None:
        if self.is_over:
            raise LocalProtocolError(
                "the session was changed after the response was made: change it before the "
                "endpoint returns, inside Sessions, and not in a stream or a background task"
            )


class NoSession(Session):
    """The session of a request that did not reach `Sessions`: it is empty and refuses changes."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.is_over = True

    def open(self) -> Session:
        """Return itself, because it is the source of the request's session too."""
        return self

    def close(self) -> None:
        """Do nothing: it refuses all changes."""

    def reopen(self) -> None:
        """Do nothing: it refuses all changes."""

    def flashes(self) -> list[Flash]:
        """Return no messages."""
        return []


def _guarded(change: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(change)
    def guarded(self: Session, *args: Any, **kwargs: Any) -> Any:
        self._check_open()
        self._is_touched = True
        return change(self, *args, **kwargs)

    return guarded


for _name in ("__delitem__", "__ior__", "__setitem__", "pop", "popitem", "setdefault", "update"):
    setattr(Session, _name, _guarded(getattr(dict, _name)))


def is_surely_unchanged(session: Session) -> bool:
    """Return whether no item was set or removed, and no value can change inside.

    It saves the encoded form of most sessions that are only read.
    """
    return not session._is_touched and _PLAIN.issuperset(map(type, session.values()))


def encode_session(values: Mapping[str, Any]) -> bytes:
    """Return the JSON in which a session is stored.

    Raises: SessionTooLarge for values that are nested too deeply and InvalidSessionNumber, which a
    client can cause; TypeError, which names the key, for other values.
    """
    if not values:
        return EMPTY
    try:
        # Lone surrogates, which JSON from a peer may contain, are kept.
        data = _encode(values).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError) as error:
        raise _fault(values) from error
    except RecursionError as error:
        raise _too_deep() from error
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH and _is_too_deep(values):
        raise _too_deep()
    return data


def check_session(values: Mapping[str, Any], data: bytes) -> None:
    """Check that `data` decodes to `values`. Raises: TypeError, which names the key.

    JSON silently changes a tuple to a list, and an int that is a key to a str.
    """
    if _STR.issuperset(map(type, values)) and _PLAIN.issuperset(map(type, values.values())):
        return
    if parse_session(data) != values:
        raise _fault(values)


def parse_session(data: bytes) -> dict[str, Any]:
    """Return the values of an encoded session; none if `data` can't be decoded.

    `data` was signed, or stored on the server. If it can't be decoded, another version wrote it,
    and its client must not get an error at each request until it expires.
    """
    if data == EMPTY:
        return {}
    try:
        text = data.decode("utf-8", "surrogatepass").strip()
        values, end = _raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) and end == len(text) else {}


def merge_session(
    before: Mapping[str, Any], after: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `now` with the changes from `before` to `after`.

    So two concurrent requests may change different keys; if they change one key, the later wins.
    """
    changed = {
        key: value
        for key, value in after.items()
        if key not in before or _encode(before[key]) != _encode(value)
    }
    kept = {key: value for key, value in now.items() if key in after or key not in before}
    return kept | changed


def _is_too_deep(values: Mapping[str, Any]) -> bool:
    level: list[Any] = [values]
    for _ in range(_MAX_DEPTH):
        inside = [each.values() if isinstance(each, dict) else each for each in level]
        level = [
            each for found in inside for each in found if isinstance(each, (dict, list, tuple))
        ]
        if not level:
            return False
    return True


def _has_invalid_number(value: object) -> bool:
    """Return whether `value`, which may contain itself, has a number that JSON can't write."""
    rest, seen = [value], set()
    while rest:
        each = rest.pop()
        if isinstance(each, float) and not math.isfinite(each):
            return True
        if isinstance(each, int):
            try:
                str(each)
            except ValueError:  # sys.get_int_max_str_digits()
                return True
        if isinstance(each, (dict, list, tuple)) and id(each) not in seen:
            seen.add(id(each))
            rest += each.values() if isinstance(each, dict) else each
    return False


def _too_deep() -> SessionTooLarge:
    return SessionTooLarge(f"the session would be nested more than {_MAX_DEPTH} levels deep")


def _fault(values: Mapping[str, Any]) -> TypeError | InvalidSessionNumber:
    """Return the error for the first key whose value JSON does not keep unchanged.

    It names the key and the type, but not the value, which may be a secret.
    """
    for key, value in values.items():
        try:
            is_kept = json.loads(_encode({key: value})) == {key: value}
        except (TypeError, ValueError, RecursionError):
            is_kept = False
        if not is_kept and _has_invalid_number(value):
            return InvalidSessionNumber(
                f"the session would have a number in {repr(key)[:_SHOWN_CHARACTERS]} that JSON "
                "can't write: NaN, an infinity, or an int of too many digits"
            )
        if not is_kept:
            return TypeError(
                f"session[{repr(key)[:_SHOWN_CHARACTERS]}]: expected values that JSON keeps "
                "unchanged (dicts with str keys, lists, str, int, float, bool, None), got another "
                f"key or value in {type(value).__name__}"
            )
    return TypeError("the session: expected str keys and JSON values")
