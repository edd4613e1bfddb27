"""Datasette: the pages and the JSON of a sqlite file."""

from __future__ import annotations

import pytest
from support.applications import Serve

pytestmark = pytest.mark.applications
pytest.importorskip("datasette")


def test_pages_and_json(serve: Serve) -> None:
    site = serve("datasette_app:app")
    assert 'href="/shop"' in site.get("/").text
    table = site.get("/shop/items")
    assert table.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "été" in table.text
    rows = site.get("/shop/items.json?_shape=array").json()
    assert rows == [{"id": 1, "name": "tea"}, {"id": 2, "name": "été"}]
    query = {"sql": "select count(*) as n from items", "_shape": "array"}
    assert site.get("/shop.json", params=query).json() == [{"n": 2}]
    assert site.get("/shop/items.csv").text == "id,name\r\n1,tea\r\n2,été\r\n"
    assert site.get("/-/static/app.css").headers["Content-Type"].startswith("text/css")
    assert site.get("/nowhere").status_code == 404
    assert site.head("/shop/items").content == b""
    assert site.get("/-/versions.json").json()["python"]["version"].startswith("3.")
