"""Text with half a surrogate pair: refused in requests, and an error that names it in responses."""

from __future__ import annotations

from pathlib import Path

import pytest

from microweb import App, Request, Response
from microweb.markup import html
from microweb.sse.event import ServerEvent
from microweb.templating import Templates

HALF = "\ud800"
NAMED = r"got half a surrogate pair, '\\ud800', at index [0-9]+, after"


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = App()
    (tmp_path / "page.html").write_text("<p>{{ title }}")
    templates = Templates(tmp_path)

    @app.get("/text")
    async def text() -> str:
        return f"before {HALF}"

    @app.get("/response")
    async def response() -> Response:
        return Response(f"before {HALF}")

    @app.get("/page")
    async def page() -> Response:
        return Response.html(f"before {HALF}")

    @app.get("/html")
    async def markup() -> object:
        return html("<p>{}", HALF)

    @app.get("/template")
    async def template() -> Response:
        return templates.render("page.html", title=HALF)

    @app.post("/json")
    async def json(request: Request) -> object:
        return await request.json()

    return app


@pytest.mark.parametrize("path", ["/text", "/response", "/page", "/html", "/template"])
async def test_an_answer_with_one_is_an_error_that_names_it(app: App, path: str) -> None:
    async with app.test_client() as client:
        with pytest.raises(ValueError, match=NAMED):
            await client.get(path)


async def test_a_template_with_one_is_named(app: App) -> None:
    async with app.test_client() as client:
        with pytest.raises(ValueError, match=NAMED) as caught:
            await client.get("/template")
    assert caught.value.__notes__ == ["in the template 'page.html'"]


def test_an_event_with_one_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=NAMED):
        ServerEvent(f"before {HALF}").encode_event()
    with pytest.raises(ValueError, match=NAMED):
        ServerEvent("", event=HALF)
    with pytest.raises(ValueError, match=NAMED):
        ServerEvent("", id=HALF)


@pytest.mark.parametrize("body", [r'{"title": "\ud800"}', r'{"\udc00": 1}', r'[["\ud83d"]]'])
async def test_json_with_one_is_a_400(app: App, body: str) -> None:
    async with app.test_client() as client:
        answer = await client.post("/json", content=body)
        assert answer.status_code == 400
        assert "half a surrogate pair" in answer.text
        answer = await client.post("/json", content=r'{"title": "\ud83d\ude00"}')
        assert answer.json() == {"title": "😀"}
