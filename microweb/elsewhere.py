"""The names of other frameworks, answered with ours.

`request.args` raises an AttributeError that says `request.query`. Each name is a descriptor on the
class, not a `__getattr__`: up to Python 3.11 that takes every attribute of the class off the
interpreter's fast path (50 ns for 9), and made an exchange in memory a tenth dearer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn


class _Elsewhere:
    """An attribute that is not here: reading, setting and deleting it name ours."""

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
    """The class of a class that `point_to_ours` takes: its `dir()` and `help()` list ours alone.

    Attributes of a class that has it cost the same. Only `isinstance(x, cls)` costs 0.1 us more
    for `x` of another class, a subclass too.
    """

    def __dir__(cls) -> list[str]:
        return _without_suggestions(super().__dir__(), cls)


def _without_suggestions(names: Iterable[str], cls: type) -> list[str]:
    hidden, seen = set[str](), set[str]()
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if type(value) is _Elsewhere and name not in seen:
                hidden.add(name)
            seen.add(name)
    return [name for name in names if name not in hidden]


def point_to_ours(cls: Suggesting, names: Mapping[str, str]) -> None:
    """Have `cls` answer `names`, each what others call a thing, with its name here.

    Neither `dir()` of an object lists them, nor that of the class.
    """
    for name, ours in names.items():
        setattr(cls, name, _Elsewhere(cls.__name__, name, ours))

    def __dir__(self: object) -> list[str]:
        return _without_suggestions(object.__dir__(self), type(self))

    cls.__dir__ = __dir__  # type: ignore[assignment]


def unknown_keyword(call: str, unknown: Iterable[str], names: Mapping[str, str]) -> str:
    """Return the message for a keyword that `call` does not take; `names` has the remedies."""
    keyword = min(unknown)
    text = f"{call} has no keyword {keyword!r}"
    return f"{text}: in microweb it is `{names[keyword]}`" if keyword in names else text


def public_name(name: str) -> object:
    """Return `microweb.<name>`, for a name that the package does not export.

    Raises: ImportError, which names the remedy, for `from microweb import jsonify`;
    AttributeError for other ways to look, so that `hasattr` works.
    """
    ours = _PUBLIC_NAMES.get(name)
    # `from microweb import name` looks here by `importlib`, `import microweb.name` does not.
    is_from_import = sys._getframe(2).f_code.co_name == "_handle_fromlist"
    if ours is not None and is_from_import:
        raise ImportError(f"microweb has no {name!r}: {ours}", name="microweb")
    module = sys.modules.get(f"microweb.{name}")
    if module is not None:
        return module
    raise AttributeError(
        f"module 'microweb' has no attribute {name!r}" + (f": {ours}" if ours else "")
    )


_PARAMETER = "an endpoint has a parameter for it: async def show(request: Request)"

# Names that are imported from other frameworks -> the way here.
_PUBLIC_NAMES = {
    "request": _PARAMETER,
    "session": "write request.session, with Sessions from microweb.sessions",
    "websocket": "@app.websocket gives the endpoint a socket: async def chat(socket: WebSocket)",
    "g": "write request.state",
    "current_app": "write request.app",
    "Flask": "write App()",
    "Quart": "write App()",
    "Sanic": "write App()",
    "FastAPI": "write App()",
    "Starlette": "write App()",
    "Blueprint": "write Router(prefix), and app.include(router)",
    "APIRouter": "write Router(prefix), and app.include(router)",
    "jsonify": "return the dict or list itself",
    "make_response": "return (value, status, headers), or a Response",
    "JSONResponse": "return the dict or list itself, or write Response.json(value)",
    "HTMLResponse": "return html(template, *args), or write Response.html(text)",
    "PlainTextResponse": "return the str itself, or write Response.text(text)",
    "RedirectResponse": "write Response.redirect(url)",
    "StreamingResponse": "return the generator itself, or write Response.stream(pieces)",
    "FileResponse": "write Response.file(path)",
    "redirect": "write Response.redirect(url)",
    "send_file": "write Response.file(path)",
    "send_from_directory": "write app.static(prefix, folder)",
    "StaticFiles": "write app.static(prefix, folder)",
    "url_for": "write request.url_for(name) or app.url_for(name)",
    "render_template": "write app.templates.render(name), with Templates from microweb.templating",
    "Jinja2Templates": "write Templates(folder), from microweb.templating",
    "escape": "write html(template, *args), which escapes its arguments",
    "Markup": "write html(template, *args)",
    "flash": "write request.session.flash(text)",
    "get_flashed_messages": "write request.session.flashes()",
    "HTTPException": "write HTTPError(status, detail), or abort(status, detail)",
    "Depends": "write middleware, use=[...], or a function that takes the request",
    "Query": "annotate a parameter of the endpoint",
    "Path": "name it in the path: {id}",
    "Body": "write await request.json(Type)",
    "Form": "write await request.form()",
    "Header": "write request.headers",
    "Cookie": "write request.cookies",
    "File": "write (await request.form()).files",
    "BackgroundTasks": "write request.after_response(function)",
    "after_this_request": "write @app.after_request, or middleware",
    "stream_with_context": "return the generator itself",
    "TestClient": "write app.test_client()",
    "CORSMiddleware": "write CORS, from microweb.middleware.cors",
    "GZipMiddleware": "write Compression, from microweb.middleware.compression",
}
