"""Endpoints for tests: an app with one endpoint, its response, and the reason of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from microweb import App, ConfigurationError

Endpoint = Callable[..., Any]


def app_with(endpoint: Endpoint, path: str = "/", **options: Any) -> App:
    app = App(**options)
    app.get(path)(endpoint)
    return app


async def get(endpoint: Endpoint, url: str = "/", path: str = "/") -> httpx.Response:
    async with app_with(endpoint, path).test_client() as client:
        return await client.get(url)


async def refusal(endpoint: Endpoint, path: str = "/") -> str:
    with pytest.raises(ConfigurationError) as caught:
        app_with(endpoint, path).freeze()
    return str(caught.value)
