"""The example of orders, imported anew for each test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .processes import ROOT

EXAMPLE = ROOT / "examples" / "orders.py"


def import_orders(monkeypatch: pytest.MonkeyPatch, folder: Path) -> ModuleType:
    """Return the module of the example, which runs in `folder` with one token."""
    monkeypatch.setenv("API_TOKENS", "sesame:ada")
    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location("orders", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "orders", module)
    spec.loader.exec_module(module)
    return module
