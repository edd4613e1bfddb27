"""Remedies for slips of which Python's own message says too little, read from the exception.

An exchange that goes well pays nothing for them: they are looked for when an exception is shown.
"""

from __future__ import annotations

import inspect
import linecache
import re
from types import FrameType

from ..suggestions import keyword_remedy

_NO_AWAIT = "did you forget await?"

# Response.json() got an unexpected keyword argument 'status_code'
_KEYWORD = re.compile(r"^([\w.]++)\(\) got an unexpected keyword argument '(\w++)'")
# abort() missing 1 required positional argument: 'status', since it had `status_code`
_NO_STATUS = re.compile(r"^(HTTPError|abort)(?:\.__init__)?\(\) missing .* argument: 'status'$")
# 'method' object is not subscriptable; 'function' object has no attribute 'get'
_METHOD = re.compile(r"\b(?:method|function)\b")
# 'coroutine' object is not subscriptable; can only concatenate str (not "coroutine") to str
_COROUTINE = re.compile(r"\bcoroutine\b")
# An attribute that is not called, and the key or attribute of it that is asked for.
_ATTRIBUTE = re.compile(r"\b(\w+)\.(\w+)\b(?!\s*\()(\[[^\[\]]*\]|\.\w+)?")


def remedy_for(error: BaseException) -> str | None:
    """Return the remedy for an exception that Python itself raised; None if none is known."""
    is_slip = isinstance(error, (TypeError, AttributeError)) and error.args
    text = error.args[0] if is_slip else None
    if not isinstance(text, str):  # `str(error)` may run code of the application
        return None
    keyword = _KEYWORD.match(text)
    if keyword is not None:
        return keyword_remedy(*keyword.groups())
    no_status = _NO_STATUS.match(text)
    if no_status is not None:
        return keyword_remedy(no_status[1], "status_code")
    if _COROUTINE.search(text):
        return None if _NO_AWAIT in text else _NO_AWAIT
    return _call_remedy(error) if _METHOD.search(text) else None


def add_remedy(error: BaseException) -> None:
    """Add the remedy for an exception to it as a note, once."""
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
    for name, attribute, use in _ATTRIBUTE.findall(line):
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
