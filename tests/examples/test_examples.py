"""Run the examples: their answers and addresses are as documented, and the files stay short."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import runpy
import sys
import threading
from hashlib import sha256
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, ROOT, Program, get, run_to_end

from microweb import App
from microweb.testing.client import TestClient

EXAMPLES = ROOT / "examples"
FILES = sorted(path.name for path in EXAMPLES.glob("*.py"))
TESTED_BY_PYTEST = "testing_an_app.py"
SERVED = [name for name in FILES if name != TESTED_BY_PYTEST]
MAX_LINES = 60
MAX_LINES_OF_SITE = 90
PROBLEM = "application/problem+json"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables of the examples, here and in child processes."""
    monkeypatch.setenv("API_TOKENS", "sesame:ada mellon:eve")
    monkeypatch.setitem(ENVIRONMENT, "API_TOKENS", "sesame:ada mellon:eve")


class Load(Protocol):
    def __call__(self, name: str) -> Any: ...


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import examples anew, so that no test sees the state of another."""

    def load_example(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look up their types here
        spec.loader.exec_module(module)
        return module

    return load_example


def client_of(module: Any) -> TestClient:
    app: App = module.app
    return app.test_client()


# hello.py


async def test_hello_greets(load: Load) -> None:
    async with client_of(load("hello")) as client:
        assert (await client.get("/")).text == "hello world"
        assert (await client.get("/hello/Ada")).text == "hello Ada"
        assert (await client.get("/hello/Ada?times=2")).text == "hello Ada\nhello Ada"


async def test_hello_refuses_what_is_no_number(load: Load) -> None:
    async with client_of(load("hello")) as client:
        response = await client.get("/hello/Ada?times=x")
    assert response.status_code == 400
    assert "'times'" in response.text


# json_api.py


async def test_note_is_created_where_location_says(load: Load) -> None:
    async with client_of(load("json_api")) as client:
        created = await client.post("/notes", json={"title": "buy milk"})
        assert created.status_code == 201
        note = (await client.get(created.headers["location"])).json()
    assert note == created.json()
    assert (note["title"], note["done"]) == ("buy milk", False)
    assert created.headers["location"] == f"/notes/{note['id']}"


async def test_notes_are_listed_by_what_is_done(load: Load) -> None:
    async with client_of(load("json_api")) as client:
        for title, done in (("milk", True), ("bread", False)):
            await client.post("/notes", json={"title": title, "done": done})
        for query, titles in (("", ["milk", "bread"]), ("?done=true", ["milk"])):
            notes = (await client.get(f"/notes{query}")).json()
            assert [note["title"] for note in notes] == titles


async def test_deleted_note_is_not_found(load: Load) -> None:
    async with client_of(load("json_api")) as client:
        location = (await client.post("/notes", json={"title": "milk"})).headers["location"]
        assert (await client.delete(location)).status_code == 204
        assert (await client.get(location)).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b'{"title": 7}', 422, "#/title"),
        (b'{"done": true}', 422, "title"),
        (b'{"title": ', 400, ""),
    ],
)
async def test_wrong_note_is_refused(load: Load, body: bytes, status: int, text: str) -> None:
    async with client_of(load("json_api")) as client:
        response = await client.post("/notes", content=body)
    assert response.status_code == status
    assert text in response.text


# json_service.py

BOOKING = {"room": "attic", "begins": "2030-01-01T09:00Z", "ends": "2030-01-01T10:00Z"}
ADA = {"Authorization": "Bearer sesame"}
EVE = {"Authorization": "Bearer mellon"}


async def test_room_is_booked_once(load: Load) -> None:
    async with client_of(load("json_service")) as client:
        booked = await client.post("/bookings", json=BOOKING, headers=ADA)
        later = BOOKING | {"begins": "2030-01-01T11:00+01:00", "ends": "2030-01-01T11:30Z"}
        after_it = await client.post("/bookings", json=later, headers=EVE)
        refused = await client.post("/bookings", json=BOOKING, headers=EVE)
    assert (booked.status_code, booked.json()["room"]) == (201, "attic")
    assert after_it.status_code == 201
    assert (refused.status_code, refused.headers["content-type"]) == (409, PROBLEM)
    assert refused.json() == {
        "status": 409,
        "title": "Conflict",
        "detail": "ada has booked the room",
        "until": "2030-01-01T10:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"room": 7}, "#/room"),
        ({"begins": "at nine"}, "#/begins"),
        ({"ends": BOOKING["begins"]}, "#"),
        ({"begins": "2030-01-01T09:00"}, "#"),
        ({"begins": "2030-01-01T09:00", "ends": "2030-01-01T10:00"}, "#"),
    ],
)
async def test_wrong_booking_is_refused_with_its_pointer(
    load: Load, change: dict[str, Any], pointer: str
) -> None:
    async with client_of(load("json_service")) as client:
        response = await client.post("/bookings", json=BOOKING | change, headers=ADA)
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)
    assert [each["pointer"] for each in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_booking_needs_a_token(load: Load, headers: dict[str, str]) -> None:
    module = load("json_service")
    async with client_of(module) as client:
        response = await client.post("/bookings", json=BOOKING, headers=headers)
    assert (response.status_code, response.json()["title"]) == (401, "Unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer ")
    assert module.bookings == []


async def test_script_of_the_other_site_may_ask_and_read_errors(load: Load) -> None:
    origin = {"Origin": "http://localhost:3000"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"}
    async with client_of(load("json_service")) as client:
        preflight = await client.options("/bookings", headers=origin | asked)
        refused = await client.post("/bookings", headers=origin)
    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    for response in (preflight, refused):
        assert response.headers["access-control-allow-origin"] == origin["Origin"]


def test_service_without_tokens_does_not_start(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_TOKENS")
    with pytest.raises(SystemExit, match="set API_TOKENS='token:name'"):
        load("json_service")


# streaming.py


async def test_countdown_ends_with_lift_off(load: Load) -> None:
    module = load("streaming")
    module.PAUSE_S = 0
    async with client_of(module) as client:
        assert (await client.get("/countdown?start=3")).text == "3\n2\n1\nlift-off\n"


async def test_first_piece_arrives_before_the_second_is_made(load: Load) -> None:
    module = load("streaming")
    module.PAUSE_S = 3600
    async with (
        asyncio.timeout(DEADLINE_S),
        client_of(module) as client,
        client.stream("GET", "/countdown") as response,
    ):
        assert await anext(response.aiter_text()) == "5\n"


async def test_upload_is_digested_in_pieces(load: Load) -> None:
    body = bytes(range(256)) * 1024
    async with client_of(load("streaming")) as client:
        response = await client.put("/sha256", content=body)
    assert response.json() == {"bytes": len(body), "sha256": sha256(body).hexdigest()}


# blocking.py


async def test_disk_has_space(load: Load) -> None:
    async with client_of(load("blocking")) as client:
        assert (await client.get("/disk")).json().keys() == {"total", "used", "free"}


async def test_words_are_counted(load: Load) -> None:
    async with client_of(load("blocking")) as client:
        response = await client.post("/words", content=b"to be or not to be")
    assert response.json() == {"to": 2, "be": 2, "or": 1, "not": 1}


async def test_calls_that_block_run_side_by_side(load: Load) -> None:
    module = load("blocking")
    all_are_here = threading.Barrier(3, timeout=DEADLINE_S)
    module.time = SimpleNamespace(sleep=lambda seconds: all_are_here.wait())
    async with client_of(module) as client:
        responses = await asyncio.gather(*(client.get("/sleep") for _ in range(3)))
    assert len({response.text for response in responses}) == 3


# middleware.py


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nowhere", 404), ("/admin", 401)])
async def test_each_answer_has_what_middleware_adds(load: Load, path: str, status: int) -> None:
    async with client_of(load("middleware")) as client:
        response = await client.get(path)
    assert response.status_code == status
    assert re.fullmatch(r"app;dur=\d+\.\d\d", response.headers["server-timing"])
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_hook_leaves_the_greeting(load: Load) -> None:
    async with client_of(load("middleware")) as client:
        assert (await client.get("/")).text == "hello"
        assert (await client.get("/", headers={"Accept-Language": "fr"})).text == "bonjour"


async def test_only_the_route_with_use_asks_for_the_word(load: Load) -> None:
    async with client_of(load("middleware")) as client:
        refused = await client.get("/admin")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        headers = {"Authorization": "Bearer sesame"}
        assert (await client.get("/admin", headers=headers)).text == "welcome"


# errors.py


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/stock/tea", 200, '{"tea":3}'),
        ("/stock/tea?wanted=9", 409, "only 3 tea left\n"),
        (
            "/stock/%3Cb%3E",
            404,
            "<h1>Not here</h1><p>/stock/&lt;b&gt;: we don&#x27;t sell &lt;b&gt;</p>",
        ),
        ("/nowhere", 404, "<h1>Not here</h1><p>/nowhere: no such page</p>"),
    ],
)
async def test_error_has_its_answer(load: Load, path: str, status: int, text: str) -> None:
    async with client_of(load("errors")) as client:
        response = await client.get(path)
    assert (response.status_code, response.text) == (status, text)


async def test_client_that_prefers_json_gets_problem_details(load: Load) -> None:
    async with client_of(load("errors")) as client:
        as_text = await client.post("/pay")
        as_json = await client.post("/pay", headers={"Accept": "application/json"})
    assert as_text.text == "Payment Required\nthe card was declined\n"
    assert as_json.headers["content-type"] == "application/problem+json"
    assert as_json.headers["retry-after"] == "60"
    assert as_json.json() == {
        "status": 402,
        "title": "Payment Required",
        "detail": "the card was declined",
        "card": "4242",
    }


async def test_bug_is_a_500_that_says_nothing(load: Load) -> None:
    app: App = load("errors").app
    async with app.test_client(raise_errors=False) as client:
        response = await client.get("/bug")
    assert (response.status_code, response.text) == (500, "Internal Server Error\n")


async def test_bug_is_raised_in_a_test(load: Load) -> None:
    async with client_of(load("errors")) as client:
        with pytest.raises(ZeroDivisionError):
            await client.get("/bug")


# All of them


@pytest.mark.parametrize("name", SERVED)
def test_example_listens_on_the_defaults(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[Any, ...]] = []
    monkeypatch.setattr(App, "run", lambda app, *args, **options: runs.append((args, options)))
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert runs == [((), {})]


@pytest.mark.parametrize("name", SERVED)
def test_example_is_served(name: str) -> None:
    with Program("-m", "microweb", "run", EXAMPLES / name, "--port", "0") as program:
        for url in program.urls():
            assert get(url, "/nowhere")[0] == 404
        program.stop()


def test_example_of_tests_passes() -> None:
    ended = run_to_end(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / TESTED_BY_PYTEST], ROOT
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"^4 passed", ended.stdout, re.MULTILINE), ended.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_example_is_short(path: Path) -> None:
    is_site = path.parent.name in ("notes", "deploy") or path.name == "orders.py"
    most = MAX_LINES_OF_SITE if is_site else MAX_LINES
    assert len(path.read_text("utf-8").splitlines()) < most


def test_readme_maps_to_each_example() -> None:
    linked = set(re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text("utf-8")))
    site = {f"notes/{path.name}" for path in (EXAMPLES / "notes").glob("*.py")}
    assert linked == {*FILES, *site, "from_socket_to_app/README.md", "deploy/README.md"}
