"""Remedies in messages: for names and keywords of other frameworks, and for common mistakes.

`request.args` raises an AttributeError that names `request.query`. Each such name is a descriptor
on the class. A `__getattr__` would be slower: up to Python 3.11 it takes every attribute of the
class off the interpreter's fast path (50 ns in place of 9). It made an exchange in memory a tenth
slower.

Python's own message for a mistake such as `request.json["a"]` says too little. Its remedy is made
from the exception when that is shown, so an exchange without an error pays nothing for it.

The tables are in `suggestions`, which is above the modules that it names.
"""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from functools import wraps
from inspect import Parameter
from types import FrameType
from typing import NoReturn, ParamSpec, TypeVar

from .errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")

# Our function -> a keyword of other frameworks -> our way to do it. `suggestions` fills it.
KEYWORDS: dict[str, dict[str, str]] = {}

NO_TEMPLATES = (
    'app.templates is not set: write app.templates = Templates("templates"), with Templates from '
    "microweb.templating"
)
_NO_AWAIT = "did you forget await?"

# These are compiled at their first use.
# Response.json() got an unexpected keyword argument 'status_code'
_KEYWORD = r"^([\w.]++)\(\) got an unexpected keyword argument '(\w++)'"
# abort() missing 1 required positional argument: 'status', because it got `status_code`
_NO_STATUS = r"^(HTTPError|abort)(?:\.__init__)?\(\) missing .* argument: 'status'$"
# 'method' object is not subscriptable; 'function' object has no attribute 'get'
_METHOD = r"\b(?:method|function)\b"
# 'coroutine' object is not subscriptable; can only concatenate str (not "coroutine") to str
_COROUTINE = r"\bcoroutine\b"
# An attribute that is not called, and the key or attribute that is read from it.
_ATTRIBUTE = r"\b(\w+)\.(\w+)\b(?!\s*\()(\[[^\[\]]*\]|\.\w+)?"


# --- names and keywords of other frameworks -------------------------------------------


class _ForeignName:
    """A name of other frameworks: reading, setting or deleting it raises an error with our name."""

    def __init__(self, owner: str, name: str, ours: str) -> None:
        self._owner = owner
        self._name = name
        self._text = f"has no attribute {name!r}: in microweb it is `{ours}`"

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        if instance is None and owner is not None:
            text = f"type object {self._owner!r} {self._text}"
            raise AttributeError(text, name=self._name, obj=owner)
        self._refuse(instance)

    def __set__(self, instance: object, value: object) -> NoReturn:
        self._refuse(instance)

    def __delete__(self, instance: object) -> NoReturn:
        self._refuse(instance)

    def _refuse(self, instance: object) -> NoReturn:
        text = f"{self._owner!r} object {self._text}"
        raise AttributeError(text, name=self._name, obj=instance)


class Suggesting(type):
    """The metaclass for `point_to_ours`: `dir()` and `help()` of its classes list only our names.

    Attributes cost the same with it. Only `isinstance(x, cls)` costs 0.1 us more if `x` is of
    another class or a subclass.
    """

    def __dir__(cls) -> list[str]:
        return _without_suggestions(super().__dir__(), cls)


def _without_suggestions(names: Iterable[str], cls: type) -> list[str]:
    hidden, seen = set[str](), set[str]()
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if type(value) is _ForeignName and name not in seen:
                hidden.add(name)
            seen.add(name)
    return [name for name in names if name not in hidden]


def point_to_ours(cls: Suggesting, names: Mapping[str, str]) -> None:
    """Add names of other frameworks to `cls`; each raises an AttributeError that has our name.

    `dir()` of the class and of its objects does not list them.
    """
    for name, ours in names.items():
        setattr(cls, name, _ForeignName(cls.__name__, name, ours))

    def __dir__(self: object) -> list[str]:
        return _without_suggestions(object.__dir__(self), type(self))

    cls.__dir__ = __dir__  # type: ignore[assignment]


def unknown_keyword(
    call: str,
    unknown: Iterable[str],
    names: Mapping[str, str] | None = None,
    known: Iterable[str] = (),
) -> str:
    """Return the message for a keyword that `call` does not take.

    `names` maps such keywords to remedies; the default is the entry of `call` in `KEYWORDS`. For
    others the message names the nearest of the `known` keywords.
    """
    keyword = min(unknown)
    names = KEYWORDS.get(call, {}) if names is None else names
    text = f"{call}() has no keyword {keyword!r}"
    if keyword in names:
        return f"{text}: {remedy_in(names[keyword])}"
    close = nearest(keyword, known)
    return text if close is None else f"{text}: did you mean `{close}`?"


def keywords_of(function: Callable[..., object]) -> list[str]:
    """Return the names of the parameters that a call may name."""
    by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind in by_name and each.name != "self"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, or None if none is."""
    from difflib import get_close_matches  # only a mistake needs it

    return next(iter(get_close_matches(name, list(known), 1)), None)


def check_keywords(
    function: Callable[..., object], misplaced: Sequence[object], unknown: Iterable[str]
) -> None:
    """Raise ConfigurationError if there are positional arguments or unknown keywords."""
    if not misplaced and not unknown:
        return
    call = _name_of_call(function)
    if misplaced:
        raise ConfigurationError(f"{call} takes only keywords: leave {misplaced[0]!r:.80} out")
    raise ConfigurationError(unknown_keyword(call, unknown, known=keywords_of(function)))


def remedy_in(ours: str) -> str:
    """Return the remedy as part of a message. `ours` is code, or begins with "leave it out"."""
    return ours if ours.startswith("leave it out") else f"in microweb it is `{ours}`"


def keyword_remedy(call: str, keyword: str) -> str | None:
    """Return the remedy for a keyword of another framework in a call such as `Response.json`."""
    ours = KEYWORDS.get(call, {}).get(keyword)
    return None if ours is None else remedy_in(ours)


def names_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap `function`: an unknown keyword raises a TypeError with the remedy.

    It names ours for a keyword of another framework, else the nearest keyword.

    Not for functions that run at each request: a call costs 0.1 us more.
    """
    call = _name_of_call(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except TypeError:
            text = _text_for(call, kwargs.keys(), keywords_of(function))
            if text is None or _accepts(function, *args, **kwargs):
                raise
        raise TypeError(text)

    return checked


def takes_a_function(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a decorator: an error says so if it is called without the function to decorate."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if len(args) < 2 and not kwargs:
            name = function.__name__
            raise ConfigurationError(f"{name}(): write @app.{name}, without parentheses")
        return function(*args, **kwargs)

    return checked


def call_it(function: object) -> str:
    """Return the end of a message about an object: how to call it, if it is a function."""
    if not inspect.isroutine(function):
        return ""
    return f": call it, {function.__name__}()"


def _name_of_call(function: Callable[..., object]) -> str:
    return function.__qualname__.removesuffix(".__init__")


def _text_for(call: str, given: Set[str], known: Collection[str]) -> str | None:
    """Return the message for the unknown keywords of a call, or None without a remedy."""
    unknown = given - set(known)
    unknown = unknown & KEYWORDS.get(call, {}).keys() or unknown
    text = unknown_keyword(call, unknown, known=known) if unknown else ""
    return text if ": " in text else None


def _accepts(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> bool:
    """Return whether the arguments fit. If they do, the function itself raised the exception."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


# --- common mistakes ------------------------------------------------------------------


def remedy_for(error: BaseException) -> str | None:
    """Return the remedy for an exception that Python itself raised; None if none is known."""
    is_slip = isinstance(error, (TypeError, AttributeError)) and error.args
    text = error.args[0] if is_slip else None
    if not isinstance(text, str):  # `str(error)` may run code of the application
        return None
    keyword = re.match(_KEYWORD, text)
    if keyword is not None:
        return keyword_remedy(*keyword.groups())
    no_status = re.match(_NO_STATUS, text)
    if no_status is not None:
        return keyword_remedy(no_status[1], "status_code")
    if re.search(_COROUTINE, text):
        is_told = _NO_AWAIT in text or "without calling it" in text
        return None if is_told else _NO_AWAIT
    return _call_remedy(error) if re.search(_METHOD, text) else None


def add_remedy(error: BaseException) -> None:
    """Add the remedy for an exception to it as a note, unless the note is there already."""
    remedy = remedy_for(error)
    if remedy is not None and remedy not in getattr(error, "__notes__", ()):
        error.add_note(remedy)


def _call_remedy(error: BaseException) -> str | None:
    """Return the remedy for a method of ours that was not called: `request.json["a"]`."""
    traceback = error.__traceback__
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    line = linecache.getline(frame.f_code.co_filename, traceback.tb_lineno, frame.f_globals)
    for name, attribute, use in re.findall(_ATTRIBUTE, line):
        method = _method_of_ours(frame, name, attribute)
        if method is not None:
            call = f"{name}.{attribute}()"
            if inspect.iscoroutinefunction(method):
                call = f"(await {call})" if use else f"await {call}"
            return f"{name}.{attribute} is a method: did you mean `{call}{use}`?"
    return None


def _method_of_ours(frame: FrameType, name: str, attribute: str) -> object:
    """Return the method `attribute` of a local variable, if microweb defines it."""
    method = inspect.getattr_static(type(frame.f_locals.get(name)), attribute, None)
    is_ours = inspect.isfunction(method) and method.__module__.startswith("microweb.")
    return method if is_ours else None
