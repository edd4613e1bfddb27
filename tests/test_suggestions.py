"""Keywords and names of other frameworks are answered with ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from support.remedies import check_remedy

from microweb import App, ConfigurationError, HTTPError, Request, Response, Router, abort
from microweb.channels.channel import Channels
from microweb.middleware.compression import Compression
from microweb.middleware.cors import CORS
from microweb.middleware.hosts import AllowedHosts
from microweb.middleware.rate_limit import RateLimit
from microweb.middleware.sessions import Sessions
from microweb.middleware.timeout import Timeout
from microweb.remedies import KEYWORDS
from microweb.suggestions import NAMES
from microweb.websocket.suggestions import NAMES as SOCKET_NAMES

OURS: dict[str, type | Callable[..., object]] = {
    "App": App,
    "Router": Router,
    "include": Router.include,
    "route": Router.route,
    "websocket": Router.websocket,
    "Request": Request,
    "Response": Response,
    "HTTPError": HTTPError,
    "abort": abort,
    "CORS": CORS,
    "Compression": Compression,
    "Sessions": Sessions,
    "Channels": Channels,
    "AllowedHosts": AllowedHosts,
    "Timeout": Timeout,
    "RateLimit": RateLimit,
}


@pytest.mark.parametrize(
    ("call", "keywords", "ours"),
    [
        (CORS, {"allow_origins": ["*"]}, "CORS(origins)"),
        (CORS, {"origins": "*", "allow_methods": ["GET"]}, "CORS(origins, methods=...)"),
        (Compression, {"minimum_size": 500}, "Compression(min_bytes=...)"),
        (Sessions, {"secret_key": "x" * 32, "session_cookie": "s"}, "Sessions(secret_key, cookie="),
        (Channels, {"url": "redis://localhost"}, "Channels(broker=RedisBroker(url))"),
        (AllowedHosts, {"allowed_hosts": ["a.example"]}, "AllowedHosts(hosts)"),
        (Timeout, {"timeout": 1}, "Timeout(seconds)"),
        (RateLimit, {"limit": 1}, "RateLimit(quota, window_s)"),
    ],
)
def test_keyword_of_another_framework_names_ours(
    call: Callable[..., object], keywords: dict[str, object], ours: str
) -> None:
    with pytest.raises(TypeError, match=r"^\w+\(\) has no keyword '\w+': in microweb") as caught:
        call(**keywords)
    assert f"in microweb it is `{ours}" in str(caught.value)


@pytest.mark.parametrize("call", KEYWORDS)
def test_keywords_of_other_frameworks_are_none_of_ours(call: str) -> None:
    owner, _, name = call.partition(".")
    function = getattr(OURS[owner], name) if name else OURS[owner]
    assert not inspect.signature(function).parameters.keys() & KEYWORDS[call].keys()


def test_options_of_other_servers_name_ours() -> None:
    text = r"^unknown option 'debug': in microweb it is `App\(debug=True\)`$"
    with pytest.raises(ConfigurationError, match=text):
        App().serve(debug=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"it is `app.run\(workers=...\)`$"):
        App().serve(port=0, processes=2)  # type: ignore[call-arg]


def test_options_of_other_websocket_routes_name_ours() -> None:
    with pytest.raises(ConfigurationError) as caught:
        App().websocket("/", subprotocols=["chat"])  # type: ignore[arg-type]
    assert str(caught.value) == (
        "websocket() has no keyword 'subprotocols': in microweb it is "
        "`await socket.accept(subprotocol)`"
    )


def test_channels_that_get_a_name_say_where_it_belongs() -> None:
    with pytest.raises(ConfigurationError, match=r"got 'news': write .* then channels\[name\] for"):
        Channels("news")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ({"reload": True}, "in microweb it is `microweb dev module:app, a command`"),
        ({"processes": 2}, "in microweb it is `app.run(workers=...)`"),
    ],
)
def test_run_names_the_command_or_the_option(
    option: dict[str, Any], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        App().run(**option)
    assert remedy in capsys.readouterr().err


# --- each remedy names things that exist ----------------------------------------------

REMEDIES = sorted(
    {
        ours
        for names in (*NAMES.values(), SOCKET_NAMES, *KEYWORDS.values())
        for ours in names.values()
    }
)


@pytest.mark.parametrize("remedy", REMEDIES)
def test_remedy_names_what_exists(remedy: str) -> None:
    check_remedy(remedy)


@pytest.mark.parametrize(
    "remedy",
    [
        "app.run(nonsense=...)",
        "Compression(level=...)",
        "request.nonsense",
        "request.client.nonsense",
        "Response.redirect(url, status, more)",
        "await request.args",
        "microweb nonsense app",
        "Nonsense(1)",
    ],
)
def test_remedy_that_names_nothing_is_found(remedy: str) -> None:
    with pytest.raises(AssertionError):
        check_remedy(remedy)
