"""Templates: pages by Jinja, escaped, rendered when their request is known.

`templates.render(...)` returns a Response that holds a name and values. When an endpoint, an error
handler or a middleware returns it, the application prepares it for the request, like any response
whose body is not bytes yet. So a caller awaits nothing, and no context variable is needed.
Rendering runs on the event loop: load all values before it. `templates.stream(...)` renders in a
thread, piece by piece.

Extra: `jinja2`.
"""

from __future__ import annotations

import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, final

from .bodies.body import Head, RenderedBody, RequestInfo
from .bodies.stream import StreamBody
from .concurrency.callables import folder_of
from .concurrency.threads import run_in_thread
from .errors import ConfigurationError, MissingExtra
from .http.charsets import encode_utf8
from .http.mediatypes import HTML
from .request import Request
from .response import Response
from .sessions.session import Session

try:
    import jinja2
    from jinja2.runtime import Context
except ImportError as error:
    raise MissingExtra("microweb.templating", "jinja2") from error

_PIECE_CHARACTERS = 16 * 1024  # of a stream: each piece from its thread costs 50 us
_NAMED_TEMPLATES = 12  # names in the message about a missing template
_OURS = frozenset(("request", "url_for", "flashes"))

used_folders: dict[Path, None] = {}  # of all templates in this process: `microweb dev` watches them


class Templates:
    """The templates in one or more folders; a name is searched in each folder, in their order.

    A relative folder is relative to the file that calls `Templates(...)`. If there is no such file
    (at a prompt), it is relative to the current directory.

    All templates are escaped, whatever their name. Each has `request`, `url_for(name, **params)`,
    which adds the prefix of a mounted app, and `flashes()` of the session. A value of the same name
    replaces them. Imported macros have these three, with and without `with context`.

    In debug mode, changed templates are read again, and a name without a value is an error.
    Otherwise templates are kept, and such a name is empty. A missing key of the session is empty in
    both modes: `{% if request.session.user %}`. `{% if x is defined %}` and
    `{{ x | default("") }}` work in both modes too.

    `environment` is Jinja's own, for filters, tests and globals: set them before the first request.

    Raises: ConfigurationError for a folder that does not exist.
    """

    def __init__(self, folder: str | Path, *folders: str | Path) -> None:
        beside = folder_of(sys._getframe(1))
        self.folders = [_existing(beside / each) for each in (folder, *folders)]
        used_folders.update(dict.fromkeys(self.folders))
        self.environment = jinja2.Environment(
            loader=_Loader(self.folders),
            autoescape=True,
            auto_reload=False,
            cache_size=-1,  # no limit: `_Loader` knows each file by one name
        )
        self.environment.context_class = _Context
        self.environment.template_class = _Template
        self._debugging: jinja2.Environment | None = None

    def render(self, name: str, /, **values: object) -> TemplateResponse:
        """Return the page of the template `name` with `values`, rendered when its request is known.

        `return templates.render("form.html", errors=errors), 422` sets a status, as for any value.
        A missing template, or a fault in one, is handled like an exception of the endpoint.
        """
        return TemplateResponse(self, name, values)

    def stream(self, name: str, /, **values: object) -> TemplateStream:
        """Return a page that is sent while it is rendered: for large pages, instead of `render`.

        It is rendered in a thread, and values may be generators. The first 16 KiB are rendered
        before the answer begins, so a failure there is a 500; a later failure cuts the answer.
        Use `flashes()` only in that first part, because the session's cookie is sent after it.
        """
        return TemplateStream(self, name, values)

    def template(self, name: str, request: Request | None) -> jinja2.Template:
        """Return Jinja's template of this name, strict if the request's app is in debug mode.

        Raises: MissingTemplate that names the folders and their templates.
        """
        is_debugging = request is not None and request.match is not None and request.match.debug
        if not is_debugging:
            return self.environment.get_template(name)
        if self._debugging is None:
            self._debugging = self.environment.overlay(
                undefined=_Strict, auto_reload=True, cache_size=400
            )
        return self._debugging.get_template(name)

    def __repr__(self) -> str:
        return f"Templates({', '.join(repr(str(folder)) for folder in self.folders)})"


@final
class TemplateResponse(Response):
    """A page that is rendered when its request is known: `template` with `values`.

    Its `body` is the page in UTF-8. Before it is prepared for a request, `body` renders it without
    `request`, `url_for` and `flashes`.
    """

    __slots__ = ("template", "values")

    is_value = True

    def __init__(self, templates: Templates, template: str, values: dict[str, object]) -> None:
        super().__init__(_Page(templates, template, values), content_type=HTML)
        self.template = template
        self.values = values

    def __copy__(self) -> TemplateResponse:
        """Return a copy: it takes 2 us of a page less than the one of `copy`."""
        other = TemplateResponse.__new__(TemplateResponse)
        for name in _ATTRIBUTES:
            setattr(other, name, getattr(self, name))
        return other

    def __repr__(self) -> str:
        return f"<TemplateResponse {self.template!r} {self.status}>"


_ATTRIBUTES = (*Response.__slots__, *TemplateResponse.__slots__)


class TemplateStream(Response):
    """A page that is sent while it is rendered: `template` with `values`."""

    __slots__ = ("template", "values")

    is_value = True

    def __init__(self, templates: Templates, template: str, values: dict[str, object]) -> None:
        super().__init__(_StreamedPage(templates, template, values), content_type=HTML)
        self.template = template
        self.values = values

    def __repr__(self) -> str:
        return f"<TemplateStream {self.template!r} {self.status}>"


class _Page(RenderedBody):
    __slots__ = ("_name", "_templates", "_values")

    def __init__(self, templates: Templates, name: str, values: dict[str, object]) -> None:
        self._templates = templates
        self._name = name
        self._values = values

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        assert request is None or isinstance(request, Request)
        template = self._templates.template(self._name, request)
        text = template.render(_in_scope(request, self._values))
        try:
            return encode_utf8(text)
        except ValueError as error:
            error.add_note(f"in the template {self._name!r}")
            raise


class _StreamedPage(StreamBody):
    __slots__ = ("_has_begun", "_name", "_templates", "_values")

    def __init__(self, templates: Templates, name: str, values: dict[str, object]) -> None:
        super().__init__(())
        self._templates = templates
        self._name = name
        self._values = values
        self._has_begun = False

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        self._claim(request)
        if not self._has_begun:
            self._has_begun = True
            assert isinstance(request, Request)
            render = partial(self._render, request)
            self._pieces = await run_in_thread(f"template {self._name!r}", render)
        await super().prepare(request, head)

    def _render(self, request: Request) -> Iterator[str]:
        template = self._templates.template(self._name, request)
        pieces = _joined(template.generate(_in_scope(request, self._values)))
        return _resumed(next(pieces, ""), pieces)


# --- the names in a template ----------------------------------------------------------


def _in_scope(request: Request | None, values: dict[str, object]) -> dict[str, object]:
    if request is None:
        return values
    return {
        "request": request,
        "url_for": request.url_for,
        "flashes": lambda: request.session.flashes(),  # without sessions, only its use fails
        **values,
    }


class _Context(Context):
    """A template's names. Those of the request count as globals, so macros import them too."""

    def __init__(
        self,
        environment: jinja2.Environment,
        parent: dict[str, Any],
        name: str | None,
        blocks: dict[str, Callable[[Context], Iterator[str]]],
        globals: MutableMapping[str, Any] | None = None,
    ) -> None:
        super().__init__(environment, parent, name, blocks)
        self.globals_keys = {*(_OURS & parent.keys())}.union(*_layers(globals))


class _Template(jinja2.Template):
    """Joins the globals and the values of a page from dicts.

    Jinja goes through its `ChainMap` of globals for each name, which takes 8 us of a small page.
    """

    def new_context(
        self,
        vars: dict[str, Any] | None = None,
        shared: bool = False,
        locals: Mapping[str, Any] | None = None,
    ) -> Context:
        if not shared:
            names: dict[str, Any] = {}
            for layer in _layers(self.globals):
                names.update(layer)
            vars = names | (vars or {})
        return super().new_context(vars, True, locals)


def _layers(globals: MutableMapping[str, Any] | None) -> list[MutableMapping[str, Any]]:
    """Return the dicts of a template's globals. A later one replaces names of an earlier one."""
    if isinstance(globals, ChainMap):
        return globals.maps[::-1]
    return [] if globals is None else [globals]


class _Strict(jinja2.StrictUndefined):
    """Raises at any use, except for a key of a session, because its keys differ by client."""

    def __new__(cls, hint: str | None = None, obj: object = None, **more: Any) -> Any:
        if isinstance(obj, Session):
            return jinja2.Undefined(hint, obj, **more)
        return super().__new__(cls)


# --- finding templates ----------------------------------------------------------------


class _Loader(jinja2.FileSystemLoader):
    """Finds templates in folders. If one is missing, its error names the existing ones."""

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        # Jinja takes "a//b" for "a/b", and would keep a template for each spelling.
        if not {"", "."}.isdisjoint(template.split("/")):
            raise MissingTemplate(template, self)
        try:
            return super().get_source(environment, template)
        except jinja2.TemplateNotFound:
            raise MissingTemplate(template, self) from None


class MissingTemplate(jinja2.TemplateNotFound):
    """A template that is in none of the folders; its text names the folders and their templates.

    They are listed only when the text is needed: `{% include x ignore missing %}` needs none.
    """

    def __init__(self, name: str, loader: _Loader) -> None:
        super().__init__(name)
        self._loader = loader

    def __str__(self) -> str:
        names = self._loader.list_templates()
        close = get_close_matches(str(self.name), names, _NAMED_TEMPLATES)
        shown = [*close, *(name for name in names if name not in close)][:_NAMED_TEMPLATES]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        return (
            f"no template {self.name!r:.80} in {' or '.join(map(str, self._loader.searchpath))}: "
            f"there is {', '.join(map(repr, shown)) or 'nothing'}{more}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # The loader has locks, which can't be copied: a copy is Jinja's exception with the text.
        return jinja2.TemplateNotFound, (str(self.name), str(self))


def _existing(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    above = folder.parent
    beside = (
        sorted(each.name for each in above.iterdir() if each.is_dir()) if above.is_dir() else []
    )
    raise ConfigurationError(
        f"Templates: there is no folder {folder}; folders beside it: {', '.join(beside) or 'none'}"
    )


# --- streams --------------------------------------------------------------------------


def _joined(pieces: Iterator[str]) -> Iterator[str]:
    """Join Jinja's pieces, which have a few dozen characters, to pieces worth sending."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _PIECE_CHARACTERS:
            yield "".join(held)
            held.clear()
            size = 0
    if held:
        yield "".join(held)


def _resumed(first: str, rest: Iterator[str]) -> Iterator[str]:
    """Yield `first`, which was taken from `rest` before, then the rest."""
    yield first
    yield from rest
