"""Orders on Litestar with msgspec."""

from litestar import Litestar, post
from orders_msgspec import Draft, Order, order_of


@post("/orders")
async def add(data: Draft) -> Order:
    return order_of(data)


app = Litestar([add])
