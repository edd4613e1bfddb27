"""Forms as parameters: `picture: FormData[Picture]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import httpx
import pytest

from microweb import App, ConfigurationError, Request, UploadFile
from microweb.typed import FormData, Json, Meta


@dataclass
class Picture:
    title: Annotated[str, Meta(max_length=5, name="Title")]
    year: int | None
    note: str | None = "-"
    is_public: bool = True
    tags: list[str] = field(default_factory=list)
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.note == "refused":
            raise ValueError("expected another note")


@dataclass
class Upload:
    file: UploadFile
    more: list[UploadFile]


async def show(picture: FormData[Picture]) -> str:
    return repr(picture)


async def save(upload: FormData[Upload], request: Request) -> str:
    async def later() -> None:
        seen.append(await upload.file.read())

    request.after_response(later)
    return f"{upload.file.filename} {[each.filename for each in upload.more]}"


seen: list[bytes] = []


def app_of(endpoint: Any) -> App:
    app = App()
    app.post("/")(endpoint)
    return app


async def post(endpoint: Any, **options: Any) -> httpx.Response:
    async with app_of(endpoint).test_client() as client:
        return await client.post("/", **options)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (
            {"Title": "Cat", "year": "7", "note": "n", "is_public": "on", "tags": ["x", "y"]},
            "title='Cat', year=7, note='n', is_public=True, tags=['x', 'y'], kind='a'",
        ),
        (
            {"Title": "", "year": "", "note": "", "kind": "b"},
            "title='', year=None, note='', is_public=False, tags=[], kind='b'",
        ),
        ({"Title": "Cat"}, "title='Cat', year=None, note='-', is_public=False, tags=[], kind='a'"),
    ],
)
@pytest.mark.parametrize("is_multipart", [False, True])
async def test_fields_of_a_form(sent: dict[str, Any], shown: str, is_multipart: bool) -> None:
    files = {"ignored": ("a.txt", b"x")} if is_multipart else None
    response = await post(show, data=sent, files=files)
    assert response.text == f"Picture({shown})"


async def test_all_faults_are_one_answer() -> None:
    sent = {"Title": ["Cat", "Dog"], "year": "x", "is_public": "perhaps", "kind": "c"}
    response = await post(show, data=sent, headers={"Accept": "application/json"})
    assert response.status_code == 422
    assert [(each["pointer"], each["detail"]) for each in response.json()["errors"]] == [
        ("#/Title", "expected it once, got it 2 times"),
        ("#/year", "expected an integer, got 'x'"),
        ("#/is_public", "expected true or false, got 'perhaps'"),
        ("#/kind", "expected one of a, b, got 'c'"),
    ]


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        ({}, "#/Title: missing"),
        ({"Title": "longer"}, "#/Title: expected a length of at most 5, got 'longer'"),
        ({"Title": "Cat", "note": "refused"}, "#: expected another note"),
    ],
)
async def test_wrong_form_is_a_422(sent: dict[str, str], line: str) -> None:
    response = await post(show, data=sent or {"x": "y"})
    assert (response.status_code, response.text) == (422, f"Unprocessable Content\n{line}\n")


async def test_files() -> None:
    files = [
        ("file", ("../cat.txt", b"meow")),
        ("more", ("a.txt", b"a")),
        ("more", ("b.txt", b"b")),
    ]
    seen.clear()
    async with app_of(save).test_client() as client:
        response = await client.post("/", files=files)
        assert response.text == "cat.txt ['a.txt', 'b.txt']"
    assert seen == [b"meow"]


async def test_file_for_a_text_and_a_text_for_a_file_are_faults() -> None:
    response = await post(save, data={"file": "text"}, files={"more": ("a.txt", b"a")})
    assert "#/file: expected a file, got a text" in response.text
    response = await post(save, files={"more": ("a.txt", b"a")})
    assert "#/file: missing" in response.text
    response = await post(show, files={"Title": ("a.txt", b"a")})
    assert "#/Title: expected a text, got a file" in response.text


async def test_another_media_type_is_a_415() -> None:
    assert (await post(show, json={})).status_code == 415
    assert (await post(show)).status_code == 415


async def test_empty_body_gives_the_default() -> None:
    async def optional(picture: FormData[Picture] = Picture("none", 1)) -> str:  # noqa: B008
        return picture.title

    assert (await post(optional)).text == "none"
    assert (await post(optional, data={"Title": "Cat"})).text == "Cat"


@dataclass
class Nested:
    picture: Picture


@dataclass
class Lists:
    pictures: list[Picture]


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (FormData[dict], "FormData takes a dataclass"),
        (FormData[Nested], "the field 'picture' can't be read from a form: annotate"),
        (FormData[Lists], "the field 'pictures' is a list of no scalars or files"),
    ],
)
def test_class_that_a_form_cannot_hold(hint: Any, text: str) -> None:
    async def endpoint(form: object) -> str:
        return repr(form)

    endpoint.__annotations__["form"] = hint
    with pytest.raises(ConfigurationError, match=text):
        app_of(endpoint)


def test_two_bodies_are_a_configuration_error() -> None:
    async def endpoint(form: FormData[Picture], note: Json[Picture]) -> str:
        return f"{form} {note}"

    with pytest.raises(ConfigurationError, match="a request has one body, and another"):
        app_of(endpoint)


def test_form_of_get_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="GET has no body"):
        App().get("/")(show)
