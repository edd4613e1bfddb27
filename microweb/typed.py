"""Markers for the parameters of endpoints: the source of a value, and its constraints.

`Json[Note]` is `Annotated[Note, From("json")]`, so that type checkers see a `Note`. At run time the
markers are objects of their own, because other frameworks write `Query(1)` and
`Annotated[str, Header]`: the first raises an error here, `endpoints.inputs` refuses the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, NoReturn, TypeVar

from .errors import ConfigurationError
from .remedies import names_keywords

T = TypeVar("T")
C = TypeVar("C", bound=type)

Limit = float | Decimal | date | time | timedelta  # of numbers, or of dates and times


class From(NamedTuple):
    """The source of a parameter's value, inside `Annotated`."""

    source: Literal["json", "form", "query", "header", "cookie"]


class Marker:
    """A source of values: `Query[int]` is `Annotated[int, From("query")]`."""

    __slots__ = ("_marked", "name")

    def __init__(self, name: str, marked: From) -> None:
        self.name = name
        self._marked = marked

    def __getitem__(self, kind: object) -> object:
        return Annotated[kind, self._marked]

    def __call__(self, *args: object, **keywords: object) -> NoReturn:
        raise ConfigurationError(
            f"{self.name} is not called: write `name: {self.name}[T]`, with a default as in "
            "`limit: Query[int] = 1`, and constraints as `Annotated[int, Meta(ge=1)]`"
        )

    def __repr__(self) -> str:
        return f"microweb.typed.{self.name}"


if TYPE_CHECKING:
    Json = Annotated[T, From("json")]
    FormData = Annotated[T, From("form")]
    Query = Annotated[T, From("query")]
    Header = Annotated[T, From("header")]
    Cookie = Annotated[T, From("cookie")]
else:
    Json = Marker("Json", From("json"))
    FormData = Marker("FormData", From("form"))
    Query = Marker("Query", From("query"))
    Header = Marker("Header", From("header"))
    Cookie = Marker("Cookie", From("cookie"))


class Depends(NamedTuple):
    """The function that gives a parameter its value: `Annotated[Session, Depends(open_session)]`.

    It is called once for each request, with parameters of its own. A generator yields the value
    once, and continues when the answer is made.
    """

    function: Callable[..., object]


class Content(NamedTuple):
    """The content of a Response in a document: `Annotated[Response, Content("image/png")]`.

    `schema` is the type of a text in it, such as the JSON of each event.
    """

    media_type: str
    schema: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Constraints of a value, and its description: `Annotated[int, Meta(ge=1)]`.

    A value is greater than `gt` or at least `ge`, less than `lt` or at most `le`, a multiple of
    `multiple_of`. A text, bytes or a container has a length from `min_length` to `max_length`. The
    regular expression `pattern` is searched in a text. `name` is the name on the wire: of a
    parameter, or of a key in JSON. `title`, `description`, `examples` and `deprecated` are for
    documents.

    `@Meta(closed=True)` above a class lets its JSON have no other keys than those of the class.
    """

    gt: Limit | None = None
    ge: Limit | None = None
    lt: Limit | None = None
    le: Limit | None = None
    multiple_of: float | Decimal | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    name: str | None = None
    title: str | None = None
    description: str | None = None
    examples: tuple[object, ...] = ()
    deprecated: bool = False
    closed: bool = False

    def __call__(self, cls: C) -> C:
        """Describe a class: `@Meta(closed=True)`."""
        cls.__meta__ = self  # type: ignore[attr-defined]
        return cls


Meta.__init__ = names_keywords(Meta.__init__)  # type: ignore[method-assign]
