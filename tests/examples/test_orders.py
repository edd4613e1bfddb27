"""The orders of the examples: with a database in memory, in a file, and for type checkers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.checkers import CHECKERS, wrong_lines_of
from support.orders import EXAMPLE, import_orders

from microweb.testing import TestClient

TABLE = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item, amount)"


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The example, imported anew, in a folder of its own."""
    return import_orders(monkeypatch, tmp_path)


def client_of(module: ModuleType) -> TestClient:
    client: TestClient = module.app.test_client(headers={"Authorization": "Bearer sesame"})
    return client


# --- with another database --------------------------------------------------------------


async def test_a_test_takes_a_database_in_memory(orders: ModuleType, tmp_path: Path) -> None:
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute(TABLE)

    def in_memory() -> Iterator[sqlite3.Connection]:
        with database:
            yield database

    with orders.app.override({orders.transaction: in_memory}):
        async with client_of(orders) as client:
            added = await client.post("/orders", json={"item": "tea"})
            assert (added.status_code, added.json()) == (201, {"id": 1, "item": "tea", "amount": 1})
            assert (await client.get("/orders/1")).json() == added.json()
    assert database.execute("SELECT item FROM orders").fetchall() == [("tea",)]
    assert list(tmp_path.iterdir()) == []
    database.close()


# --- with its own -----------------------------------------------------------------------


def stored() -> list[tuple[object, ...]]:
    database = sqlite3.connect("orders.db")
    try:
        return database.execute("SELECT item, amount FROM orders").fetchall()
    finally:
        database.close()


async def test_an_order_is_committed_before_its_answer(orders: ModuleType) -> None:
    async with client_of(orders) as client:
        assert (await client.post("/orders", json={"item": "tea"})).status_code == 201
        assert stored() == [("tea", 1)]


async def test_a_part_is_changed(orders: ModuleType) -> None:
    async with client_of(orders) as client:
        await client.post("/orders", json={"item": "tea", "amount": 3})
        changed = await client.patch("/orders/1", json={"item": "coffee"})
        assert changed.json() == {"id": 1, "item": "coffee", "amount": 3}
        assert stored() == [("coffee", 3)]
        refused = await client.patch("/orders/1", json={"amount": None})
    assert refused.json()["errors"] == [
        {"in": "body", "pointer": "#/amount", "detail": "expected an integer, got null"}
    ]
    assert stored() == [("coffee", 3)]


async def test_an_error_rolls_back(orders: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*values: object) -> None:
        raise RuntimeError("after the first statement")

    async with client_of(orders) as client:
        await client.post("/orders", json={"item": "tea"})
        monkeypatch.setattr(orders, "Order", fail)
        with pytest.raises(RuntimeError, match="after the first statement"):
            await client.post("/orders", json={"item": "coffee"})
    assert stored() == [("tea", 1)]


async def test_faults_are_told_all_at_once(orders: ModuleType) -> None:
    async with client_of(orders) as client:
        answer = await client.post("/orders", json={"item": "", "amount": "two"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["#/item", "#/amount"]


async def test_a_missing_order_is_a_problem(orders: ModuleType) -> None:
    async with client_of(orders) as client:
        for answer in (await client.get("/orders/7"), await client.patch("/orders/7", json={})):
            assert answer.status_code == 404
            assert answer.json()["detail"] == "there is no order 7"


async def test_without_a_token_the_body_is_not_looked_at(orders: ModuleType) -> None:
    async with orders.app.test_client() as client:
        assert (await client.post("/orders", content=b"{")).status_code == 401


async def test_the_document_and_its_page_need_no_token(orders: ModuleType) -> None:
    async with orders.app.test_client() as client:
        assert "<title>Orders</title>" in (await client.get("/docs")).text
        document = (await client.get("/openapi.json")).json()
    paths = document["paths"]
    assert {path: set(paths[path]) & {"get", "post", "patch"} for path in paths} == {
        "/orders": {"post"},
        "/orders/{id}": {"get", "patch"},
    }
    assert paths["/orders"]["post"]["security"] == [{"bearer": []}]
    assert {"201", "401", "422"} <= set(paths["/orders"]["post"]["responses"])
    assert "404" in paths["/orders/{id}"]["get"]["responses"]


# --- as type checkers see it --------------------------------------------------------------

WRONG = """

def wrong_status(order: Order) -> tuple[Order, Literal[201]]:
    return order, 200  # wrong


def wrong_calls(db: sqlite3.Connection) -> None:
    add("tea", db)  # wrong
    change(1, {"amount": "two"}, db)  # wrong
    show("1", db)  # wrong
"""


@pytest.mark.parametrize("check", CHECKERS)
def test_a_type_checker_finds_the_wrong_lines_only(
    check: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    path = tmp_path / "orders.py"
    path.write_text(f"# pyright: strict\n{EXAMPLE.read_text('utf-8')}{WRONG}", "utf-8")
    expected = wrong_lines_of(path)
    assert len(expected) == 4
    assert check(path) == expected
