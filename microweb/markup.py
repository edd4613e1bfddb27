"""HTMLText, which an endpoint returns as a page, and `html`, which makes it with escaped values."""

from __future__ import annotations


class HTMLText(str):
    """Text that is HTML already. An endpoint that returns it answers with a page."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def html(template: str, /, *args: object, **kwargs: object) -> HTMLText:
    """Return a `str.format` template filled with escaped values: `html("<b>{}</b>", name)`.

    A value with an `__html__()` method (markupsafe's convention) is not escaped. Without arguments
    the template is returned unchanged.
    """
    if not args and not kwargs:
        return HTMLText(template)
    escaped = [_escape(value) for value in args]
    named = {name: _escape(value) for name, value in kwargs.items()}
    return HTMLText(template.format(*escaped, **named))


def escape(text: str) -> str:
    """Return `html.escape(text)`, without `import html`: its table of entities takes 2.5 ms."""
    for character, entity in _ENTITIES:
        text = text.replace(character, entity)
    return text


_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"))


def _escape(value: object) -> str:
    as_html = getattr(value, "__html__", None)
    return escape(str(value)) if as_html is None else str(as_html())
