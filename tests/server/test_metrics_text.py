"""The two formats. The expected lines are those of their specifications.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from microweb.server.metrics_registry import Registry
from microweb.server.metrics_series import COUNTER, GAUGE, HISTOGRAM, Definition, SeriesCopy
from microweb.server.metrics_text import (
    OPENMETRICS,
    PROMETHEUS,
    FamilyOfAll,
    combine,
    content_type_of,
    write_text,
)

NASTY = 'a"b\\c\nd{e="f"} 7\n# EOF'


def process(*definitions: Definition, value: float = 1.0, labels: tuple[str, ...] = ()) -> Registry:
    registry = Registry()
    for definition in definitions:
        family = registry.family(definition, f'Help of {definition.name} \\ \n "x"', 10)
        at = family.series(labels if definition.labels else ())
        family.cells.words[at] = 1_700_000_000.25
        for word in range(at + 1, at + definition.size):
            family.cells.words[word] = value
    return registry


def living(*registries: Registry) -> list[SeriesCopy]:
    return [copy for each in registries for copy in each.read()[1]]


def text_of(*registries: Registry, content_type: str, totals: SeriesCopy | None = None) -> str:
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, totals, living(*registries)):
        pass
    return "".join(write_text(families, content_type))


ALL = (
    Definition("orders", COUNTER, ("country",)),
    Definition("jobs", GAUGE),
    Definition("wait_seconds", HISTOGRAM, (), (0.5, 2.0)),
)


def test_prometheus_text() -> None:
    assert text_of(process(*ALL, labels=(NASTY,)), content_type=PROMETHEUS) == (
        '# HELP jobs Help of jobs \\\\ \\n "x"\n'
        "# TYPE jobs gauge\n"
        "jobs 1.0\n"
        '# HELP orders_total Help of orders \\\\ \\n "x"\n'
        "# TYPE orders_total counter\n"
        'orders_total{country="a\\"b\\\\c\\nd{e=\\"f\\"} 7\\n# EOF"} 1.0\n'
        '# HELP wait_seconds Help of wait_seconds \\\\ \\n "x"\n'
        "# TYPE wait_seconds histogram\n"
        'wait_seconds_bucket{le="0.5"} 1.0\n'
        'wait_seconds_bucket{le="2.0"} 2.0\n'
        'wait_seconds_bucket{le="+Inf"} 3.0\n'
        "wait_seconds_count 3.0\n"
        "wait_seconds_sum 1.0\n"
    )


def test_openmetrics_text() -> None:
    assert text_of(process(*ALL, labels=("de",)), content_type=OPENMETRICS) == (
        '# HELP jobs Help of jobs \\\\ \\n \\"x\\"\n'
        "# TYPE jobs gauge\n"
        "jobs 1.0\n"
        '# HELP orders Help of orders \\\\ \\n \\"x\\"\n'
        "# TYPE orders counter\n"
        'orders_total{country="de"} 1.0\n'
        'orders_created{country="de"} 1700000000.250\n'
        '# HELP wait_seconds Help of wait_seconds \\\\ \\n \\"x\\"\n'
        "# TYPE wait_seconds histogram\n"
        "# UNIT wait_seconds seconds\n"
        'wait_seconds_bucket{le="0.5"} 1.0\n'
        'wait_seconds_bucket{le="2.0"} 2.0\n'
        'wait_seconds_bucket{le="+Inf"} 3.0\n'
        "wait_seconds_count 3.0\n"
        "wait_seconds_sum 1.0\n"
        "wait_seconds_created 1700000000.250\n"
        "# EOF\n"
    )


def test_no_metrics_are_a_valid_text() -> None:
    assert text_of(content_type=OPENMETRICS) == "# EOF\n"
    assert text_of(content_type=PROMETHEUS).strip() == ""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_promtool_accepts_the_text() -> None:
    text = text_of(process(*ALL, labels=(NASTY,)), content_type=PROMETHEUS)
    ended = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=20
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_prometheus_client_reads_openmetrics() -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    text = text_of(process(*ALL, labels=(NASTY,)), content_type=OPENMETRICS)
    families = {each.name: each for each in parser.text_string_to_metric_families(text)}
    assert {name: each.type for name, each in families.items()} == {
        "jobs": "gauge",
        "orders": "counter",
        "wait_seconds": "histogram",
    }
    assert families["orders"].samples[0].labels == {"country": NASTY}
    assert families["wait_seconds"].unit == "seconds"


def test_empty_label_is_left_out() -> None:
    text = text_of(process(ALL[0], labels=("",)), content_type=PROMETHEUS)
    assert text.splitlines()[-1] == "orders_total 1.0"


@pytest.mark.parametrize(("how", "expected"), [("sum", 10.0), ("max", 7.0), ("min", 3.0)])
def test_gauge_over_several_processes(how: str, expected: float) -> None:
    definition = Definition("jobs", GAUGE, combine=how)
    processes = (process(definition, value=7.0), process(definition, value=3.0))
    text = text_of(*processes, content_type=PROMETHEUS)
    assert text.splitlines()[-1] == f"jobs {expected}"


def test_series_was_made_when_the_first_process_made_it() -> None:
    first, second = process(ALL[0], labels=("de",)), process(ALL[0], labels=("de",))
    family = second.family(ALL[0], "Orders", 10)
    family.cells.words[family.series(("de",))] = 1_600_000_000.0
    text = text_of(first, second, content_type=OPENMETRICS)
    assert 'orders_total{country="de"} 2.0' in text
    assert 'orders_created{country="de"} 1600000000.000' in text


def test_newest_definition_of_a_name_counts() -> None:
    """In a reload to new code, which has changed the labels or the buckets."""
    old = process(Definition("orders", COUNTER), value=5.0)
    new = process(ALL[0], labels=("de",))
    for order in ((old, new), (new, old)):
        text = text_of(*order, content_type=PROMETHEUS, totals=living(old)[0])
        assert text.splitlines()[-1] == 'orders_total{country="de"} 1.0'
    text = text_of(content_type=PROMETHEUS, totals=living(old)[0])
    assert text.splitlines()[-1] == "orders_total 5.0"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/html", PROMETHEUS),
        ("text/plain", PROMETHEUS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;q=0, text/plain", PROMETHEUS),
        ("application/openmetrics-text;q=0.4, text/plain;q=0.5", PROMETHEUS),
        ("application/openmetrics-text;q=0", PROMETHEUS),
        (  # Prometheus 2
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;"
            "version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPENMETRICS,
        ),
        (  # Prometheus 3
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/"
            "openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;"
            "q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPENMETRICS,
        ),
    ],
)
def test_client_chooses_the_format(accept: str, expected: str) -> None:
    assert content_type_of(accept) == expected


def test_long_text_comes_in_pieces() -> None:
    registry = Registry()
    family = registry.family(ALL[0], "Orders", 3000)
    for number in range(1500):
        family.series((str(number),))
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, *registry.read()):
        pass
    pieces = list(write_text(families, PROMETHEUS))
    assert len(pieces) > 2
    assert "".join(pieces).count("\n") == 1502
