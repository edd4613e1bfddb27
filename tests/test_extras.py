"""The extras of pyproject.toml: none lets a version be installed that has a known advisory."""

from __future__ import annotations

import shlex
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from support.processes import ROOT

from microweb.extras import command_for

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


@pytest.mark.parametrize("extra", [name for name, lines in EXTRAS.items() if lines])
def test_command_installs_the_packages_of_the_extra(extra: str) -> None:
    command = shlex.split(command_for(extra))
    assert command[:2] == ["pip", "install"]
    packages = {Requirement(each) for each in command[2:]}
    assert "microweb" not in {each.name for each in packages}
    if extra not in ("all", "dev"):  # these name other extras
        declared = {Requirement(line.partition(";")[0]) for line in EXTRAS[extra]}
        assert packages == declared


def test_without_metadata_no_package_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    text = command_for("testing")
    assert text == "install microweb from its folder with the extra testing"
