"""The extras of pyproject.toml: none lets a version be installed that has a known advisory."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from support.processes import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
REQUIREMENTS = [Requirement(line) for extra in EXTRAS.values() for line in extra]


@pytest.mark.parametrize(
    ("name", "vulnerable", "fixed"),
    [
        ("jinja2", "3.1.5", "3.1.6"),  # CVE-2025-27516
        ("h11", "0.14.0", "0.16.0"),  # CVE-2025-43859
        ("httpcore", "1.0.8", "1.0.9"),  # the first that asks for h11 0.16
    ],
)
def test_vulnerable_version_is_not_let_in(name: str, vulnerable: str, fixed: str) -> None:
    of_that_name = [each for each in REQUIREMENTS if each.name == name]
    assert of_that_name
    for requirement in of_that_name:
        assert vulnerable not in requirement.specifier
        assert fixed in requirement.specifier
