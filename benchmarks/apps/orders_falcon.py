"""Orders on Falcon (ASGI) with msgspec, in the way of its documentation."""

import falcon.asgi
import msgspec
from falcon.media import JSONHandler
from orders_msgspec import Draft, order_of


class Orders:
    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        draft = msgspec.convert(await req.get_media(), Draft)
        resp.status = falcon.HTTP_201
        resp.media = order_of(draft)


async def refuse(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response | None,
    error: msgspec.ValidationError,
    params: dict[str, object],
) -> None:
    raise falcon.HTTPUnprocessableEntity(description=str(error))


app = falcon.asgi.App()
handler = JSONHandler(dumps=msgspec.json.Encoder().encode, loads=msgspec.json.Decoder().decode)
app.req_options.media_handlers[falcon.MEDIA_JSON] = handler
app.resp_options.media_handlers[falcon.MEDIA_JSON] = handler
app.add_error_handler(msgspec.ValidationError, refuse)
app.add_route("/orders", Orders())
