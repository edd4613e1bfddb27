"""In debug mode, slips of an endpoint are warnings in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from support.endpoints import app_with

Endpoint = Callable[..., Any]


async def hints(endpoint: Endpoint, caplog: pytest.LogCaptureFixture, *, debug: bool) -> list[str]:
    with caplog.at_level(logging.WARNING, "microweb.app"):
        async with app_with(endpoint, debug=debug).test_client() as client:
            await client.get("/")
            await client.get("/")
    return [record.getMessage() for record in caplog.records if record.name == "microweb.app"]


async def test_forgotten_return_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def show():  # type: ignore[no-untyped-def]
        pass

    (hint,) = await hints(show, caplog, debug=True)
    assert hint.startswith("show at test_slips.py:")
    assert "returned None: did you forget return?" in hint


async def test_annotated_none_is_no_slip(caplog: pytest.LogCaptureFixture) -> None:
    async def show() -> None:
        pass

    assert await hints(show, caplog, debug=True) == []


async def test_other_annotation_does_not_hide_the_slip(caplog: pytest.LogCaptureFixture) -> None:
    async def show() -> str:
        return None  # type: ignore[return-value]

    assert len(await hints(show, caplog, debug=True)) == 1


async def test_markup_as_text_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def show() -> str:
        return "\n<p>"

    (hint,) = await hints(show, caplog, debug=True)
    assert "returned markup as plain text: return html(...)" in hint


async def test_nothing_is_told_without_debug(caplog: pytest.LogCaptureFixture) -> None:
    async def show():  # type: ignore[no-untyped-def]
        pass

    assert await hints(show, caplog, debug=False) == []
