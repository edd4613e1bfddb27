"""URLs of Redis: a wrong URL is refused immediately."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from microweb import ConfigurationError
from microweb.channels.redis import RedisBroker
from microweb.sessions.redis import RedisStore


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://:secret@localhost",
        "redis://:secret/x@a",
        "redis://:secret@a:99999",
        "redis://:secret@[::1",
        "redis://:secret@a?timeout_of=1",
        "redis://:secret@a?socket_timeout=long",
        "rediss://:secret@a?ssl_cert_reqs=some",
        None,
        b"redis://localhost",
    ],
)
@pytest.mark.parametrize("kind", [RedisStore, RedisBroker])
def test_a_wrong_url_is_refused_at_once(kind: Callable[[Any], object], url: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}: expected a URL such as") as (
        refused
    ):
        kind(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("kind", [RedisStore, RedisBroker])
@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "rediss://:a%2Fb@h:1/2",
        "unix:///a?db=1",
        "redis://[::1]?health_check_interval=9",
    ],
)
def test_a_right_url_is_taken(kind: Callable[[Any], object], url: str) -> None:
    kind(url)
