"""Orders: typed endpoints, a transaction for each request, and a page that documents them.

$ API_TOKENS=sesame:ada python examples/orders.py
$ curl http://localhost:5000/orders -H 'Authorization: Bearer sesame' -d '{"item": "tea"}'

Open http://localhost:5000/docs, and authorize with the token. The orders are in `orders.db`.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal, TypedDict

from microweb import App, Router
from microweb.errors import NotFound
from microweb.middleware.authentication import BearerAuth
from microweb.typed import Depends, Json, Meta

Item = Annotated[str, Meta(min_length=1, max_length=80, examples=("tea",))]
Amount = Annotated[int, Meta(ge=1, le=1000)]


@dataclass
class Draft:
    item: Item
    amount: Amount = 1


@dataclass
class Order:
    id: int
    item: Item
    amount: Amount


class Changes(TypedDict, total=False):
    item: Item
    amount: Amount


def transaction() -> Iterator[sqlite3.Connection]:
    """Commit before the answer is sent, or roll back if the endpoint raises."""
    with closing(sqlite3.connect("orders.db")) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item, amount)")
        yield db


Database = Annotated[sqlite3.Connection, Depends(transaction)]
tokens = os.environ.get("API_TOKENS") or sys.exit("set API_TOKENS='token:name'")
users = dict(each.split(":") for each in tokens.split())  # no secrets in code
orders = Router("/orders", use=[BearerAuth(users)], tags=["orders"])


@orders.post("")
def add(draft: Json[Draft], db: Database) -> tuple[Order, Literal[201]]:
    """Add an order."""
    added = db.execute("INSERT INTO orders (item, amount) VALUES (:item, :amount)", asdict(draft))
    return Order(added.lastrowid or 0, draft.item, draft.amount), 201


@orders.get("/{id}", raises=[NotFound])
def show(id: int, db: Database) -> Order:
    """Show an order."""
    row = db.execute("SELECT id, item, amount FROM orders WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no order {id}")
    return Order(*row)


@orders.patch("/{id}", raises=[NotFound])
def change(id: int, changes: Json[Changes], db: Database) -> Order:
    """Change the item of an order, its amount, or both."""
    order = replace(show(id, db), **changes)
    db.execute("UPDATE orders SET item = :item, amount = :amount WHERE id = :id", asdict(order))
    return order


app = App()
app.include(orders)
app.openapi("Orders", "1.0")

if __name__ == "__main__":
    app.run()
