"""Session: what is remembered of one client, a dict of JSON values.

It is kept as JSON, and what has changed is seen by comparing that form: a change deep inside a
value counts as one. `microweb.middleware.sessions` says where it is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple

from ..errors import InvalidSessionNumber, LocalProtocolError, SessionTooLarge

EMPTY = b"{}"  # the encoded form of a session that holds nothing

_FLASHES = "_flashes"
_MAX_FLASHES = 16  # the latest: those that no page ever shows must not fill a cookie for good
_SHOWN_CHARACTERS = 80
_MAX_DEPTH = 100  # of lists and dicts inside each other: reading it must not exhaust the stack

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Flash(NamedTuple):
    """A message for the next page that is shown: `for text, category in session.flashes()`."""

    text: str
    category: str


class Session(dict[str, Any]):
    """What is remembered of one client: `request.session`.

    A dict of what JSON gives back as it is: dicts with str keys, lists, str, int, float, bool,
    None. Changes inside a value are seen too.

    Raises: LocalProtocolError where it is changed once its answer was decided; a change inside a
    value is lost then.
    """

    __slots__ = ("is_ended", "is_over", "is_renewed")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        self.is_over = False  # the answer was decided
        self.is_renewed = False
        self.is_ended = False  # as it was found; the values that are set later are a new session

    def flash(self, text: str, category: str = "info") -> None:
        """Leave a message for the next page that calls `flashes()`; the latest 16 are kept."""
        self[_FLASHES] = [*self.get(_FLASHES, ()), [text, category]][-_MAX_FLASHES:]

    def flashes(self) -> list[Flash]:
        """Take the messages that were left, the oldest first."""
        return [Flash(*each) for each in self.pop(_FLASHES, ())]

    def rotate(self) -> None:
        """Continue under a new id, and end the old one: call it when a client logs in.

        An id that someone planted in the client before is worth nothing then. If the session is
        ended or rotated by another request meanwhile, nothing happens, and the changes of this
        request are dropped.
        """
        self._check_open()
        self.is_renewed = True

    def clear(self) -> None:
        """End the session: its entry and its cookie go. What is set afterwards begins a new one."""
        self._check_open()
        self.is_renewed = self.is_ended = True
        super().clear()

    def _check_open(self) -> None:
        if self.is_over:
            raise LocalProtocolError(
                "the session was changed once its answer was decided: do that before the endpoint "
                "returns, inside Sessions, not in what it streams or leaves running"
            )


class NoSession(Session):
    """The session of a request that `Sessions` has not seen: it is empty, and refuses changes."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.is_over = True

    def open(self) -> Session:
        """Return itself: it is where a request's session comes from, too."""
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
        return change(self, *args, **kwargs)

    return guarded


for _name in ("__delitem__", "__ior__", "__setitem__", "pop", "popitem", "setdefault", "update"):
    setattr(Session, _name, _guarded(getattr(dict, _name)))


def encode_session(values: Mapping[str, Any]) -> bytes:
    """Return the form in which a session is kept.

    Raises: TypeError that names the key; what a client can cause is SessionTooLarge, if it is
    nested too deeply, or InvalidSessionNumber.
    """
    if not values:
        return EMPTY
    try:
        # Lone surrogates, which JSON from a peer may hold, pass both ways.
        data = _encode(values).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError) as error:
        raise _fault(values) from error
    except RecursionError as error:
        raise _too_deep() from error
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH and _is_too_deep(values):
        raise _too_deep()
    return data


def check_session(values: Mapping[str, Any], data: bytes) -> None:
    """Check that `data` gives `values` back. Raises: TypeError that names the key.

    JSON would make a list of a tuple and a str of an int that is a key, in silence.
    """
    if parse_session(data) != values:
        raise _fault(values)


def parse_session(data: bytes) -> dict[str, Any]:
    """Return the values that `encode_session` was given; none where it is no such form.

    It was signed, or kept by us: what can't be read is of another version, and a client that has
    it must not get an error until it expires.
    """
    if data == EMPTY:
        return {}
    try:
        values = json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def merge_session(
    before: Mapping[str, Any], after: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `now` with the keys changed that differ from `before` to `after`.

    So two requests that change different keys at once both count; of the same key the later wins.
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
    """Whether JSON can't write a number in `value`, which may hold itself."""
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
    """Return what to raise for the first key whose value JSON does not give back.

    It names the key and the type: the value may be a secret.
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
                f"session[{repr(key)[:_SHOWN_CHARACTERS]}]: expected what JSON gives back as it is "
                "(dicts with str keys, lists, str, int, float, bool, None), got such a key or "
                f"value in {type(value).__name__}"
            )
    return TypeError("the session: expected str keys and JSON values")
