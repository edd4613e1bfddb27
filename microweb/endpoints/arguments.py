"""Find the source of each argument of an endpoint, once, when its route is registered.

The name and the annotation of a parameter tell `bind` whether it is the request, a path parameter
or a query parameter. A marker names another source (`Json`, `Header`). `bind` builds the cheapest
function that makes the call. A parameter without a source raises ConfigurationError at
registration, not at the first request.

Parameters are checked together before the body is read, so a wrong query costs no upload.

A decorator's `*args` and `**kwargs` get the arguments of the functions inside it and all path
parameters. The request is the first argument if it is the first parameter of a function inside. The
decorator itself must pass the parameters inside it that have no source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, isawaitable
from types import CoroutineType
from typing import Any, TypeVar, get_args

from ..bodies.forms import UploadFile
from ..concurrency.annotated import FunctionParameter
from ..concurrency.callables import describe
from ..errors import ConfigurationError
from ..request import Request
from ..routing.patterns import BUILT_IN
from ..typed import Depends
from .content import ReadBody, body_reader
from .dependencies import Dependency, depends_in
from .graph import BODY, Graph
from .inputs import Input, marked_input, scalar_input
from .parameters import REFUSED, Getter, checked_path_getter, parameter_getter, refusal_of
from .signature import (
    MISSING,
    PATH_TYPES,
    POSITIONAL,
    REQUEST,
    Layer,
    Signature,
    Subject,
    without_none,
)

T = TypeVar("T")

_WITHOUT_BODY = ("GET", "HEAD")

Slot = int | str  # of an argument: its position, or its name


def bind(
    signature: Signature,
    path: Mapping[str, str],
    methods: Sequence[str] = (),
    wrap: Callable[[Callable[..., object]], Callable[..., object]] = lambda function: function,
) -> Callable[[Request], object]:
    """Return a function that takes the request and calls the endpoint.

    `path` maps each path parameter to the name of its converter, `methods` are the route's. `wrap`
    lets a plain `def` run in a thread; a body is read before that. Raises: ConfigurationError that
    names the function, the parameter and the remedy.
    """
    binding = Binding(signature, path, REQUEST, methods)
    if binding.body is None:
        return wrap(_fastest_call(binding, path))
    return _call_with_body(wrap(signature.function), binding, *binding.body)


class Binding:
    """The arguments of an endpoint's call: a getter for each, in `positional` and `named`.

    A getter takes the request and returns the value. `subject_itself` marks the argument that is
    the subject: if that is a WebSocket, the caller inserts it. `inputs` describe the values that
    the client sends, those of dependencies too. `graph` has the dependencies, whose values and
    those of a body come later. `dependency` is the one whose arguments these are; None means those
    of the endpoint. Raises: ConfigurationError, as `bind`.
    """

    def __init__(
        self,
        signature: Signature,
        path: Mapping[str, str],
        subject: Subject,
        methods: Sequence[str] = (),
        graph: Graph | None = None,
        dependency: Dependency | None = None,
    ) -> None:
        self.graph = Graph() if graph is None else graph
        self.dependency = dependency
        self.subject = subject
        self.methods = methods
        self.inputs: list[Input] = []
        self.body: tuple[Slot, ReadBody] | None = None
        self.checks_path = False  # whether a path parameter has constraints
        self.function = signature.function
        self.own, *self.inside = signature.layers
        self.path = path
        self.positional: list[Getter] = []
        self.named: dict[str, Getter] = {}
        self._names: set[str] = set()  # of the parameters that have a getter
        self._has_args = self.own.has(Parameter.VAR_POSITIONAL)
        self._has_kwargs = self.own.has(Parameter.VAR_KEYWORD)
        self._bind_own()
        if self.inside or self._has_args or self._has_kwargs:
            self._bind_inside()
        self._check_names()
        if dependency is None and self.graph.found:
            self.inputs = self.graph.merged(self)

    def arguments(self, request: Request) -> tuple[list[object], dict[str, object]]:
        """Return the arguments by position and by name; those of a body have no value yet.

        Raises: MissingValue or InvalidValue with the faults of all parameters.
        """
        try:
            positional = [getter(request) for getter in self.positional]
            return positional, {name: getter(request) for name, getter in self.named.items()}
        except REFUSED as error:
            getters = (*self.positional, *self.named.values())
            raise refusal_of(request, getters, error) from error

    def _bind_own(self) -> None:
        """Bind the parameters that the function itself names."""
        for index, (name, parameter) in enumerate(self.own.parameters.items()):
            if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
                continue
            getter = self._getter(self.own, parameter)
            if getter is None:
                raise ConfigurationError(self._no_source(name))
            # The request as first positional argument makes the cheapest call.
            leads = index == 0 and getter is subject_itself
            by_position = parameter.kind in POSITIONAL and (leads or self._has_args)
            self._give(name, getter, parameter.kind is Parameter.POSITIONAL_ONLY or by_position)
        missing = self.path.keys() - self._names - self.graph.path_names
        if (
            self.dependency is None
            and missing
            and not (self._has_kwargs or (self._has_args and self.inside))
        ):
            name = min(missing)
            raise ConfigurationError(
                f"{describe(self.function)}: the path has {{{name}}}, add a parameter {name!r}"
            )

    def _bind_inside(self) -> None:
        """Bind the arguments that go into `*args` and `**kwargs`."""
        needs_subject = self.own.name_of(self.subject) in (None, *self.path)
        if not self.inside and needs_subject and self._has_args:
            self.positional.append(subject_itself)
        for layer in self.inside:
            subject_name = layer.name_of(self.subject)
            if needs_subject and subject_name is not None:
                self._give_subject(layer, subject_name)
                needs_subject = False
            for name, parameter in layer.parameters.items():
                is_variable = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
                if is_variable or name in self._names or name == subject_name:
                    continue
                getter = self._getter(layer, parameter)
                by_position = parameter.kind is Parameter.POSITIONAL_ONLY or not self._has_kwargs
                if getter is not None and (self._has_args if by_position else self._has_kwargs):
                    self._give(name, getter, by_position)
            if not layer.has(Parameter.VAR_KEYWORD):
                break
        if self._has_kwargs:
            self.named |= {
                name: _path_getter(name) for name in self.path if name not in self._names
            }

    def _give_subject(self, layer: Layer, name: str) -> None:
        is_first = next(iter(layer.parameters)) == name
        by_position = is_first and layer.parameters[name].kind in POSITIONAL and self._has_args
        if by_position or self._has_kwargs:
            self._give(name, subject_itself, by_position)

    def _give(self, name: str, getter: Getter, by_position: bool) -> None:
        self._names.add(name)
        if self.body is not None and getter is BODY:
            self.body = (len(self.positional) if by_position else name, self.body[1])
        if by_position:
            self.positional.append(getter)
        else:
            self.named[name] = getter

    def _getter(self, layer: Layer, parameter: FunctionParameter) -> Getter | None:
        name = parameter.name
        hint = layer.hints.get(name, MISSING)
        if (marker := depends_in(hint)) is not None:
            found = marker
            return self._named_in_errors(
                name, lambda: self.graph.add(found, hint, self._bind_dependency)
            )
        if name in self.path:
            self._check_path_type(name, hint)
            if self.dependency is not None:
                self.graph.path_names.add(name)
            self.inputs.append(scalar_input(name, "path", hint, MISSING))
            checked = self._named_in_errors(name, lambda: checked_path_getter(name, hint))
            self.checks_path = self.checks_path or checked is not None
            return checked or _path_getter(name)
        if name == layer.name_of(self.subject):
            return subject_itself
        if any(each.is_taken_by(name, hint) for each in self.subject.companions):
            return _request
        return self._named_in_errors(name, lambda: self._input_getter(parameter, hint))

    def _bind_dependency(self, dependency: Dependency) -> Binding:
        return Binding(
            dependency.signature, self.path, self.subject, self.methods, self.graph, dependency
        )

    def _input_getter(self, parameter: FunctionParameter, hint: object) -> Getter | None:
        name, default = parameter.name, parameter.default
        marked = marked_input(name, hint, default)
        described = marked or scalar_input(name, "query", hint, default)
        if isinstance(default, Depends):
            raise ConfigurationError(
                f"write it in the annotation: `{name}: Annotated[T, Depends(function)]`"
            )
        if described.is_body:
            self._check_body(described)
            self.body = (name, body_reader(described))
            getter: Getter | None = BODY
        else:
            getter = parameter_getter(described)
            if getter is None and marked is not None:
                raise ConfigurationError(
                    f"a {described.source} holds texts: annotate it with str, int, float, bool, "
                    "Decimal, UUID, a date or time, Literal, an Enum, or a list of one of these"
                )
        if getter is not None and marked is None and self.dependency is not None:
            raise ConfigurationError(
                f"the route's path has no {{{name}}}, and in a dependency a parameter without a "
                "marker is a path parameter: mark it `Query[T]` to read it from the query"
            )
        if getter is not None:
            self.inputs.append(described)
        return getter

    def _named_in_errors(self, name: str, make: Callable[[], T]) -> T:
        try:
            return make()
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{describe(self.function)}: parameter {name!r}: {error}"
            ) from error

    def _check_body(self, described: Input) -> None:
        """Raise ConfigurationError if the endpoint can't have this body."""
        if self.subject is not REQUEST:
            raise ConfigurationError(
                "a WebSocket's request has no body: use `await socket.receive_json(T)`"
            )
        if without := [method for method in self.methods if method in _WITHOUT_BODY]:
            raise ConfigurationError(
                f"{without[0]} has no body: route it with post, put or patch, or mark it `Query[T]`"
            )
        if self.body is not None:
            raise ConfigurationError(
                "a request has one body, and another parameter has it: put both into one class"
            )
        self.graph.add_body(described)

    def _check_names(self) -> None:
        """Raise ConfigurationError if two parameters read the same value of the request."""
        seen: dict[tuple[str, str], str] = {}
        for each in self.inputs:
            for leaf in each.leaves:
                key = (leaf.source, leaf.name)
                if key in seen:
                    raise ConfigurationError(
                        f"{describe(self.function)}: {each.parameter!r} and {seen[key]!r} both "
                        f"read {leaf.name!r} from the {leaf.source}: rename one of them"
                    )
                seen[key] = each.parameter

    def _no_source(self, name: str) -> str:
        hint = self.own.hints.get(name)
        if isinstance(hint, str):
            return (
                f"{describe(self.function)}: parameter {name!r}: its annotation {hint:.80} can't "
                "be resolved: define or import the names in it at the top level of the module, or "
                "register the endpoint in the function that defines them"
            )
        if UploadFile in (without_none(hint), *get_args(hint)):
            return (
                f"{describe(self.function)}: parameter {name!r}: a file is a field of a form: put "
                "it into a dataclass, and mark that: FormData[T]"
            )
        label = hint.__name__ if isinstance(hint, type) and hint is not MISSING else "T"
        mark = f"mark it `Json[{label}]` to read it from the body, "
        return (
            f"{describe(self.function)}: parameter {name!r} has no source: "
            f"{mark if self.subject is REQUEST else ''}give it the name of a path parameter or "
            f"{self.subject.name!r}, or annotate it with str, int, float, bool, UUID, an "
            "Enum or a list of one of these to read it from the query"
        )

    def _check_path_type(self, name: str, hint: object) -> None:
        kind, converter = without_none(hint), self.path[name]
        if converter not in BUILT_IN or kind in (MISSING, Any, object) or isinstance(kind, str):
            return
        said = PATH_TYPES.get(kind)
        if said == converter:
            return
        where = f"{describe(self.function)}: {name!r}"
        if said is None:
            raise ConfigurationError(
                f"{where} is {converter} in the path: annotate it with str, int, float or UUID, "
                "or name a converter of your own in the path"
            )
        if (said, converter) != ("str", "path"):
            raise ConfigurationError(
                f"{where} is {said} in its annotation but {converter} in the path: make them agree"
            )


def _fastest_call(binding: Binding, path: Mapping[str, str]) -> Callable[[Request], object]:
    """Return the cheapest function that makes the call: the general one costs 0.5 us more."""
    function, positional, named = binding.function, binding.positional, binding.named
    has_request = positional == [subject_itself]
    if has_request and not named:
        return function
    if not positional and not named:
        return lambda request: function()
    if named.keys() == path.keys() and not binding.checks_path:
        if has_request:
            return lambda request: function(request, **request.match.params)  # type: ignore[union-attr]
        if not positional:
            return lambda request: function(**request.match.params)  # type: ignore[union-attr]

    def call(request: Request) -> object:
        try:
            arguments = {name: getter(request) for name, getter in named.items()}
            given = [getter(request) for getter in positional]
        except REFUSED as error:
            raise refusal_of(request, (*positional, *named.values()), error) from error
        return function(*given, **arguments)

    return call


def _call_with_body(
    function: Callable[..., object], binding: Binding, slot: Slot, read: ReadBody
) -> Callable[[Request], object]:
    """Return the function that reads the body after the parameters, and then calls the endpoint."""
    if binding.named.keys() == {slot} and not binding.positional:
        return _call_with_body_alone(function, str(slot), read)

    async def call(request: Request) -> object:
        given, arguments = binding.arguments(request)
        value = await read(request)
        if isinstance(slot, int):
            given[slot] = value
        else:
            arguments[slot] = value
        result = function(*given, **arguments)
        return await result if isawaitable(result) else result

    return call


def _call_with_body_alone(
    function: Callable[..., object], name: str, read: ReadBody
) -> Callable[[Request], object]:
    async def call(request: Request) -> object:
        result = function(**{name: await read(request)})
        # `isawaitable` takes 0.5 us
        return await result if type(result) is CoroutineType or isawaitable(result) else result

    return call


# --- getters --------------------------------------------------------------------------


def subject_itself(request: Request) -> object:
    """Return the request, which is the subject of an endpoint that is no WebSocket endpoint."""
    return request


def _request(request: Request) -> object:
    return request


def _path_getter(name: str) -> Getter:
    return lambda request: request.match.params[name]  # type: ignore[union-attr]
