"""A FastMCP server in an App: its lifespan, and a session of a client by streamable HTTP."""

from __future__ import annotations

import pytest
from support.applications import Serve

pytestmark = pytest.mark.applications
fastmcp = pytest.importorskip("fastmcp")


async def test_a_client_calls_a_tool(serve: Serve) -> None:
    site = serve("mcp_app:app")
    async with fastmcp.Client(f"{site.url}/mcp/") as client:
        assert [tool.name for tool in await client.list_tools()] == ["add"]
        assert (await client.call_tool("add", {"a": 2, "b": 3})).data == 5
        (note,) = await client.read_resource("notes://first")
        assert note.text == "a note"
    assert site.get("/").text == "the App around it"
    site.program.stop()
    lines = site.program.out.rest().split("\n")
    assert (lines[0], lines[-1]) == ("the tools are open", "the tools are closed")
