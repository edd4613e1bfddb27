"""The models of the orders in pydantic: the same checks as those of `orders_microweb`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Name = Annotated[str, Field(min_length=1, max_length=80)]


class Address(BaseModel):
    street: Name
    city: Name
    country: Annotated[str, Field(min_length=2, max_length=2)]


class Line(BaseModel):
    item: Name
    amount: Annotated[int, Field(ge=1, le=1000)]
    price: Annotated[float, Field(gt=0)]


class Draft(BaseModel):
    customer: Name
    address: Address
    lines: Annotated[list[Line], Field(min_length=1, max_length=50)]
    note: Annotated[str, Field(max_length=500)] | None = None


class Order(BaseModel):
    id: int
    total: float
    draft: Draft


def order_of(draft: Draft) -> Order:
    """Return the answer to a draft."""
    total = sum(line.amount * line.price for line in draft.lines)
    return Order(id=7, total=total, draft=draft)
