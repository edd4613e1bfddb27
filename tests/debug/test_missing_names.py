"""Imports from `microweb` of names that are elsewhere, or in other frameworks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.remedies import check_remedy
from test_reference import PUBLIC

import microweb
from microweb.debug.missing_names import FOREIGN_NAMES

OWN = sorted(PUBLIC.keys() - microweb.__all__ - FOREIGN_NAMES.keys())


@pytest.mark.parametrize("name", ["WebSocketDisconnect", "status", "HTTPBearer", "Mount", "run"])
def test_import_of_another_frameworks_name_names_ours(name: str) -> None:
    with pytest.raises(ImportError, match=f"^microweb has no '{name}': (write|catch) "):
        exec(f"from microweb import {name}")
    assert not hasattr(microweb, name)


@pytest.mark.parametrize("name", OWN)
def test_import_of_a_public_name_names_its_module(name: str) -> None:
    with pytest.raises(ImportError, match=f"^microweb has no '{name}': write `from ") as caught:
        exec(f"from microweb import {name}")
    found: dict[str, object] = {}
    exec(str(caught.value).split("`")[1], found)
    assert found[name] is PUBLIC[name]
    assert not hasattr(microweb, name)


def test_import_of_any_other_name_is_told_by_python() -> None:
    for name in ("nonsense", "annotations", "HTTPStatus", "Iterable"):
        with pytest.raises(ImportError, match=rf"^cannot import name '{name}' from 'microweb' "):
            exec(f"from microweb import {name}")


@pytest.mark.parametrize("remedy", sorted(set(FOREIGN_NAMES.values())))
def test_remedy_names_what_exists(remedy: str) -> None:
    check_remedy(remedy)


def test_start_needs_none_of_this() -> None:
    code = "import sys, microweb; print('microweb.debug.missing_names' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
