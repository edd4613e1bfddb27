"""RFC 9110 section 11, RFC 7617 (Basic), RFC 6750 (Bearer)."""

from __future__ import annotations

import logging
from base64 import b64encode
from typing import Any

import httpx
import pytest

from microweb import App, ConfigurationError, Request
from microweb.errors import Forbidden
from microweb.middleware.authentication import BasicAuth, BearerAuth

BASIC = 'Basic realm="site", charset="UTF-8"'


def app_with(authentication: Any) -> App:
    app = App()
    app.use(authentication)

    @app.get("/")
    async def index(request: Request) -> dict[str, object]:
        return {"user": request.state.user}

    return app


async def ask(app: App, authorization: str | None, **fields: str) -> httpx.Response:
    async with app.test_client() as client:
        if authorization is not None:
            fields["Authorization"] = authorization
        return await client.get("/", headers=fields)


def basic(pair: str, charset: str = "utf-8") -> str:
    return "Basic " + b64encode(pair.encode(charset)).decode()


def challenge(response: httpx.Response) -> tuple[int, str | None]:
    return response.status_code, response.headers.get("www-authenticate")


# --- Basic ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        (basic("ada:lovelace"), "ada"),
        ("basic   " + basic("ada:lovelace")[6:], "ada"),
        (basic("test:123\u00a3"), "test"),  # the example of RFC 7617 section 2.1
        ("Basic dGVzdDoxMjPCow==", "test"),
        (basic("colon:a:b:"), "colon"),
    ],
)
async def test_name_and_password_are_let_in(authorization: str, user: str) -> None:
    app = app_with(BasicAuth({"ada": "lovelace", "test": "123\u00a3", "colon": "a:b:"}))
    response = await ask(app, authorization)
    assert (response.status_code, response.json()) == (200, {"user": user})


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Bearer abc",
        basic("ada:wrong"),
        basic("ada:"),
        basic("ada"),
        basic("Ada:lovelace"),
        basic("nobody:lovelace"),
        basic(":"),
        basic(":lovelace"),
        basic("ada:lovelace\n"),
        basic("ada:lovelace\x00"),
        basic("test:123\u00a3", "latin-1"),
        basic("ada:lovelace") + ", " + basic("ada:lovelace"),
        basic("ada:lovelace")[:-1] + "!",
        basic("ada:lovelace") + "!",
        basic("ada:lovelace").replace("Basic ", "Basic !"),
        basic("ada:lovelace")[:10] + "-_" + basic("ada:lovelace")[10:],
        "Basic \xff\xfe",
    ],
)
async def test_all_else_is_a_401_with_a_challenge(authorization: str | None) -> None:
    app = app_with(BasicAuth({"ada": "lovelace", "test": "123\u00a3"}))
    raw = authorization.encode("latin-1") if authorization is not None else None
    async with app.test_client() as client:
        response = await client.get("/", headers={} if raw is None else {"Authorization": raw})
    assert challenge(response) == (401, BASIC)
    assert "lovelace" not in response.text


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("answer", "user"),
    [({"id": 7}, {"id": 7}), (0, 0), ("", ""), (True, "ada"), (None, None), (False, None)],
)
async def test_a_function_may_check(is_async: bool, answer: object, user: object) -> None:
    asked = []

    def check(name: str, password: str) -> object:
        asked.append((name, password))
        return answer

    async def check_async(name: str, password: str) -> object:
        return check(name, password)

    app = app_with(BasicAuth(check_async if is_async else check))
    response = await ask(app, basic("ada:b:c"))
    assert asked == [("ada", "b:c")]
    if user is None:
        assert challenge(response) == (401, BASIC)
    else:
        assert response.json() == {"user": user}


@pytest.mark.parametrize("user", [None, False, "ada"])
async def test_a_lambda_around_an_async_function_is_awaited(user: object) -> None:
    async def check(*given: str) -> object:
        return user

    basic_app = app_with(BasicAuth(lambda name, password: check(name, password)))
    bearer_app = app_with(BearerAuth(lambda token: check(token)))
    expected = 200 if user else 401
    assert (await ask(basic_app, basic("ada:b"))).status_code == expected
    assert (await ask(bearer_app, "Bearer abc")).status_code == expected


async def test_a_function_is_not_asked_about_what_is_malformed() -> None:
    def check(name: str, password: str) -> bool:
        raise AssertionError("it was asked")

    assert (await ask(app_with(BasicAuth(check)), "Basic x")).status_code == 401
    for control in "\x00\n\r\t\x1f\x7f\x80\x9f":
        for pair in (f"a{control}:b", f"a:b{control}", f"{control}a:b", f"a:{control}b"):
            assert (await ask(app_with(BasicAuth(check)), basic(pair))).status_code == 401


async def test_a_function_may_raise_what_it_means() -> None:
    async def check(name: str, password: str) -> bool:
        raise Forbidden("locked")

    assert (await ask(app_with(BasicAuth(check)), basic("a:b"))).status_code == 403


async def test_clients_that_prefer_json_get_problem_details() -> None:
    response = await ask(app_with(BasicAuth({})), basic("a:b"), Accept="application/json")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "status": 401,
        "title": "Unauthorized",
        "detail": "wrong name or password",
    }


async def test_realm_is_quoted() -> None:
    response = await ask(app_with(BasicAuth({}, realm='the "back\\office"')), None)
    assert response.headers["www-authenticate"].startswith(r'Basic realm="the \"back\\office\"",')


# --- Bearer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "user"),
    [
        ({"abc-._~+/1=": "ada", "other": "eve"}, "ada"),
        (["other", "abc-._~+/1="], True),
        ("abc-._~+/1=", True),
        (lambda token: token[:3], "abc"),
    ],
)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_token_is_let_in(check: Any, user: object, scheme: str) -> None:
    response = await ask(app_with(BearerAuth(check)), f"{scheme} abc-._~+/1=")
    assert (response.status_code, response.json()) == (200, {"user": user})


@pytest.mark.parametrize("authorization", [None, "", basic("a:b"), "Bearers abc", "abc"])
async def test_without_a_token_the_challenge_names_no_error(authorization: str | None) -> None:
    """RFC 6750 section 3.1"""
    response = await ask(app_with(BearerAuth(["abc"])), authorization)
    assert challenge(response) == (401, 'Bearer realm="site"')


@pytest.mark.parametrize("token", ["abcd", "ab", "ABC", "abc="])
@pytest.mark.parametrize("check", [["abc"], lambda token: None, lambda token: False])
async def test_another_token_is_invalid(token: str, check: Any) -> None:
    response = await ask(app_with(BearerAuth(check, realm="api")), f"Bearer {token}")
    assert challenge(response) == (401, 'Bearer realm="api", error="invalid_token"')


@pytest.mark.parametrize("rest", ["", " a b", " abc, Bearer abc", ' "abc"', " =", " a\tb"])
async def test_what_is_no_token_is_a_malformed_request(rest: str) -> None:
    response = await ask(app_with(BearerAuth(["abc"])), f"Bearer{rest}")
    assert challenge(response) == (400, 'Bearer realm="site", error="invalid_request"')


async def test_token_in_the_query_is_none() -> None:
    async with app_with(BearerAuth(["abc"])).test_client() as client:
        assert (await client.get("/?access_token=abc")).status_code == 401


class Checks:
    """A check that is an object, and a check that is a method of it."""

    async def __call__(self, token: str, request: Request) -> str:
        return f"{token} {request.method}"

    def method(self, request: Request, token: str) -> str:  # in a thread
        return f"{token} {request.method}"


async def by_name(token, request):  # type: ignore[no-untyped-def]
    return f"{token} {request.method}"


async def by_annotation(asked: Request, token: str) -> str:
    return f"{token} {asked.method}"


async def by_keyword(token: str, *, request: Request) -> str:
    return f"{token} {request.method}"


async def without(token: str, method: str = "GET") -> str:
    return f"{token} {method}"


@pytest.mark.parametrize(
    "check",
    [Checks(), Checks().method, by_name, by_annotation, by_keyword, without, lambda t: f"{t} GET"],
)
async def test_a_function_may_take_the_request(check: Any) -> None:
    response = await ask(app_with(BearerAuth(check)), "Bearer s3cret")
    assert response.json() == {"user": "s3cret GET"}


async def test_a_function_of_name_and_password_may_take_the_request() -> None:
    def check(name: str, password: str, request: Request) -> str:
        return f"{name} {password} {request.path}"

    response = await ask(app_with(BasicAuth(check)), basic("ada:lovelace"))
    assert response.json() == {"user": "ada lovelace /"}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: BearerAuth(lambda: None), r"BearerAuth takes \(token\), this takes \(\)"),
        (lambda: BearerAuth(lambda request: 1), r"BearerAuth takes \(request, token\), this takes"),
        (lambda: BasicAuth(lambda name: 1), r"BasicAuth takes \(name, password\), this takes"),
    ],
)
def test_a_function_of_other_parameters_is_refused(make: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        make()


async def test_on_one_route() -> None:
    app = App()

    @app.get("/open")
    async def open() -> str:
        return "open"

    @app.get("/closed", use=[BearerAuth({"abc": "ada"})])
    async def closed(request: Request) -> str:
        return f"for {request.state.user}"

    async with app.test_client() as client:
        assert (await client.get("/open")).text == "open"
        assert (await client.get("/closed")).status_code == 401
        response = await client.get("/closed", headers={"Authorization": "Bearer abc"})
        assert response.text == "for ada"


async def test_unknown_paths_are_not_told_from_known_ones() -> None:
    async with app_with(BearerAuth(["abc"])).test_client() as client:
        assert (await client.get("/nowhere")).status_code == 401


# --- secrets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authentication", "authorization"),
    [
        (BasicAuth({"ada": "s3cret"}), basic("ada:wr0ng")),
        (BasicAuth({"ada": "s3cret"}), basic("ada:s3cret")),
        (BearerAuth({"s3cret": "ada"}), "Bearer wr0ng"),
        (BearerAuth({"s3cret": "ada"}), "Bearer s3cret wr0ng"),
    ],
)
async def test_no_secret_reaches_a_log_or_an_answer(
    authentication: Any, authorization: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = await ask(app_with(authentication), authorization)
    said = caplog.text + response.text + repr(response.headers)
    for secret in ("s3cret", "wr0ng", authorization.partition(" ")[2]):
        assert secret not in said


def test_no_secret_is_kept_as_it_is() -> None:
    for authentication in (BasicAuth({"ada": "s3cret"}), BearerAuth({"s3cret": "ada"})):
        (cell,) = authentication._check.__closure__  # type: ignore[attr-defined]
        kept = vars(cell.cell_contents.__self__)
        assert "digest" in repr(kept) and "s3cret" not in repr(kept)


# --- invalid arguments ----------------------------------------------------------------


@pytest.mark.parametrize(
    "passwords", [{"ada": ""}, {"ada": None}, {"a:da": "x"}, {"ada": "x\n"}, {"a\x00": "x"}]
)
def test_passwords_that_nobody_could_send_or_should_use_are_refused(passwords: Any) -> None:
    with pytest.raises(ConfigurationError, match="BasicAuth: "):
        BasicAuth(passwords)


@pytest.mark.parametrize("tokens", [[""], ["a b"], [None], {"": "ada"}, {"abc": None}, ["s3cret!"]])
def test_tokens_that_nobody_could_send_are_refused_unsaid(tokens: Any) -> None:
    with pytest.raises(ConfigurationError, match="BearerAuth: ") as raised:
        BearerAuth(tokens)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("make", [BasicAuth, BearerAuth])
def test_realm_is_a_field_value(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="realm: "):
        make({}, realm="a\r\nX: y")
