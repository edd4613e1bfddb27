"""HTML as text of its own kind: what endpoints answer a page with, and `html`, which escapes."""

from __future__ import annotations

from html import escape


class HTMLText(str):
    """Text that is HTML already; an endpoint that returns one answers with a page."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def html(template: str, /, *args: object, **kwargs: object) -> HTMLText:
    """Fill a `str.format` template, escaping each argument that is not HTML itself.

    `html("<b>{}</b>", name)`. Without arguments the text is taken as it is. What has an
    `__html__()` (markupsafe's convention) is not escaped.
    """
    if not args and not kwargs:
        return HTMLText(template)
    escaped = [_escape(value) for value in args]
    named = {name: _escape(value) for name, value in kwargs.items()}
    return HTMLText(template.format(*escaped, **named))


def _escape(value: object) -> str:
    as_html = getattr(value, "__html__", None)
    return escape(str(value)) if as_html is None else str(as_html())
