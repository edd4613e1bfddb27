"""The text of metrics: Prometheus' format 0.0.4, and OpenMetrics 1.0.0.

The two differ in more than the last line: OpenMetrics names the family of a counter without
`_total`, has the unit of a family and the times at which series were made, and ends with `# EOF`.
A reader of one refuses the other, so a client gets OpenMetrics only if its `Accept` asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..http.negotiation import parse_accept
from .metrics_series import (
    COUNTER,
    CREATED,
    FAMILY,
    GAUGE,
    HISTOGRAM,
    OVERFLOW,
    Definition,
    Entry,
    SeriesCopy,
    decode_labels,
    split_family,
)

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

OVERFLOW_LABEL = ("otel_metric_overflow", "true")

_OPENMETRICS = "application/openmetrics-text"
_UNITS = ("seconds", "bytes", "ratio", "celsius", "meters", "volts", "amperes", "joules", "grams")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_LINES = 500  # in a piece of text

Labels = list[tuple[str, str]]


def content_type_of(accept: str) -> str:
    """Return the format for a client: OpenMetrics if it prefers that to plain text."""
    weights = dict(reversed(parse_accept(accept)))
    wanted = weights.get(_OPENMETRICS, 0.0)
    plain = weights.get("text/plain", weights.get("text/*", weights.get("*/*", 0.0)))
    return OPENMETRICS if wanted > 0.0 and wanted >= plain else PROMETHEUS


class FamilyOfAll:
    """A metric over all processes: the numbers of each series, combined."""

    def __init__(self, definition: Definition, help: str, defined_at: float) -> None:
        self.definition = definition
        self.help = help
        self.defined_at = defined_at
        self.series: dict[tuple[int, bytes], list[float]] = {}

    def add(self, entry: Entry) -> None:
        """Add a series of one process."""
        values = entry.values
        if len(values) != self.definition.size or not values[CREATED]:
            return
        key = (entry.kind, entry.text)
        known = self.series.get(key)
        if known is None:
            self.series[key] = values
            return
        known[CREATED] = min(known[CREATED], values[CREATED])
        how = self.definition.combine
        for place in range(CREATED + 1, len(known)):
            if how == "sum":
                known[place] += values[place]
            else:
                known[place] = (max if how == "max" else min)(known[place], values[place])

    def labels_of(self, kind: int, text: bytes) -> Labels:
        """Return the labels of a series with their values."""
        if kind == OVERFLOW:
            return [OVERFLOW_LABEL]
        names = self.definition.labels
        # An empty value means that the label is absent.
        return [each for each in zip(names, decode_labels(text), strict=False) if each[1]]


def combine(
    families: dict[str, FamilyOfAll], totals: SeriesCopy | None, living: Iterable[SeriesCopy]
) -> Iterator[None]:
    """Combine the series of all processes in `families`, by name; pause after each process.

    A name that was defined differently, by older code, has the definition of the newest worker.
    """
    # Last the totals: they count for a definition that a living worker has.
    for copy in (*living, *([totals] if totals is not None else [])):
        _add_copy(copy, families, is_old=copy is totals)
        yield


def _add_copy(copy: SeriesCopy, families: dict[str, FamilyOfAll], *, is_old: bool) -> None:
    here: dict[int, FamilyOfAll] = {}
    for entry in copy.entries():
        if entry.kind == FAMILY:
            family = _family(entry, families, is_old=is_old)
            if family is not None:
                here[entry.start] = family
        elif entry.family in here:
            here[entry.family].add(entry)


def _family(entry: Entry, families: dict[str, FamilyOfAll], *, is_old: bool) -> FamilyOfAll | None:
    encoded, help = split_family(entry.text)
    definition = Definition.decode(encoded)
    if definition is None or not entry.values:
        return None
    defined_at = entry.values[0]
    known = families.get(definition.name)
    if known is not None and known.definition == definition:
        if defined_at > known.defined_at and not is_old:
            known.help, known.defined_at = help, defined_at
        return known
    if known is not None and (is_old or known.defined_at > defined_at):
        return None
    family = families[definition.name] = FamilyOfAll(definition, help, defined_at)
    return family


def write_text(families: dict[str, FamilyOfAll], content_type: str) -> Iterator[str]:
    """Yield the text of all metrics, in pieces."""
    is_open = content_type == OPENMETRICS
    lines: list[str] = []
    for name in sorted(families):
        family = families[name]
        if not family.series:
            continue
        lines += _header(family, is_open=is_open)
        for (kind, text), values in sorted(family.series.items()):
            lines += _samples(family, family.labels_of(kind, text), values, is_open=is_open)
            if len(lines) > _LINES:
                yield "\n".join([*lines, ""])
                lines.clear()
    if is_open:
        lines.append("# EOF")
    yield "\n".join([*lines, ""])


def _header(family: FamilyOfAll, *, is_open: bool) -> Iterator[str]:
    name, kind = family.definition.name, family.definition.kind
    unit = next((each for each in _UNITS if name.endswith(f"_{each}")), "")
    full = name if is_open or kind != COUNTER else f"{name}_total"
    yield f"# HELP {full} {family.help.translate(_ESCAPES if is_open else _HELP_ESCAPES)}"
    yield f"# TYPE {full} {kind}"
    if unit and is_open:
        yield f"# UNIT {full} {unit}"


def _samples(
    family: FamilyOfAll, labels: Labels, values: list[float], *, is_open: bool
) -> Iterator[str]:
    name, kind = family.definition.name, family.definition.kind
    text = _labels(labels)
    if kind == HISTOGRAM:
        yield from _buckets(family.definition, labels, values)
    else:
        total = "_total" if kind == COUNTER else ""
        yield f"{name}{total}{text} {_number(values[CREATED + 1])}"
    if is_open and kind != GAUGE:
        yield f"{name}_created{text} {values[CREATED]:.3f}"


def _buckets(definition: Definition, labels: Labels, values: list[float]) -> Iterator[str]:
    name, text = definition.name, _labels(labels)
    inner = f"{text[1:-1]}," if text else ""
    count = 0.0
    for bound, number in zip(
        (*definition.bounds, float("inf")), values[CREATED + 2 :], strict=True
    ):
        count += number
        yield f'{name}_bucket{{{inner}le="{_number(bound)}"}} {_number(count)}'
    yield f"{name}_count{text} {_number(count)}"
    yield f"{name}_sum{text} {_number(values[CREATED + 1])}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)
    return f"{{{','.join(pairs)}}}"


def _number(value: float) -> str:
    """Return a number as Go's ParseFloat reads it, which both formats require."""
    if value == float("inf"):
        return "+Inf"
    return repr(value)
