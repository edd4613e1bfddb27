"""The answer while the app can't be served."""

from __future__ import annotations

import re

import pytest

from microweb.development.faults import fault_of, print_fault
from microweb.errors import ConfigurationError


def test_line_of_the_command_is_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    fault = fault_of(SystemExit("microweb: there is no file app.py"))
    assert isinstance(fault, ConfigurationError)
    print_fault(fault)
    assert capsys.readouterr().err == "microweb: there is no file app.py\n"


def test_a_configuration_error_is_one_line_with_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def create_app() -> None:
        raise ConfigurationError("set SECRET_KEY")

    with pytest.raises(ConfigurationError) as caught:
        create_app()
    print_fault(fault_of(caught.value))
    text = capsys.readouterr().err
    place = r"\S+test_faults\.py:\d+ in test_\w+\.<locals>\.create_app"
    assert re.fullmatch(rf"microweb: {place}: set SECRET_KEY\n", text), text


def test_exit_of_the_app_stays(capsys: pytest.CaptureFixture[str]) -> None:
    error = SystemExit("no database")
    assert fault_of(error) is error
    print_fault(error)
    assert capsys.readouterr().err == "SystemExit: no database\n"
