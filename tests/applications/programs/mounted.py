"""An App that mounts the application MOUNTED (module:name) below PREFIX."""

import importlib
import os

from microweb import WSGI, App
from microweb.interop.asgi_server import is_asgi

module, _, name = os.environ["MOUNTED"].partition(":")
other = getattr(importlib.import_module(module), name)

app = App()
app.mount(os.environ["PREFIX"], other if is_asgi(other) else WSGI(other))


@app.get("/")
async def index() -> str:
    return "the App around it"
