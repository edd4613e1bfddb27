"""With `debug`, an application answers only requests whose Host is this machine, by default."""

from __future__ import annotations

import pytest
from support.serving import get, on_loopback, peer_of, statuses

from microweb import App
from microweb.server.loopback import is_loopback_name
from microweb.testing.live import live_server


def faulty(*, debug: bool = True) -> App:
    app = App(debug=debug)

    @app.get("/")
    async def index() -> None:
        raise LookupError("the inside")

    return app


async def answer_to(app: App, head: str, **options: object) -> bytes:
    async with on_loopback(app, **options) as server, peer_of(server) as peer:  # type: ignore[arg-type]
        await peer.send(head.encode())
        await peer.half_close()
        return await peer.read_all()


def naming(host: str) -> str:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n"


NAMES = "localhost localhost:8000 LOCALHOST localhost. shop.localhost a.b.localhost:80".split()
ADDRESSES = "127.0.0.1 127.0.0.1:5000 127.8.9.10 [::1] [::1]:5000 [::ffff:127.0.0.1]".split()


@pytest.mark.parametrize("host", NAMES + ADDRESSES)
async def test_name_of_this_machine_is_answered(host: str) -> None:
    answer = await answer_to(faulty(), naming(host))
    assert statuses(answer) == [500]
    assert b"the inside" in answer


OTHERS = (
    "evil.example evil.example:5000 localhost.evil.example notlocalhost 192.168.1.2 [::2]".split()
)
ODD = ["0.0.0.0", "127.0.0.1.evil.example", "128.0.0.1", "[::ffff:192.0.2.1]", "", "localhost.."]


@pytest.mark.parametrize("host", OTHERS + ODD)
async def test_any_other_host_is_421(host: str) -> None:
    answer = await answer_to(faulty(), naming(host))
    assert statuses(answer) == [421]
    assert b"the inside" not in answer and b"debug_anywhere" in answer


async def test_host_of_an_absolute_target_counts() -> None:
    head = "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert statuses(await answer_to(faulty(), head)) == [421]


async def test_request_without_a_host_is_421() -> None:
    assert statuses(await answer_to(faulty(), "GET / HTTP/1.0\r\n\r\n")) == [421]


async def test_one_connection_may_name_both() -> None:
    answer = await answer_to(faulty(), naming("evil.example") + naming("localhost"))
    assert statuses(answer) == [421, 500]


async def test_app_inside_that_debugs_counts() -> None:
    app = faulty(debug=False)
    app.mount("/admin", App(debug=True))
    assert statuses(await answer_to(app, naming("evil.example"))) == [421]


@pytest.mark.parametrize(("debug", "options"), [(False, {}), (True, {"debug_anywhere": True})])
async def test_any_host_is_answered_otherwise(debug: bool, options: dict[str, object]) -> None:
    answer = await answer_to(faulty(debug=debug), naming("evil.example"), **options)
    assert statuses(answer) == [500]


async def test_request_by_a_proxy_gets_no_page_even_so() -> None:
    head = get("/", "Via: 1.1 tunnel").decode()
    answer = await answer_to(faulty(), head.replace("Host: a", "Host: localhost"))
    assert statuses(answer) == [500]
    assert b"the inside" not in answer
    answer = await answer_to(faulty(), head, debug_anywhere=True)
    assert b"the inside" not in answer


async def test_client_in_memory_may_name_any_host() -> None:
    async with faulty().test_client(raise_errors=False, base_url="http://shop.example") as client:
        assert "the inside" in (await client.get("/")).text


def test_name_that_the_server_listens_on_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    def resolve(host: str, port: int, *more: object, **options: object) -> list[object]:
        address = "127.0.0.1" if host == "shop.test" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)  # like a line in /etc/hosts
    with live_server(faulty(), host="shop.test") as server:
        for host, status in (("shop.test", 500), ("other.test", 421)):
            with pytest.raises(HTTPError) as caught:
                urlopen(Request(f"http://127.0.0.1:{server.port}/", headers={"Host": host}))
            assert caught.value.code == status
            caught.value.close()


def test_zone_or_nonsense_is_no_loopback_name() -> None:
    assert not any(map(is_loopback_name, ("", ".", "127.1", "0x7f000001", "localhost.localdomain")))
