"""The OpenAPI document of an application, and the routes that serve it.

It is built at the first request, when all routes are known. Its keys are sorted and it has no
date, so the same application has the same bytes each time. OpenAPI 3.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..dispatch.chain import Level
from ..dispatch.registration import pattern_of
from ..errors import ConfigurationError
from ..http.mediatypes import JSON
from ..response import Response
from ..router import Middleware, Router
from .operations import Placed, operation_of, security_schemes_of
from .page import add_page, relative_url
from .schemas import Schemas

# Of the methods that a route may have, those that a document has.
_METHODS = frozenset(("GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"))


@dataclass(frozen=True, slots=True)
class Info:
    """The texts of a document, and the URLs of its servers: see `App.openapi`."""

    title: str
    version: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    servers: Sequence[str] = ()
    path: str = "/openapi.json"

    @property
    def urls(self) -> Sequence[str]:
        """The servers. Without any it is the one of the document, below its prefix."""
        return self.servers or [relative_url(self.path, "/").rstrip("/")]


def add_document(
    router: Router,
    level: Callable[[], Level],
    info: Info,
    docs: str | None,
    use: Iterable[Middleware],
) -> None:
    """Register the routes of the document and, unless `docs` is None, of its page."""
    middleware, served = tuple(use), _Served(level, info)
    router.get(info.path, name="openapi.document", use=middleware, documented=False)(served)
    if docs is not None:
        add_page(router, docs, info.path, title=info.title, use=middleware)


def document(app: Router) -> dict[str, Any]:
    """Return the document of an app. Raises: ConfigurationError if it does not call `openapi`."""
    for route in app.routes:
        if isinstance(route.endpoint, _Served):
            return document_of(route.endpoint.level(), route.endpoint.info)
    raise ConfigurationError("this app has no document: call app.openapi(title, version)")


class _Served:
    """The endpoint that answers with the document, which it builds at the first request."""

    def __init__(self, level: Callable[[], Level], info: Info) -> None:
        self.level, self.info = level, info

    async def __call__(self) -> Response:
        return Response(self._body, headers={"Cache-Control": "no-cache"}, content_type=JSON)

    @cached_property
    def _body(self) -> bytes:
        return encode(document_of(self.level(), self.info))


def encode(document: dict[str, Any]) -> bytes:
    """Return the bytes of a document: sorted keys, indented, a line end."""
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def document_of(level: Level, info: Info) -> dict[str, Any]:
    """Return the document of an app. Raises: ConfigurationError for a type that JSON has not."""
    placed = list(_placed(level))
    schemas = Schemas(has_default=_has_default(level))
    paths: dict[str, dict[str, Any]] = {}
    ids = _operation_ids(placed)
    for each in placed:
        for method in each.route.methods:
            if method in _METHODS:
                operation = operation_of(each, schemas)
                operation["operationId"] = ids[each.path, method]
                paths.setdefault(each.path, {})[method.lower()] = operation
    components: dict[str, Any] = {"schemas": schemas.components}
    schemes = security_schemes_of(each for place in placed for each in place.middleware)
    if schemes:
        components["securitySchemes"] = schemes
    about = {"title": info.title, "version": info.version}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {**about, "description": info.description} if info.description else about,
        "servers": [{"url": url} for url in info.urls],
        "paths": paths,
        "components": components,
    }
    if info.tags:
        document["tags"] = [{"name": name, "description": text} for name, text in info.tags.items()]
    return document


def _has_default(level: Level) -> bool:
    """Return whether the app, or one mounted in it, has a `json_default`."""
    inside = any(_has_default(inner) for _, _, inner in level.mounted)
    return inside or level.app.json_default is not None


def _placed(
    level: Level, prefix: str = "", around: tuple[Middleware, ...] = ()
) -> Iterator[Placed]:
    """Yield the routes of an app and of the apps mounted in it, except those with a document."""
    around = (*around, *level.middleware)
    for route in level.routes:
        if route.documented and not route.is_websocket:
            pattern = pattern_of(route, level.converters, prefix)
            path = re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", prefix + route.path)
            yield Placed(route, pattern, path, (*around, *route.use), level.errors)
    for below, use, inner in level.mounted:
        if not any(isinstance(route.endpoint, _Served) for route in inner.routes):
            yield from _placed(inner, prefix + below, (*around, *use))


def _operation_ids(placed: Iterable[Placed]) -> dict[tuple[str, str], str]:
    """Return the id of each operation: the route's name, after a clash with method and path."""
    names: dict[str, list[tuple[str, str]]] = {}
    for each in placed:
        for method in each.route.methods:
            if method in _METHODS:
                names.setdefault(each.route.name, []).append((each.path, method))
    found: dict[tuple[str, str], str] = {}
    for name, keys in names.items():
        for path, method in keys:
            label = f"{name}_{method.lower()}_{re.sub(r'[^A-Za-z0-9]+', '_', path).strip('_')}"
            found[path, method] = name if len(keys) == 1 else label
    return found
