from __future__ import annotations

import os
import re
import signal
from collections import Counter as Sums
from pathlib import Path

import pytest
from support.processes import get
from support.supervising import supervised

from microweb import App, ConfigurationError
from microweb.middleware.metrics import Counter, Metrics
from microweb.server.metrics_text import OPENMETRICS, PROMETHEUS


def app_with_metrics() -> App:
    app = App()
    app.use(Metrics("/metrics"))

    @app.post("/metrics")
    async def create() -> str:
        return "created"

    @app.get("/tea/{name}")
    async def tea(name: str) -> str:
        return name

    return app


async def test_metrics_of_the_server_and_of_the_application() -> None:
    Counter("test_middleware_cups_total", "Cups").inc(3)
    async with app_with_metrics().test_client() as client:
        await client.get("/tea/green")
        response = await client.get("/metrics")
    assert response.headers["Content-Type"] == PROMETHEUS
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Vary"] == "Accept"
    assert "\ntest_middleware_cups_total 3.0\n" in response.text
    assert 'http_route="/tea/{name}",http_response_status_code="200"} ' in response.text
    assert "green" not in response.text


async def test_client_may_ask_for_openmetrics() -> None:
    async with app_with_metrics().test_client() as client:
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        response = await client.get("/metrics", headers=accept)
    assert response.headers["Content-Type"] == OPENMETRICS
    assert response.text.endswith("\n# EOF\n")


async def test_head_has_no_content() -> None:
    async with app_with_metrics().test_client() as client:
        response = await client.head("/metrics")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Type"] == PROMETHEUS


async def test_other_methods_and_paths_go_to_the_app() -> None:
    async with app_with_metrics().test_client() as client:
        assert (await client.post("/metrics")).text == "created"
        assert (await client.get("/metrics/more")).status_code == 404


async def test_mounted_app_answers_below_its_prefix() -> None:
    app = App()
    app.mount("/inner", app_with_metrics())
    async with app.test_client() as client:
        assert 'http_route="/inner/tea/{name}"' not in (await client.get("/inner/metrics")).text
        await client.get("/inner/tea/green")
        assert 'http_route="/inner/tea/{name}"' in (await client.get("/inner/metrics")).text
        assert (await client.get("/metrics")).status_code == 404


@pytest.mark.parametrize("path", ["metrics", "", 7])
def test_path_is_checked(path: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a path such as '/metrics'"):
        Metrics(path)


# --- several workers ------------------------------------------------------------------

SERVICE = """
import os, sys
from microweb import App
from microweb.middleware.metrics import Counter, Metrics

app = App()
app.use(Metrics())
answers = Counter("shop_answers_total", "Answers")

@app.get("/")
async def index() -> str:
    answers.inc()
    return f"{os.getpid()}"

if __name__ == "__main__":
    app.run(port=0, workers=2)
"""

COUNT = 'http_server_request_duration_seconds_count{http_request_method="GET",http_route="/",'


def counters(url: str) -> Sums[str]:
    status, text = get(url, "/metrics")
    assert status == 200
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    is_counter = re.compile(r"\w+(_total|_bucket|_count|_sum)\b")
    return Sums({name: float(value) for name, _, value in pairs if is_counter.match(name)})


def answered(found: Sums[str]) -> float:
    return sum(value for name, value in found.items() if name.startswith(COUNT))


@pytest.fixture
def service(tmp_path: Path) -> Path:
    path = tmp_path / "service.py"
    path.write_text(SERVICE)
    return path


@pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")
def test_no_counter_falls_across_reloads_and_kills(service: Path) -> None:
    with supervised(service) as (program, url):
        asked, last = 0, counters(url)
        for number in range(5):
            if number == 1:
                program.process.send_signal(signal.SIGHUP)
                program.err.wait_for("reload complete")
            elif number == 3:
                victim = int(get(url)[1])
                asked += 1
                os.kill(victim, signal.SIGKILL)
                program.err.wait_for(f"worker {victim} was killed by SIGKILL")
                program.err.wait_for("is ready")
            asked += 10
            assert all(get(url)[0] == 200 for _ in range(10))
            found = counters(url)
            fallen = {name for name, value in last.items() if found[name] < value}
            assert fallen == set()
            assert answered(found) == found["shop_answers_total"] == asked
            last = found
        program.stop()
