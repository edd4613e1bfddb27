"""Orders on BlackSheep: with pydantic as in its documentation, and with msgspec by hand."""

import msgspec
import orders_msgspec
from blacksheep import Application, Content, FromJSON, Request, Response
from orders_pydantic import Draft, order_of

app = Application()
decoder = msgspec.json.Decoder(orders_msgspec.Draft)
encoder = msgspec.json.Encoder()


@app.router.post("/orders")
async def add(draft: FromJSON[Draft]) -> Response:
    order = order_of(draft.value)
    return Response(201, content=Content(b"application/json", order.model_dump_json().encode()))


@app.router.post("/msgspec/orders")
async def add_by_hand(request: Request) -> Response:
    try:
        draft = decoder.decode(await request.read() or b"")
    except msgspec.DecodeError as error:  # a ValidationError is one
        problem = encoder.encode({"detail": str(error)})
        return Response(422, content=Content(b"application/json", problem))
    body = encoder.encode(orders_msgspec.order_of(draft))
    return Response(201, content=Content(b"application/json", body))
