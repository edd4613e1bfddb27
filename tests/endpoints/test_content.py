"""Bodies as parameters: `note: Json[Note]`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import pytest
from support.endpoints import refusal
from support.serving import DEADLINE_S

from microweb import App, ConfigurationError, Request
from microweb.typed import Header, Json, Meta


@dataclass
class Note:
    title: Annotated[str, Meta(min_length=1)]
    tags: list[str] = field(default_factory=list)


def app_of(endpoint: Any, **options: Any) -> App:
    app = App()
    app.post("/", **options)(endpoint)
    return app


async def post(endpoint: Any, content: bytes = b"{}", url: str = "/", **fields: str) -> Any:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    async with app_of(endpoint).test_client() as client:
        return await client.post(url, content=content, headers=headers)


async def create(note: Json[Note]) -> str:
    return repr(note)


async def test_body_is_read_and_checked() -> None:
    response = await post(create, b'{"title": "milk", "tags": ["a"]}')
    assert response.text == "Note(title='milk', tags=['a'])"


async def test_an_object_that_is_kept_tells_missing_keys() -> None:
    async def find(note: Json[dict[str, Any]]) -> str:
        return str(note["inner"]["missing"])

    response = await post(find, b'{"inner": {}}')
    assert response.status_code == 400
    assert "'missing'" in response.text


async def test_all_faults_of_the_body_are_one_answer() -> None:
    response = await post(create, b'{"title": "", "tags": [1]}', accept="application/json")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "status": 422,
        "title": "Unprocessable Content",
        "detail": "2 faults in the body",
        "errors": [
            {
                "in": "body",
                "pointer": "#/title",
                "detail": 'expected a length of at least 1, got ""',
            },
            {"in": "body", "pointer": "#/tags/0", "detail": "expected a string, got 1"},
        ],
    }


async def test_plain_function_gets_the_body_in_a_thread() -> None:
    def show(note: Json[Note], request: Request, n: int = 1) -> str:
        return f"{note.title} {request.method} {n}"

    assert (await post(show, b'{"title": "milk"}', "/?n=2")).text == "milk POST 2"


async def test_body_by_position() -> None:
    async def show(request: Request, note: Json[Note], /, x: Header[str]) -> str:
        return f"{request.method} {note.title} {x}"

    assert (await post(show, b'{"title": "milk"}', x="y")).text == "POST milk y"


async def test_stream_of_an_endpoint_with_a_body() -> None:
    async def show(note: Json[Note]) -> Any:
        yield note.title
        yield "!"

    assert (await post(show, b'{"title": "milk"}')).text == "milk!"


async def test_body_may_be_read_again_as_bytes() -> None:
    async def show(note: Json[Note], request: Request) -> bytes:
        return await request.body()

    assert (await post(show, b'{"title": "milk"}')).content == b'{"title": "milk"}'


@pytest.mark.parametrize("content", [b"", b" "])
async def test_empty_body_without_a_default_is_a_400(content: bytes) -> None:
    response = await post(create, content)
    assert response.status_code == 400
    assert "expected a JSON value, got an empty body" in response.text


async def test_empty_body_gives_a_copy_of_the_default() -> None:
    async def show(tags: Json[list[str]] = ["a"]) -> str:  # noqa: B006
        tags.append("b")
        return repr(tags)

    async with app_of(show).test_client() as client:
        assert (await client.post("/")).text == "['a', 'b']"
        assert (await client.post("/")).text == "['a', 'b']"
        assert (await client.post("/", content=b"[]")).text == "['b']"
        assert (await client.post("/", content=b"null")).status_code == 422


async def test_null_is_a_value() -> None:
    async def show(note: Json[Note | None] = None) -> str:
        return repr(note)

    assert (await post(show, b"null")).text == "None"
    assert (await post(show, b"")).text == "None"


async def test_wrong_query_is_refused_before_the_body_is_read() -> None:
    async def show(note: Json[Note], limit: int, x: Header[int]) -> str:
        return repr(note)

    response = await post(show, b"not JSON", "/?limit=a", accept="text/plain")
    assert (response.status_code, response.text) == (
        400,
        "Bad Request\nquery parameter 'limit': expected an integer, got 'a'\n"
        "header parameter 'x': missing\n",
    )


async def test_limits_of_the_route_count() -> None:
    async with app_of(create, max_json=20, max_json_values=2).test_client() as client:
        assert (await client.post("/", content=b'{"title": "a"}')).status_code == 200
        assert (await client.post("/", content=b'{"title": "aaaaaaaaaa"}')).status_code == 413
        assert (await client.post("/", content=b"[[],[],[]]")).status_code == 413


# --- answers stay small ---------------------------------------------------------------


@pytest.mark.parametrize("accept", ["application/json", "text/html", "text/plain"])
@pytest.mark.parametrize("character", ["k", "é", '\\"', "<", "\\\\", "&"])
async def test_answer_to_long_keys_and_values_stays_below_8_kib(
    accept: str, character: str
) -> None:
    async def show(values: Json[dict[str, int]]) -> str:
        return repr(values)

    members = [f'"{number}{character * 20_000}":"{character * 200}"' for number in range(22)]
    response = await post(show, f"{{{','.join(members)}}}".encode(), accept=accept)
    assert response.status_code == 422
    assert len(response.content) < 8 * 1024
    response = await post(show, b'{"%b": "x"}' % (b"k" * 500_000), accept=accept)
    assert (response.status_code, len(response.content) < 8 * 1024) == (422, True)


async def test_many_wrong_items_are_one_small_answer() -> None:
    async def show(values: Json[list[int]]) -> str:
        return repr(values)

    response = await post(show, b"[" + b",".join([b'"x"'] * 100_000) + b"]")
    assert response.json()["detail"] == "20 faults in the body and more"
    assert len(response.content) < 8 * 1024


async def test_wrong_query_gets_no_100_continue() -> None:
    async def show(note: Json[Note], limit: int = 1) -> str:
        return repr(note)

    app = app_of(show)
    async with app.serve(host="127.0.0.1", port=0) as server, asyncio.timeout(DEADLINE_S):
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\nExpect: 100-continue\r\n\r\n"
        writer.write(b"POST /?limit=x " + head)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 ") and b" 100 " not in answer
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / " + head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"title": "a"}')
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()


# --- media types ----------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_client_that_is_no_browser_sends_any_media_type(media_type: str) -> None:
    assert (await post(create, b'{"title": "a"}', content_type=media_type)).status_code == 200


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("TEXT/plain ; charset=utf-8", 415),
        ("multipart/form-data; boundary=a", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
@pytest.mark.parametrize("sign", [{"origin": "https://evil.example"}, {"sec_fetch_site": "none"}])
async def test_page_cannot_send_json_without_asking(
    media_type: str, status: int, sign: dict[str, str]
) -> None:
    response = await post(create, b'{"title": "a"}', content_type=media_type, **sign)
    assert response.status_code == status
    assert response.headers.get("accept") == ("application/json" if status == 415 else None)


# --- configuration --------------------------------------------------------------------


async def test_json_on_get_is_a_configuration_error() -> None:
    text = await refusal(create)
    assert "create at test_content.py:" in text
    assert "parameter 'note': GET has no body: route it with post, put or patch" in text


async def test_two_bodies_are_a_configuration_error() -> None:
    async def show(a: Json[Note], b: Json[Note]) -> str:
        return f"{a} {b}"

    with pytest.raises(ConfigurationError, match="'b': a request has one body, and another"):
        app_of(show)


async def test_class_without_a_marker_names_the_marker() -> None:
    async def show(note: Note) -> str:
        return repr(note)

    with pytest.raises(ConfigurationError, match=r"'note' has no source: mark it `Json\[Note\]`"):
        app_of(show)


async def test_optional_around_the_marker_is_a_configuration_error() -> None:
    async def show(note: Json[Note] | None = None) -> str:
        return repr(note)

    with pytest.raises(ConfigurationError, match="Json stands inside the annotation: put it"):
        app_of(show)


async def test_json_in_a_websocket_endpoint_is_a_configuration_error() -> None:
    async def chat(socket, note: Json[Note]) -> None:  # type: ignore[no-untyped-def]
        """Not called."""

    with pytest.raises(ConfigurationError, match="has no body: use `await socket"):
        App().websocket("/")(chat)


async def test_type_that_json_cannot_hold_is_a_configuration_error() -> None:
    async def show(number: Json[complex]) -> str:
        return repr(number)

    with pytest.raises(ConfigurationError, match="'number': expected a type that can be read"):
        app_of(show)


async def test_class_that_is_defined_later_is_found_at_freeze() -> None:
    app = App()

    @app.post("/")
    async def show(note: Json[Later]) -> str:
        return note.title

    @dataclass
    class Later:
        title: str

    globals()["Later"] = Later
    async with app.test_client() as client:
        response: httpx.Response = await client.post("/", content=b'{"title": "a"}')
    assert response.text == "a"


async def test_class_beside_the_endpoint_is_found() -> None:
    app = App()

    @dataclass
    class Local:
        title: str

    @app.post("/")
    async def show(note: Json[Local]) -> str:
        return note.title

    async with app.test_client() as client:
        assert (await client.post("/", content=b'{"title": "a"}')).text == "a"
