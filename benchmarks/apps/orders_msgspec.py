"""The models of the orders in msgspec: the same checks as those of `orders_microweb`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(min_length=1, max_length=80)]


class Address(Struct):
    street: Name
    city: Name
    country: Annotated[str, Meta(min_length=2, max_length=2)]


class Line(Struct):
    item: Name
    amount: Annotated[int, Meta(ge=1, le=1000)]
    price: Annotated[float, Meta(gt=0)]


class Draft(Struct):
    customer: Name
    address: Address
    lines: Annotated[list[Line], Meta(min_length=1, max_length=50)]
    note: Annotated[str, Meta(max_length=500)] | None = None


class Order(Struct):
    id: int
    total: float
    draft: Draft


def order_of(draft: Draft) -> Order:
    """Return the answer to a draft."""
    total = sum(line.amount * line.price for line in draft.lines)
    return Order(id=7, total=total, draft=draft)
