"""The worker of `microweb dev`: the app, or its fault."""

from __future__ import annotations

import os
import re
import ssl
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from support.developing import APP, developed, until_answered, write
from support.processes import DEADLINE_S, get

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")

FAULTS = {
    "SyntaxError": "def f(:\n",
    "ZeroDivisionError": "1 / 0\n",
    "RouteConflict": '@app.get("/")\nasync def other() -> str:\n    return ""\n',
    "ConnectionError": "@app.on_startup\ndef begin() -> None:\n    raise ConnectionError\n",
    "SystemExit": 'raise SystemExit("enough")\n',
}


def test_fault_is_served_over_tls_too(tmp_path: Path) -> None:
    pytest.importorskip("trustme")
    with developed(tmp_path, "--dev-tls", source="1 / 0") as (program, url):
        assert url.startswith("https://")
        assert "ZeroDivisionError" in _get_over_tls(url)
        write(tmp_path / "app.py", "import os\nos._exit(3)\n")
        ends_at = time.monotonic() + DEADLINE_S
        while "exited with status 3" not in _get_over_tls(url):
            assert time.monotonic() < ends_at
        program.stop()


def _get_over_tls(url: str) -> str:
    any_certificate = ssl._create_unverified_context()
    with pytest.raises(HTTPError) as caught, urlopen(url, context=any_certificate):
        pass
    return str(caught.value.read().decode())


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_answers_until_the_next_good_save(tmp_path: Path, kind: str) -> None:
    with developed(tmp_path, source=APP + FAULTS[kind]) as (program, url):
        status, text = get(url, "/any/path")
        assert (status, kind in text) == (500, True), text
        write(tmp_path / "app.py", APP)
        until_answered(url, "version 1")
        write(tmp_path / "app.py", APP + FAULTS[kind])
        until_answered(url, kind)
        write(tmp_path / "app.py", APP)
        until_answered(url, "version 1")
        program.stop()
        line = "microweb: .* both answer GET" if kind == "RouteConflict" else rf"{kind}\b"
        assert len(re.findall(f"^{line}", program.err.rest(), re.M)) == 2
