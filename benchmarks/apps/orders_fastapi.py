"""Orders on FastAPI with pydantic."""

from fastapi import FastAPI
from orders_pydantic import Draft, Order, order_of

app = FastAPI()


@app.post("/orders", status_code=201)
async def add(draft: Draft) -> Order:
    return order_of(draft)
