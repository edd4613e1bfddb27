"""Orders on Sanic with sanic-ext and msgspec: `python orders_sanic.py PORT`.

The log of errors is off, because by default it has a traceback for each refused body.
"""

import logging
import sys

import msgspec
from orders_msgspec import Draft, order_of
from sanic import HTTPResponse, Request, Sanic, json
from sanic_ext import validate

app = Sanic("orders", dumps=msgspec.json.encode, loads=msgspec.json.decode, configure_logging=False)
logging.getLogger("sanic.error").setLevel(logging.CRITICAL)


@app.post("/orders")
@validate(json=Draft)
async def add(request: Request, body: Draft) -> HTTPResponse:
    return json(order_of(body), 201)


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, access_log=False, motd=False)
