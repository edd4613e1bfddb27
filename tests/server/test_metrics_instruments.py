from __future__ import annotations

import math
import threading
from itertools import count

import pytest

from microweb import ConfigurationError
from microweb.server.metrics_instruments import BUCKETS, Counter, Gauge, Histogram
from microweb.server.metrics_registry import REGISTRY
from microweb.server.metrics_text import PROMETHEUS, FamilyOfAll, combine, write_text

_numbers = count()


def new(name: str) -> str:
    """Return a name that no other test has: a process has one registry."""
    return f"test{next(_numbers)}_{name}"


def samples_of(name: str) -> dict[str, float]:
    """Return the samples of a metric, without its name."""
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, *REGISTRY.read()):
        pass
    wanted = name.removesuffix("_total")
    lines = "".join(write_text({wanted: families[wanted]}, PROMETHEUS)).splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {text.removeprefix(wanted): float(value) for text, _, value in pairs}


def test_counter_counts_from_0() -> None:
    orders = Counter(name := new("orders_total"), "Orders")
    assert samples_of(name) == {"_total": 0.0}
    orders.inc()
    orders.inc(2.5)
    assert samples_of(name) == {"_total": 3.5}


@pytest.mark.parametrize("amount", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_counter_never_falls(amount: float) -> None:
    orders = Counter(name := new("orders_total"), "Orders")
    with pytest.raises(ValueError, match="expected a finite amount of 0 or more, got"):
        orders.inc(amount)
    assert samples_of(name) == {"_total": 0.0}


def test_amount_that_is_no_number_is_a_type_error() -> None:
    orders = Counter(new("orders_total"), "Orders")
    with pytest.raises(TypeError):
        orders.inc("1")  # type: ignore[arg-type]


def test_labels_by_order_and_by_name() -> None:
    orders = Counter(name := new("orders_total"), "Orders", ("country", "kind"))
    orders.labels("de", "new").inc()
    orders.labels("de", kind="new").inc()
    orders.labels(kind="new", country="de").inc()
    orders.labels(7, None).inc()
    assert samples_of(name) == {
        '_total{country="de",kind="new"}': 3.0,
        '_total{country="7",kind="None"}': 1.0,
    }


def test_wrong_labels_are_refused() -> None:
    orders = Counter(new("orders_total"), "Orders", ["country"])
    for values, named in [((), {}), (("a", "b"), {}), (("a",), {"country": "b"}), ((), {"x": "a"})]:
        with pytest.raises(ValueError, match=r"expected labels\(country=\.\.\.\)"):
            orders.labels(*values, **named)
    with pytest.raises(
        ValueError, match=r"expected a series of it: use \.labels\(country=\.\.\.\)"
    ):
        orders.inc()
    with pytest.raises(ValueError, match="expected labels"):
        orders.labels("de").labels("fr")


def test_gauge_goes_up_and_down() -> None:
    jobs = Gauge(name := new("jobs"), "Jobs")
    assert samples_of(name) == {"": 0.0}
    jobs.inc(3)
    jobs.dec()
    assert samples_of(name) == {"": 2.0}
    jobs.set(-7.5)
    assert samples_of(name) == {"": -7.5}
    for change in (jobs.set, jobs.inc, jobs.dec):
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(ValueError, match="expected a finite"):
                change(value)


def test_highest_value_counts_only_once_it_is_set() -> None:
    oldest = Gauge(name := new("oldest_seconds"), "Age", combine="max")
    assert samples_of(name) == {}
    oldest.set(-3)
    assert samples_of(name) == {"": -3.0}


def test_histogram_counts_in_buckets() -> None:
    sizes = Histogram(name := new("size_bytes"), "Sizes", ["kind"], buckets=(10, 100, math.inf))
    for value in (0, 10, 10.5, 100, 101):
        sizes.labels("a").observe(value)
    assert samples_of(name) == {
        '_bucket{kind="a",le="10.0"}': 2.0,
        '_bucket{kind="a",le="100.0"}': 4.0,
        '_bucket{kind="a",le="+Inf"}': 5.0,
        '_count{kind="a"}': 5.0,
        '_sum{kind="a"}': 221.5,
    }
    for wrong in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="expected a finite value of 0 or more"):
            sizes.labels("a").observe(wrong)


def test_time_of_a_block_is_observed_also_if_it_raises() -> None:
    seconds = Histogram(name := new("seconds"), "Time")
    with seconds.time():
        pass
    with pytest.raises(KeyError), seconds.time():
        raise KeyError
    assert samples_of(name)["_count"] == 2.0
    assert samples_of(name)['_bucket{le="+Inf"}'] == 2.0
    assert len(samples_of(name)) == len(BUCKETS) + 3


def test_threads_lose_no_increment() -> None:
    orders = Counter(name := new("orders_total"), "Orders", ["country"])

    def count_orders() -> None:
        for _ in range(5000):
            orders.labels("de").inc()

    threads = [threading.Thread(target=count_orders) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert samples_of(name) == {'_total{country="de"}': 20_000.0}


def test_metric_that_is_made_again_is_the_same() -> None:
    name = new("orders_total")
    for _ in range(2):  # as by a function that makes the application
        Counter(name, "Orders").inc()
    assert samples_of(name) == {"_total": 2.0}
    with pytest.raises(ConfigurationError, match="the name is taken"):
        Counter(name, "Orders", ["country"])
    with pytest.raises(ConfigurationError, match="the name is taken"):
        Gauge(name.removesuffix("_total"), "Orders")


@pytest.mark.parametrize("name", ["", "orders", "9_total", "a-b_total", "a b_total", "ä_total", 7])
def test_name_of_a_counter(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Counter"):
        Counter(name, "Orders")


@pytest.mark.parametrize(
    "name", ["a_count", "a_sum", "a_bucket", "a_total", "__a", "microweb_a", "http_server_a", "a:b"]
)
def test_name_of_a_gauge(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Gauge"):
        Gauge(name, "Help")


@pytest.mark.parametrize("labels", ["country", ["le"], ["__a"], ["a", "a"], ["a-b"], [7], [""]])
def test_names_of_labels(labels: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="label"):
        Gauge(new("jobs"), "Help", labels)


@pytest.mark.parametrize("buckets", [(), (1, 1), (2, 1), (math.nan,), ("a",), (-math.inf, 1)])
def test_buckets(buckets: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match="buckets in ascending order"):
        Histogram(new("seconds"), "Help", buckets=buckets)


def test_other_arguments() -> None:
    with pytest.raises(ConfigurationError, match="expected a help text"):
        Gauge(new("jobs"), " ")
    with pytest.raises(ConfigurationError, match="max_series of 1 or more"):
        Gauge(new("jobs"), "Help", ["a"], max_series=0)
    with pytest.raises(ConfigurationError, match="'sum', 'max' or 'min'"):
        Gauge(new("jobs"), "Help", combine="latest")  # type: ignore[arg-type]
