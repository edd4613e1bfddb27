"""One route as operations of OpenAPI: its parameters, its body, its answers and its security.

All of it comes from the descriptions that bind and encode the route: `Input`, `Outcome`, and the
`described()` of middleware. Nothing of the application runs. OpenAPI 3.1 section 4.8.10.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType
from typing import Any, Literal, Union, get_origin
from uuid import UUID

from ..bodies.annotations import bare, metadata_of
from ..bodies.forms import UploadFile
from ..concurrency.callables import describe
from ..dispatch.boundary import ErrorHandlers
from ..dispatch.registration import errors_are_json
from ..endpoints.arguments import Binding
from ..endpoints.described import description_of
from ..endpoints.inputs import MISSING, Input
from ..endpoints.outcomes import Outcome, outcomes_of
from ..endpoints.signature import REQUEST, inspect_endpoint, without_none
from ..errorpages import PROBLEM
from ..errors import ConfigurationError, HTTPError, status_of_class
from ..http.mediatypes import JSON, TEXT
from ..http.response_head import phrase_of
from ..router import Middleware, Route
from ..routing.patterns import Pattern
from ..sse.body import MEDIA_TYPE as MEDIA_TYPE_OF_EVENTS
from .schemas import Schema, Schemas, described, with_default

_BY_CONVERTER: dict[str, object] = {"int": int, "float": float, "uuid": UUID}
_ANY_TYPE = "*/*"  # of a content that only the value decides: under `object`, or of a Response
_FIELD_NAME = "^[^\\x00-\\x1f\\x7f]*$"  # the header of a part has no control characters
_OF_BODIES = {
    400: "The body is missing or malformed, or a parameter is wrong",
    413: "The body is too large",
    415: "The body has another media type or a content coding",
    422: "Values in the body are wrong",
}


@dataclass(frozen=True, slots=True)
class Placed:
    """A route at its place: the pattern with all prefixes, all middleware, the error handlers."""

    route: Route
    pattern: Pattern
    path: str
    middleware: Sequence[Middleware]
    errors: ErrorHandlers


def operation_of(placed: Placed, schemas: Schemas) -> Schema:
    """Return the operation of a route; its `operationId` is the caller's."""
    route = placed.route
    signature = inspect_endpoint(route.endpoint)
    binding = Binding(signature, placed.pattern.parameters, REQUEST, route.methods)
    inputs = [leaf for each in binding.inputs if not each.is_body for leaf in each.leaves]
    bodies = [each for each in binding.inputs if each.is_body]
    operation: Schema = dict(_texts_of(route))
    if route.tags:
        operation["tags"] = list(route.tags)
    if route.deprecated:
        operation["deprecated"] = True
    if parameters := list(_parameters(placed.pattern.parameters, inputs, schemas)):
        operation["parameters"] = parameters
    if bodies:
        operation["requestBody"] = _request_body(bodies[0], schemas)
    problems = _problems(placed, binding, inputs, bodies)
    try:
        answers = _answers(outcomes_of(route.endpoint), schemas)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{describe(route.endpoint)}: its return annotation: {error}: return a type that JSON "
            "has, or set app.json_default"
        ) from error
    errors = _errors(placed, problems, schemas)
    operation["responses"] = dict(sorted((errors | answers).items()))
    if security := _security(placed.middleware):
        operation["security"] = [{name: [] for name in security}]
    return operation


def security_schemes_of(middleware: Iterable[Middleware]) -> dict[str, Any]:
    """Return the security schemes that middleware describes, by name."""
    return {
        name: dict(scheme)
        for each in middleware
        for name, scheme in description_of(each).security.items()
    }


def _security(middleware: Iterable[Middleware]) -> list[str]:
    return sorted(security_schemes_of(middleware))


def _texts_of(route: Route) -> Iterator[tuple[str, str]]:
    """Yield the summary, the first paragraph of the docstring, and the rest as description."""
    text = inspect.getdoc(inspect.unwrap(route.endpoint)) or ""
    summary, _, rest = text.partition("\n\n")
    if summary:
        yield "summary", " ".join(summary.split())
    if rest.strip():
        yield "description", rest.strip()


# --- the request ----------------------------------------------------------------------


def _parameters(
    path: Mapping[str, str], inputs: Iterable[Input], schemas: Schemas
) -> Iterator[Schema]:
    found: set[tuple[str, str]] = set()
    for each in inputs:
        if (each.source, each.name) not in found:
            found.add((each.source, each.name))
            kind = _kind_of(each, path)
            yield _parameter(each.source, each.name, each.is_required, kind, each.default, schemas)
    for name, converter in path.items():
        if ("path", name) not in found:
            kind = _BY_CONVERTER.get(converter, str)
            yield _parameter("path", name, True, kind, MISSING, schemas)


def _kind_of(described_input: Input, path: Mapping[str, str]) -> object:
    """Return the type of a text: an absent one is no null, and has no annotation at all if bare."""
    kind = described_input.kind
    if kind is MISSING:
        default = described_input.default
        known = type(default) if isinstance(default, (bool, int, float)) else str
        return _BY_CONVERTER.get(path.get(described_input.name, ""), known)
    return kind


def _parameter(
    source: str, name: str, is_required: bool, kind: object, default: object, schemas: Schemas
) -> Schema:
    schema = _without_null(schemas.schema_of(kind))
    if default is not MISSING:
        schema = with_default(schema, default)
    parameter = {"in": source, "name": name, "required": is_required or source == "path"}
    texts = described({}, metadata_of(kind))
    parameter |= {key: texts[key] for key in ("description", "deprecated") if key in texts}
    return {**parameter, "schema": schema}


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a value that is sent as text: None is an absent one."""
    kinds, any_of = schema.get("type"), schema.get("anyOf")
    if isinstance(kinds, list):
        rest = [each for each in kinds if each != "null"]
        return {**schema, "type": rest[0] if len(rest) == 1 else rest}
    if any_of is None:
        return schema
    rest = [each for each in any_of if each != {"type": "null"}]
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **rest[0]}


def _request_body(body: Input, schemas: Schemas) -> Schema:
    if body.source == "json":
        content = {JSON: {"schema": schemas.schema_of(body.kind)}}
    else:
        has_files = any(_holds_files(each.kind) for each in body.leaves)
        name = "multipart/form-data" if has_files else "application/x-www-form-urlencoded"
        names = {"propertyNames": {"pattern": _FIELD_NAME}} if has_files else {}
        content = {name: {"schema": _form_schema(body, schemas) | names}}
    return {"required": body.is_required, "content": content}


def _form_schema(body: Input, schemas: Schemas) -> Schema:
    """Return the schema of a form: an absent box is False, and an absent list is empty."""
    fields = {
        each.name: with_default(_without_null(schemas.schema_of(each.kind)), each.default)
        for each in body.leaves
    }
    required = sorted(
        each.name
        for each in body.leaves
        if each.is_required and fields[each.name].get("type") not in ("boolean", "array")
    )
    schema: Schema = {"type": "object", "properties": fields}
    return {**schema, "required": required} if required else schema


def _holds_files(kind: object) -> bool:
    kind = without_none(kind)
    return kind is UploadFile or UploadFile in getattr(kind, "__args__", ())


# --- the answers ----------------------------------------------------------------------


def _problems(
    placed: Placed, binding: Binding, inputs: Iterable[Input], bodies: Sequence[Input]
) -> dict[int, str]:
    """Return the errors that a request may get: status -> description."""
    found: dict[int, str] = {}
    if binding.checks_path or any(each.source != "path" for each in inputs):
        found[400] = "A parameter is missing or wrong"
    if placed.pattern.parameters:
        found[404] = phrase_of(404)
    if bodies:
        found |= _OF_BODIES
    for each in placed.middleware:
        found = {**description_of(each).responses, **found}
    for error in placed.route.raises:
        if (status := status_of_class(error)) is not None:
            found.setdefault(status, phrase_of(status))
    return found


def _errors(placed: Placed, problems: Mapping[int, str], schemas: Schemas) -> Schema:
    """Return the errors of a route: problems, or the answers that their handler declares."""
    is_json = errors_are_json(placed.route)
    raised = {status_of_class(each): each for each in placed.route.raises}
    found: Schema = {}
    for status, text in problems.items():
        handler = placed.errors.find_for(raised.get(status, HTTPError), status)
        if handler is None:
            found[str(status)] = _problem(status, text, schemas, is_json)
        else:
            outcomes = outcomes_of(handler.function)
            named = [
                each if each.is_status_named else each._replace(status=status) for each in outcomes
            ]
            found |= _answers(named, schemas)
    return found


def _problem(status: int, text: str, schemas: Schemas, is_json: bool) -> Schema:
    """Return an error. It is a text where no JSON is expected, or no route has the path."""
    content = {PROBLEM: {"schema": schemas.problem}}
    if not is_json or status == 404:
        content[TEXT.partition(";")[0]] = {"schema": {"type": "string"}}
    return {"description": text, "content": content}


def _answers(outcomes: Iterable[Outcome], schemas: Schemas) -> Schema:
    by_status: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_status.setdefault(outcome.status or 200, []).append(outcome)
    return {str(status): _answer(status, found, schemas) for status, found in by_status.items()}


def _answer(status: int, outcomes: Sequence[Outcome], schemas: Schemas) -> Schema:
    kinds: dict[str | None, list[object]] = {}
    content: dict[str, Schema] = {}
    for each in outcomes:
        if each.content is not None:
            media_type = each.content.media_type.partition(";")[0]
            content[media_type] = {"schema": _schema_in(each.content.schema, media_type, schemas)}
            continue
        if each.media_type is not None:
            kinds.setdefault(each.media_type, []).append(each.kind)
            continue
        for found, kind in each.contents:
            kinds.setdefault(found, []).append(kind)
        if each.writes_null:
            kinds.setdefault(JSON, []).append(NoneType)
    for found, alternatives in kinds.items():
        if found is None:
            content[_ANY_TYPE] = {}
        else:
            schema = _content_schema(found, alternatives, schemas)
            content.setdefault(found.partition(";")[0], {"schema": schema})
    answer: Schema = {"description": phrase_of(status)}
    return {**answer, "content": content} if content else answer


def _schema_in(kind: object, media_type: str, schemas: Schemas) -> Schema:
    """Return the schema of a `Content`. For events it is that of one, with JSON as its data."""
    if kind is None:
        return _text_of(media_type)
    schema = schemas.schema_of(kind)
    if media_type != MEDIA_TYPE_OF_EVENTS:
        return schema
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
    fields = {"data": data, "event": {"type": "string"}, "id": {"type": "string"}}
    return {"type": "object", "properties": {**fields, "retry": {"type": "integer"}}}


def _content_schema(media_type: str, kinds: Sequence[object], schemas: Schemas) -> Schema:
    if media_type == JSON or (media_type == TEXT and all(map(_is_choice, kinds))):
        union: Any = tuple(kinds)
        return schemas.schema_of(Union[union])  # noqa: UP007
    return _text_of(media_type)


def _is_choice(kind: object) -> bool:
    kind = bare(kind)
    return get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum))


def _text_of(media_type: str) -> Schema:
    """Return the schema of a content whose type is not known."""
    if media_type == JSON:
        return {}
    is_text = media_type.startswith("text/")
    return {"type": "string"} if is_text else {"type": "string", "contentMediaType": media_type}
