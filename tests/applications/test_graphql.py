"""GraphQL of Strawberry and Ariadne: queries, and subscriptions by WebSocket."""

from __future__ import annotations

import json

import pytest
from support.applications import Serve, Site, both_ways

pytestmark = pytest.mark.applications


@pytest.fixture(params=["strawberry", "ariadne"])
def site(serve: Serve, request: pytest.FixtureRequest, is_mounted: bool) -> Site:
    pytest.importorskip(request.param)
    return serve(f"{request.param}_app:app", is_mounted=is_mounted)


@both_ways
def test_a_query(site: Site) -> None:
    asked = {"query": "query q($n: String!) { hello(name: $n) }", "variables": {"n": "é"}}
    assert site.post("/", json=asked).json() == {"data": {"hello": "hello é"}}
    page = site.get("/", headers={"Accept": "text/html"})
    assert "graphiql" in page.text.lower()
    assert site.post("/", content=b"{").status_code == 400


@both_ways
def test_a_subscription(site: Site) -> None:
    with site.socket("/", subprotocols=["graphql-transport-ws"]) as socket:
        assert socket.subprotocol == "graphql-transport-ws"
        socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(socket.recv())["type"] == "connection_ack"
        query = {"query": "subscription { count(target: 3) }"}
        socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": query}))
        messages = [json.loads(socket.recv()) for _ in range(4)]
    assert [message["type"] for message in messages] == ["next", "next", "next", "complete"]
    numbers = [message["payload"]["data"]["count"] for message in messages[:3]]
    assert numbers == [0, 1, 2]
