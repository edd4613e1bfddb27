"""Each example gives the same answers under microweb, uvicorn, hypercorn and granian.

Hypercorn and granian answer by HTTP/2 too, without TLS ("prior knowledge", RFC 9113 section 3.3).

Each server is a real process. The fields that a server adds itself are left out, and values that
differ between two runs (ids, times) are replaced. `pytest -m other_servers` runs these tests.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, ROOT, Program, free_port
from websockets.sync.client import connect

pytestmark = pytest.mark.other_servers

EXAMPLES = ROOT / "examples"

# Why an example has no answers here. Closed: each other one is in `REQUESTS`.
SKIPPED = {
    "from_socket_to_app/step1_socket.py": "a server of its own, with no app",
    "from_socket_to_app/step2_parse.py": "a server of its own, with no app",
    "from_socket_to_app/step3_respond.py": "a server of its own, with no app",
    "from_socket_to_app/step4_asyncio.py": "a server of its own, with no app",
}

SERVERS = {
    "uvicorn": "uvicorn {target} --host 127.0.0.1 --port {port} --no-access-log",
    "hypercorn": "hypercorn {target} --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi {target} --host 127.0.0.1 --port {port}",
}
# hypercorn 0.18 closes a connection with a KeyError if the end of a request arrives after its
# answer, as that of a POST without content does. It would lose the next request of the connection.
ONE_REQUEST = httpx.Limits(max_keepalive_connections=0)
BY_HTTP2 = {"hypercorn": ONE_REQUEST, "granian": httpx.Limits()}
OURS = "microweb run {target} --host 127.0.0.1 --port {port}"

# The server's own fields, and the framing, which is its choice for a body without a length.
OF_SERVER = {"date", "server", "connection", "keep-alive", "transfer-encoding", "server-timing"}

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}")
VARYING = [
    (UUID, "UUID"),
    (re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}"), "TIME"),
    (re.compile(r"http://127\.0\.0\.1:[0-9]+"), "URL"),
    (re.compile(r'"(total|used|free)":[0-9]+'), r'"\1":N'),
    (re.compile(r'name="csrf_token" value="[^"]*"'), "CSRF"),
    (re.compile(r"(session|__Host-session)=[^;]*"), r"\1=SESSION"),
    (re.compile(r"thread[- _]?[0-9]+", re.IGNORECASE), "THREAD"),
]


class Ask(NamedTuple):
    """One request. `lines` is how much of an endless body is read; 0 is the whole body."""

    method: str
    path: str
    options: Mapping[str, Any] = {}
    lines: int = 0


def get(path: str, lines: int = 0, **options: Any) -> Ask:
    return Ask("GET", path, options, lines)


def post(path: str, **options: Any) -> Ask:
    return Ask("POST", path, options)


class Talk(NamedTuple):
    """A WebSocket: the messages to send, and how many to receive."""

    path: str
    sent: tuple[str | bytes, ...]
    received: int


TOKEN = {"Authorization": "Bearer sesame"}
BOOKING = {"room": "attic", "begins": "2030-01-01T09:00Z", "ends": "2030-01-01T10:00Z"}
UPLOAD = {"file": ("a.bin", bytes(range(256)) * 8192, "application/octet-stream")}

REQUESTS: dict[str, list[Ask | Talk]] = {
    "blocking.py": [
        get("/disk"),
        post("/words", content=b"to be or not to be"),
        get("/sleep?seconds=x"),
    ],
    "chat.py": [
        get("/"),
        get("/rooms/tea"),
        get("/rooms/tea", headers={"Range": "bytes=0-9"}),
        get("/rooms/tea/people"),
        Talk("/rooms/tea/posts?name=Ada", ('{"text":"hello"}',), 3),
        get("/rooms/tea/posts?name=Ada"),
    ],
    "clock.py": [get("/"), get("/ticks", 2, headers={"Last-Event-ID": "41"})],
    "dashboard.py": [get("/"), get("/numbers", 1)],
    "deploy/app.py": [
        get("/"),
        get("/client"),
        get("/ticks?pause_s=0.1", 3),
        get("/-/live"),
        get("/-/ready"),
        Talk("/echo", ("a", b"\0\xff", "é" * 70_000), 3),
        post("/uploads", files=UPLOAD),
        post("/uploads", content=b"x"),
    ],
    "errors.py": [
        get("/nowhere?x=<y>"),
        get("/stock/tea?wanted=9"),
        get("/stock/tea"),
        get("/stock/coffee"),
        get("/stock/tea?wanted=x"),
        post("/pay", headers={"Accept": "application/json"}),
        Ask("DELETE", "/pay"),
        Ask("BREW", "/pay"),
    ],
    "from_socket_to_app/step5_microweb.py": [get("/"), get("/blog"), Ask("HEAD", "/blog")],
    "hello.py": [
        get("/"),
        Ask("HEAD", "/"),
        Ask("OPTIONS", "/"),
        get("/hello/Ada%2FB?times=2"),
        get("/hello/Ada?times=x"),
        get("/hello/%FF"),
        post("/"),
    ],
    "json_api.py": [
        post("/notes", json={"title": "milk"}),
        get("/notes"),
        get("/notes?done=true"),
        post("/notes", json={"title": 7}),
        post("/notes", content=b'{"title": '),
        post("/notes", content=(b'{"title"', b': "bread"}')),
        get("/notes/00000000-0000-0000-0000-000000000000"),
    ],
    "json_service.py": [
        post("/bookings", json=BOOKING, headers=TOKEN),
        post("/bookings", json=BOOKING, headers=TOKEN),
        post("/bookings", json=BOOKING),
        Ask(
            "OPTIONS",
            "/bookings",
            {
                "headers": {
                    "Origin": "http://localhost:3000",
                    "Access-Control-Request-Method": "POST",
                }
            },
        ),
    ],
    "middleware.py": [
        get("/"),
        get("/", headers={"Accept-Language": "fr"}),
        get("/nowhere"),
        get("/admin"),
        get("/admin", headers=TOKEN),
    ],
    "notes/app.py": [
        get("/"),
        get("/login"),
        get("/static/style.css"),
        get("/static/style.css", headers={"Range": "bytes=0-19"}),
        get("/static/../app.py"),
        post("/register", data={"name": "Ada", "password": "correct horse battery"}),
        post("/", headers={"Origin": "https://evil.test"}, data={"title": "x"}),
    ],
    "orders.py": [
        post("/orders", json={"item": "tea"}, headers=TOKEN),
        get("/orders/1", headers=TOKEN),
        Ask("PATCH", "/orders/1", {"json": {"amount": 2}, "headers": TOKEN}),
        get("/orders/9", headers=TOKEN),
        post("/orders", json={"item": ""}, headers=TOKEN),
        get("/orders/1"),
        get("/openapi.json"),
        get("/docs"),
    ],
    "streaming.py": [
        get("/countdown?start=1"),
        Ask("HEAD", "/countdown"),
        Ask("PUT", "/sha256", {"content": b"x" * 3_000_000}),
        Ask("PUT", "/sha256", {"content": b""}),
    ],
    "testing_an_app.py": [get("/stock/tea"), get("/stock/coffee")],
    "tokens.py": [get("/"), Ask("POST", "/answer", {"content": b"why?"}, 3), get("/work")],
}


def normal(text: str) -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def answer_to(client: httpx.Client, ask: Ask) -> tuple[int, dict[str, str], str]:
    options = dict(ask.options)
    if not isinstance(options.get("content", b""), bytes):
        options["content"] = iter(options["content"])  # in chunks
    with client.stream(ask.method, ask.path, **options) as response:
        if ask.lines:
            lines = response.iter_lines()
            content = "\n".join(next(lines) for _ in range(ask.lines))
        else:
            content = response.read().decode("latin-1")
        fields = {
            name: normal(value)
            for name, value in sorted(response.headers.items())
            if name not in OF_SERVER
        }
        return response.status_code, fields, normal(content)


def talk_to(url: str, talk: Talk) -> list[str | bytes]:
    with connect(url.replace("http", "ws", 1) + talk.path) as client:
        for message in talk.sent:
            client.send(message)
        got = [client.recv(timeout=DEADLINE_S) for _ in range(talk.received)]
    return [normal(each) if isinstance(each, str) else each for each in got]


@contextmanager
def served(command: str, example: str, folder: Path) -> Iterator[str]:
    """Serve an example in `folder` by a server's command; yield its URL."""
    path, port = EXAMPLES / example, free_port()
    words = command.format(target=f"{path.stem}:app", port=port).split()
    folder.mkdir()
    script = Path(sys.executable).with_name(words[0])
    with Program(script, *words[1:], cwd=folder) as program:
        ends_at = time.monotonic() + DEADLINE_S
        while not _listens(port):
            assert program.process.poll() is None, program.err.rest()
            assert time.monotonic() < ends_at, f"{words[0]} does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        program.process.terminate()
        program.process.wait(DEADLINE_S)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def answers_under(
    command: str, example: str, folder: Path, http2: httpx.Limits | None = None
) -> list[object]:
    """Return the answers to all requests of an example; by HTTP/2, None for a WebSocket."""
    answers: list[object] = []
    is_http2 = http2 is not None
    limits = http2 or httpx.Limits()
    with (
        served(command, example, folder) as url,
        httpx.Client(
            base_url=url, timeout=DEADLINE_S, http1=not is_http2, http2=is_http2, limits=limits
        ) as client,
    ):
        for each in REQUESTS[example]:
            if isinstance(each, Talk):
                answers.append(None if is_http2 else talk_to(url, each))
            else:
                answers.append(answer_to(client, each))
    return answers


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of the examples, for the servers' processes."""
    monkeypatch.setitem(ENVIRONMENT, "API_TOKENS", "sesame:ada")
    monkeypatch.setitem(ENVIRONMENT, "SECRET_KEY", "a secret of thirty-two characters")


def test_each_example_is_asked_or_skipped() -> None:
    every = {
        path.relative_to(EXAMPLES).as_posix()
        for path in EXAMPLES.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    of_site = {name for name in every if name.startswith("notes/")} - {"notes/app.py"}
    assert every - of_site == REQUESTS.keys() | SKIPPED.keys()


@pytest.fixture(scope="module")
def ours() -> dict[str, list[object]]:
    """The answers of microweb's own server, by example."""
    return {}


@pytest.mark.parametrize("example", sorted(REQUESTS))
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("server", SERVERS)
def test_answers_are_those_of_our_server(
    server: str,
    version: str,
    example: str,
    ours: dict[str, list[object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = [str(ROOT), str((EXAMPLES / example).parent)]
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", os.pathsep.join(folders))
    if shutil.which(server, path=str(Path(sys.executable).parent)) is None:
        pytest.skip(f"{server} is not installed")
    http2 = BY_HTTP2.get(server) if version == "HTTP/2" else None
    if version == "HTTP/2":
        pytest.importorskip("h2")
        if http2 is None:
            pytest.skip(f"{server} does not speak HTTP/2")
    if example not in ours:
        ours[example] = answers_under(OURS, example, tmp_path / "ours")
    theirs = answers_under(SERVERS[server], example, tmp_path / "theirs", http2)
    for ask, expected, answer in zip(REQUESTS[example], ours[example], theirs, strict=True):
        if http2 is None:
            assert answer == expected, ask
        elif not isinstance(ask, Talk):  # the client of these tests speaks it by HTTP/1.1 only
            assert answer == by_http2(expected), ask


def by_http2(answer: object) -> object:
    """Return an answer of HTTP/1.1 as it is by HTTP/2, which has no Upgrade field."""
    assert isinstance(answer, tuple)
    status, fields, content = answer
    return status, {name: value for name, value in fields.items() if name != "upgrade"}, content
