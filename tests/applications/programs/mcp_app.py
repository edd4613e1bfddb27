"""A server of the Model Context Protocol, mounted in an App."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastmcp import FastMCP

from microweb import App


@asynccontextmanager
async def lifespan(server: FastMCP) -> AsyncIterator[dict[str, str]]:
    print("the tools are open", flush=True)
    yield {}
    print("the tools are closed", flush=True)


mcp = FastMCP("tools", lifespan=lifespan)


@mcp.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@mcp.resource("notes://first")
def first() -> str:
    return "a note"


app = App()
app.mount("/mcp", mcp.http_app(path="/"))


@app.get("/")
async def index() -> str:
    return "the App around it"
