"""Orders on microweb: JSON into dataclasses, and a declared answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from microweb import App
from microweb.typed import Json, Meta

app = App()
Name = Annotated[str, Meta(min_length=1, max_length=80)]


@dataclass
class Address:
    street: Name
    city: Name
    country: Annotated[str, Meta(min_length=2, max_length=2)]


@dataclass
class Line:
    item: Name
    amount: Annotated[int, Meta(ge=1, le=1000)]
    price: Annotated[float, Meta(gt=0)]


@dataclass
class Draft:
    customer: Name
    address: Address
    lines: Annotated[list[Line], Meta(min_length=1, max_length=50)]
    note: Annotated[str, Meta(max_length=500)] | None = None


@dataclass
class Order:
    id: int
    total: float
    draft: Draft


@app.post("/orders")
async def add(draft: Json[Draft]) -> tuple[Order, Literal[201]]:
    total = sum(line.amount * line.price for line in draft.lines)
    return Order(7, total, draft), 201
