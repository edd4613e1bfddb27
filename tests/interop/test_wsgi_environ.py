"""The environ of a WSGI application."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import BytesIO

import pytest
from support.requesting import FakeBody, FakePeer, request_of
from support.wsgi import Environ, ask, body_of, chunked, get, serving

from microweb import Request
from microweb.http.interfaces import Address, Ends, Origin
from microweb.interop.wsgi_answer import StartResponse
from microweb.interop.wsgi_environ import make_environ
from microweb.interop.wsgi_input import Input


def environ_of(request: Request) -> Environ:
    return make_environ(request, Input(None, b"", is_whole=True))


def test_the_keys_that_every_application_needs() -> None:
    environ = environ_of(request_of("/a%20b/%E2%82%AC?x=%20&y", {"Host": "example.org:8080"}))
    assert type(environ) is dict
    assert isinstance(environ.pop("wsgi.input"), BytesIO)
    assert environ.pop("wsgi.file_wrapper")
    assert environ == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\xe2\x82\xac",  # each character is a byte
        "QUERY_STRING": "x=%20&y",
        "REQUEST_URI": "/a%20b/%E2%82%AC?x=%20&y",
        "SERVER_NAME": "192.0.2.80",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "10.0.0.9",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "example.org:8080",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("a", "a", "80"),
        ("a:1", "a", "1"),
        ("[::1]", "[::1]", "80"),
        ("[::1]:81", "[::1]", "81"),
        ("a:", "a", "80"),
    ],
)
def test_over_a_unix_socket_the_server_is_the_host_that_the_client_names(
    host: str, name: str, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePeer, "ends", Ends(("/run/a", None), None, False))
    environ = environ_of(request_of("/", {"Host": host}))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)


def test_an_ipv6_server_is_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePeer, "ends", Ends(("::1", 81), None, False))
    environ = environ_of(request_of("/", {"Host": "a"}))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("[::1]", "81")


def test_a_trusted_proxy_reports_client_and_scheme() -> None:
    environ = environ_of(request_of("/", {"Host": "a", "x-forwarded-for": "192.0.2.1"}))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "")
    assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == ("https", "8000")


def test_a_proxy_reports_host_and_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin(Address("192.0.2.1", 0), "https", "example.org", "/a%20b")
    monkeypatch.setattr(FakePeer, "origin_of", lambda self, section: origin)
    environ = environ_of(request_of("/c?d", {"Host": "app:8000"}))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/a b", "/c")
    assert environ["REQUEST_URI"] == "/a%20b/c?d"
    assert environ["HTTP_HOST"] == "example.org"


def test_a_user_of_a_unix_socket_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePeer, "address", Address("uid=33", 0))
    assert environ_of(request_of("/", {"Host": "a"}))["REMOTE_ADDR"] == ""


def test_fields_become_variables() -> None:
    fields = {"Host": "a", "x-a-b": "1", "content-type": "text/a", "cookie": "a=1; b=2"}
    environ = environ_of(request_of("/", fields))
    assert environ["HTTP_X_A_B"] == "1"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["CONTENT_TYPE"] == "text/a"
    assert "HTTP_CONTENT_TYPE" not in environ


def test_a_name_with_an_underscore_is_left_out() -> None:
    """Else a client could set the variable of a field that a proxy removes."""
    environ = environ_of(request_of("/", {"Host": "a", "x_user": "root", "x-user": "ann"}))
    assert environ["HTTP_X_USER"] == "ann"
    environ = environ_of(request_of("/", {"Host": "a", "x_user": "root", "content_type": "a"}))
    assert "HTTP_X_USER" not in environ
    assert "CONTENT_TYPE" not in environ


def reporting(*names: str) -> object:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr([environ.get(name) for name in names]).encode()]

    return app


async def report(raw: bytes, *names: str) -> bytes:
    async with serving(reporting(*names)) as server:  # type: ignore[arg-type]
        return body_of(await ask(server, raw))


async def test_a_chunked_body_that_has_arrived_has_a_length() -> None:
    """Frameworks that read only CONTENT_LENGTH bytes then read it too."""
    told = await report(chunked(b"12345"), "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")
    assert told == b"['5', None]"


async def test_a_body_that_is_still_to_come_has_no_length() -> None:
    body = FakeBody([b"x"])
    request = request_of("/", {"Host": "a", "transfer-encoding": "chunked"}, body, "POST")
    environ = make_environ(request, Input(request.stream(), b"", is_whole=False))
    assert "CONTENT_LENGTH" not in environ
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input_terminated"]


async def test_a_declared_length_is_passed_on() -> None:
    raw = get("/", "Content-Length: 3", method="PUT") + b"abc"
    assert await report(raw, "REQUEST_METHOD", "CONTENT_LENGTH") == b"['PUT', '3']"
    assert await report(get(), "CONTENT_LENGTH") == b"[None]"


async def test_the_host_of_an_absolute_target_replaces_the_field() -> None:
    raw = get("http://b:81/x?y")
    told = await report(raw, "HTTP_HOST", "PATH_INFO", "REQUEST_URI")
    assert told == b"['b:81', '/x', '/x?y']"


async def test_options_of_the_whole_server_has_the_root_as_path() -> None:
    raw = get("*", method="OPTIONS")
    assert await report(raw, "PATH_INFO", "REQUEST_URI") == b"['/', '*']"


async def test_http_1_0_without_a_host_has_a_server_name() -> None:
    raw = b"GET / HTTP/1.0\r\n\r\n"
    told = await report(raw, "SERVER_NAME", "SERVER_PROTOCOL", "HTTP_HOST")
    assert told == b"['127.0.0.1', 'HTTP/1.0', None]"


def test_a_server_that_is_not_known_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePeer, "ends", Ends(None, None, False))
    environ = environ_of(request_of("/", {"Host": ""}))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
