"""Orders on Robyn with pydantic: `python orders_robyn.py PORT`."""

import sys

from orders_pydantic import Draft, order_of
from robyn import Headers, Response, Robyn

port = int(sys.argv[1])
sys.argv[1:] = ["--log-level", "ERROR", "--disable-openapi"]
app = Robyn(__file__)
FIELDS = Headers({"content-type": "application/json"})


@app.post("/orders")
async def add(draft: Draft) -> Response:
    return Response(201, FIELDS, order_of(draft).model_dump_json())


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=port)
