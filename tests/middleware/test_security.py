from __future__ import annotations

from typing import Any

import pytest

from microweb import App, ConfigurationError, Request, Response
from microweb.middleware.security import ContentSecurityPolicy, SecurityHeaders

DEFAULTS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
}
NONCE = ContentSecurityPolicy(script_src="self nonce", style_src="nonce")


def app_with(middleware: SecurityHeaders) -> App:
    app = App()
    app.use(middleware)

    @app.get("/")
    async def index(request: Request) -> str:
        return getattr(request.state, "csp_nonce", "none")

    @app.get("/own")
    async def own() -> Response:
        fields = {"x-frame-options": "SAMEORIGIN", "CONTENT-SECURITY-POLICY": "img-src *"}
        return Response(b"", headers=fields)

    @app.get("/unchanged")
    async def unchanged() -> Response:
        return Response(b"", 304)

    @app.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError

    return app


async def get(middleware: SecurityHeaders, path: str = "/", scheme: str = "http") -> Any:
    client = app_with(middleware).test_client(
        base_url=f"{scheme}://example.org", raise_errors=False
    )
    async with client:
        return await client.get(path)


@pytest.mark.parametrize("path", ["/", "/nowhere", "/fault", "/unchanged"])
async def test_each_answer_has_the_defaults(path: str) -> None:
    response = await get(SecurityHeaders(), path)
    assert DEFAULTS.items() <= dict(response.headers).items()
    assert not {"strict-transport-security", "permissions-policy"} & response.headers.keys()
    assert "content-security-policy" not in response.headers


async def test_https_alone_is_told_to_stay_https() -> None:
    response = await get(SecurityHeaders(), scheme="https")
    assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert DEFAULTS.items() <= dict(response.headers).items()


async def test_what_the_endpoint_set_stays_and_is_not_doubled() -> None:
    response = await get(SecurityHeaders(NONCE, frame_options="DENY"), "/own")
    assert response.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert response.headers.get_list("content-security-policy") == ["img-src *"]
    assert response.headers["referrer-policy"] == DEFAULTS["referrer-policy"]


async def test_values_can_be_chosen_and_left_out() -> None:
    middleware = SecurityHeaders(
        hsts=None,
        frame_options=None,
        referrer_policy="no-referrer",
        opener_policy=None,
        permissions_policy="camera=(), geolocation=(self)",
    )
    response = await get(middleware, scheme="https")
    names = {"date", "content-type", "content-length", "x-content-type-options"}
    assert response.headers.keys() == names | {"referrer-policy", "permissions-policy"}
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["permissions-policy"] == "camera=(), geolocation=(self)"


def test_value_that_no_header_can_hold_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="SecurityHeaders: expected a field value"):
        SecurityHeaders(hsts="max-age=1\r\nSet-Cookie: a=b")


async def test_inner_one_wins() -> None:
    app = App()
    app.use(SecurityHeaders())

    @app.get("/", use=[SecurityHeaders(frame_options="SAMEORIGIN")])
    async def framed() -> str:
        return ""

    async with app.test_client() as client:
        response = await client.get("/")
    assert response.headers.get_list("x-frame-options") == ["SAMEORIGIN"]


# --- the policy -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directives", "value"),
    [
        ({"default_src": "self"}, "default-src 'self'"),
        ({"default_src": "'self'"}, "default-src 'self'"),
        (
            {"default_src": "none", "img_src": "self data:"},
            "default-src 'none'; img-src 'self' data:",
        ),
        (
            {"script_src": "strict-dynamic https://cdn.example:* *.example.org wss:"},
            "script-src 'strict-dynamic' https://cdn.example:* *.example.org wss:",
        ),
        (
            {"style_src": " sha256-ab+/c0==  unsafe-inline"},
            "style-src 'sha256-ab+/c0==' 'unsafe-inline'",
        ),
        (
            {"frame_ancestors": "none", "upgrade_insecure_requests": True},
            "frame-ancestors 'none'; upgrade-insecure-requests",
        ),
        ({"sandbox": True}, "sandbox"),
        ({"sandbox": "allow-forms"}, "sandbox allow-forms"),
        ({"require_trusted_types_for": "script"}, "require-trusted-types-for 'script'"),
    ],
)
async def test_policy_is_written_as_browsers_read_it(
    directives: dict[str, Any], value: str
) -> None:
    response = await get(SecurityHeaders(ContentSecurityPolicy(**directives)))
    assert response.headers["content-security-policy"] == value
    assert response.text == "none"  # without a policy that needs it, no nonce is made


@pytest.mark.parametrize(
    ("directives", "message"),
    [
        ({}, "expected a directive"),
        ({"script": "self"}, "unknown directive 'script'"),
        ({"default_src": ""}, "default-src: expected a str of sources, got ''"),
        ({"default_src": False}, "got False"),
        ({"default_src": ["self"]}, r"got \['self'\]"),
        ({"default_src": "self; script-src *"}, "got 'self;'"),
        ({"default_src": "self, default-src *"}, "got 'self,'"),
        ({"default_src": "'nonce-abc'"}, "write nonce, for a new one in each response"),
        ({"default_src": "nonce-abc'"}, "sources separated by spaces"),
        ({"default_src": "b\u00fccher.example"}, "sources separated by spaces"),
    ],
)
def test_policy_that_would_mean_something_else_is_told_at_once(
    directives: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ContentSecurityPolicy(**directives)


async def test_report_only_refuses_nothing() -> None:
    policy = ContentSecurityPolicy(default_src="self", report_only=True)
    response = await get(SecurityHeaders(policy))
    assert response.headers["content-security-policy-report-only"] == "default-src 'self'"
    assert "content-security-policy" not in response.headers


async def test_nonce_of_the_page_is_that_of_the_policy_and_new_each_time() -> None:
    nonces = set()
    async with app_with(SecurityHeaders(NONCE)).test_client() as client:
        for _ in range(20):
            response = await client.get("/")
            nonce = response.text
            nonces.add(nonce)
            assert response.headers["content-security-policy"] == (
                f"script-src 'self' 'nonce-{nonce}'; style-src 'nonce-{nonce}'"
            )
    assert len(nonces) == 20
    assert {len(nonce) for nonce in nonces} == {24}  # 18 bytes


async def test_one_request_has_one_nonce_however_many_policies() -> None:
    app = app_with(SecurityHeaders(NONCE))
    app.use(SecurityHeaders(ContentSecurityPolicy(img_src="nonce", report_only=True)))
    async with app.test_client() as client:
        response = await client.get("/")
    assert f"'nonce-{response.text}'" in response.headers["content-security-policy"]
    expected = f"img-src 'nonce-{response.text}'"
    assert response.headers["content-security-policy-report-only"] == expected


async def test_304_does_not_give_the_stored_page_another_nonce() -> None:
    response = await get(SecurityHeaders(NONCE), "/unchanged")
    assert response.status_code == 304
    assert "content-security-policy" not in response.headers
    assert response.headers["x-frame-options"] == "DENY"
