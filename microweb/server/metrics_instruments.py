"""Counter, Gauge and Histogram: the metrics that an application measures.

The names of classes and methods are those of the package `prometheus_client`. A number is written
directly to the memory that other processes read, so that a process that is killed loses none.
"""

from __future__ import annotations

import math
import re
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, Self

from ..errors import ConfigurationError
from .metrics_registry import REGISTRY, Family
from .metrics_series import COUNTER, CREATED, GAUGE, HISTOGRAM, Definition

# In seconds: those that OpenTelemetry advises for `http.server.request.duration`.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
MAX_SERIES = 500
_MAX_BUCKETS = 100

Combine = Literal["sum", "max", "min"]

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,119}+")
_RESERVED = ("_bucket", "_count", "_sum", "_created", "_info", "_total")
_OURS = ("microweb_", "http_server_")
SUM, VALUE = CREATED + 1, CREATED + 1  # of a histogram; of a counter or a gauge


class _Metric:
    """A metric, or one of its series: then `_at` is the word of its numbers."""

    __slots__ = ("_at", "_cells", "_family")

    def __init__(self, definition: Definition, help: str, max_series: int) -> None:
        kind = type(self).__name__
        if not isinstance(help, str) or not help.strip():
            raise ConfigurationError(
                f"{kind} {definition.name!r}: expected a help text, got {help!r:.80}"
            )
        if isinstance(max_series, bool) or not isinstance(max_series, int) or max_series < 1:
            raise ConfigurationError(
                f"{kind} {definition.name!r}: expected max_series of 1 or more, got {max_series!r}"
            )
        self._family: Family = REGISTRY.family(definition, help.strip(), max_series)
        self._cells = self._family.cells
        self._at: int | None = None
        if not definition.labels:
            self._at = self._family.series(())

    def labels(self, *values: object, **named: object) -> Self:
        """Return the series of these values of the labels, in order or by name.

        Values are converted by `str`, cut at 128 characters, and have no control characters. Past
        `max_series`, all further values are one series. Raises: ValueError for other labels.
        """
        names = self._family.definition.labels
        try:
            if named:
                values = (*values, *(named.pop(name) for name in names[len(values) :]))
        except KeyError:
            values = ()
        if self._at is not None or len(values) != len(names) or named:
            raise ValueError(f"{self}: expected labels({', '.join(f'{n}=...' for n in names)})")
        series = object.__new__(type(self))
        series._family, series._cells = self._family, self._cells
        series._at = self._family.series(tuple(map(str, values)))
        return series

    def _place(self) -> int:
        """Return the word of the numbers. Raises: ValueError if labels are missing."""
        if self._at is None:
            names = ", ".join(f"{name}=..." for name in self._family.definition.labels)
            raise ValueError(f"{self}: expected a series of it: use .labels({names})")
        return self._at

    def _add(self, amount: float) -> None:
        """Add to the value of a counter or a gauge, which exists from now on."""
        at = self._at
        if at is None:
            at = self._place()
        cells = self._cells
        with cells.lock:
            cells.words[at + VALUE] += amount
            cells.words[at + CREATED] = cells.words[at + CREATED] or time.time()

    def __str__(self) -> str:
        return f"{type(self).__name__} {self._family.definition.name!r}"


class Counter(_Metric):
    """A number that only grows: `orders = Counter("shop_orders_total", "Orders placed")`.

    The name ends in `_total`. With `labels=("country",)`, `orders.labels("de").inc()`. The metric
    is the sum over all workers, also over those that have ended. A metric may be made again with
    the same arguments. Raises: ConfigurationError.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        max_series: int = MAX_SERIES,
    ) -> None:
        if isinstance(name, str) and not name.endswith("_total"):
            raise ConfigurationError(
                f"Counter: expected a name that ends in '_total', got {name!r:.80}"
            )
        base = name.removesuffix("_total") if isinstance(name, str) else name
        super().__init__(_definition("Counter", base, COUNTER, labels), help, max_series)

    def inc(self, amount: float = 1) -> None:
        """Add `amount`. Raises: ValueError if it is negative, infinite or NaN."""
        if not 0 <= amount < math.inf:
            raise ValueError(f"{self}: expected a finite amount of 0 or more, got {amount!r:.80}")
        self._add(amount)


class Gauge(_Metric):
    """A number that goes up and down: `Gauge("shop_queue_jobs", "Jobs that wait")`.

    Each worker has its own value. The metric is their sum, or with `combine="max"` or "min" the
    highest or lowest one. A worker that has ended no longer counts. Raises: ConfigurationError.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        combine: Combine = "sum",
        max_series: int = MAX_SERIES,
    ) -> None:
        if combine not in ("sum", "max", "min"):
            raise ConfigurationError(
                f"Gauge {name!r:.80}: expected combine as 'sum', 'max' or 'min', got {combine!r}"
            )
        definition = _definition("Gauge", name, GAUGE, labels, combine=combine)
        super().__init__(definition, help, max_series)
        if self._at is not None and combine == "sum":  # else 0 could be the highest of all
            self.inc(0)

    def set(self, value: float) -> None:
        """Set the value. Raises: ValueError if it is infinite or NaN."""
        if not -math.inf < value < math.inf:
            raise ValueError(f"{self}: expected a finite value, got {value!r:.80}")
        at = self._place()
        cells = self._cells
        with cells.lock:
            cells.words[at + VALUE] = value
            cells.words[at + CREATED] = cells.words[at + CREATED] or time.time()

    def inc(self, amount: float = 1) -> None:
        """Add `amount`. Raises: ValueError if it is infinite or NaN."""
        if not -math.inf < amount < math.inf:
            raise ValueError(f"{self}: expected a finite amount, got {amount!r:.80}")
        self._add(amount)

    def dec(self, amount: float = 1) -> None:
        """Subtract `amount`. Raises: ValueError if it is infinite or NaN."""
        self.inc(-amount)


class Histogram(_Metric):
    """Counts of values, by buckets: `Histogram("shop_payment_seconds", "Time of a payment")`.

    `buckets` are their upper bounds, in ascending order; a last one without a bound is added. The
    metric is the sum over all workers, also over those that have ended. Raises: ConfigurationError.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float] = BUCKETS,
        max_series: int = MAX_SERIES,
    ) -> None:
        bounds = _check_buckets(name, buckets)
        definition = _definition("Histogram", name, HISTOGRAM, labels, bounds=bounds)
        super().__init__(definition, help, max_series)

    def observe(self, value: float) -> None:
        """Count a value. Raises: ValueError if it is negative, infinite or NaN."""
        if not 0 <= value < math.inf:
            raise ValueError(f"{self}: expected a finite value of 0 or more, got {value!r:.80}")
        at = self._place()
        bucket = at + SUM + 1 + bisect_left(self._family.definition.bounds, value)
        cells = self._cells
        with cells.lock:
            cells.words[bucket] += 1
            cells.words[at + SUM] += value

    @contextmanager
    def time(self) -> Iterator[None]:
        """Observe the seconds that a block takes, also if it raises: `with payment.time():`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - begun)


def _definition(
    kind: str,
    name: str,
    type: str,
    labels: Sequence[str],
    *,
    bounds: tuple[float, ...] = (),
    combine: Combine = "sum",
) -> Definition:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("__"):
        raise ConfigurationError(
            f"{kind}: expected a name of letters, digits and '_', got {name!r:.80}"
        )
    if name.endswith(_RESERVED):
        raise ConfigurationError(
            f"{kind} {name!r}: expected a name without one of the ends {', '.join(_RESERVED)}"
        )
    if name.startswith(_OURS):
        raise ConfigurationError(
            f"{kind} {name!r}: names that begin with {' or '.join(_OURS)} are those of microweb"
        )
    if isinstance(labels, str) or not all(map(_is_label, labels)):
        raise ConfigurationError(
            f"{kind} {name!r}: expected labels as in ('country',), got {labels!r:.80}"
        )
    if len({*labels}) < len(labels):
        raise ConfigurationError(f"{kind} {name!r}: a label is named twice: {labels!r:.80}")
    return Definition(name, type, (*labels,), bounds, combine)


def _is_label(label: object) -> bool:
    if not isinstance(label, str) or not _NAME.fullmatch(label) or label.startswith("__"):
        return False
    return label not in ("le", "quantile", "otel_metric_overflow")


def _check_buckets(name: str, buckets: Sequence[float]) -> tuple[float, ...]:
    try:
        bounds = tuple(map(float, buckets))
    except (TypeError, ValueError):
        bounds = ()
    if bounds[-1:] == (math.inf,):
        bounds = bounds[:-1]
    is_ascending = all(low < high for low, high in pairwise(bounds))
    are_finite = all(map(math.isfinite, bounds))
    if not 0 < len(bounds) <= _MAX_BUCKETS or not is_ascending or not are_finite:
        raise ConfigurationError(
            f"Histogram {name!r:.80}: expected 1 to {_MAX_BUCKETS} buckets in ascending order, as "
            f"in (0.1, 1.0, 10.0), got {buckets!r:.80}"
        )
    return bounds
