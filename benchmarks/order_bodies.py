"""The request bodies of `orders.py`, and the check that each server has the same constraints."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

VARIANTS = 256
TIMEOUT_S = 10.0
REFUSED = range(400, 423)

Body = dict[str, Any]


def draft(number: int = 0) -> Body:
    """Return a body that is accepted; those with other numbers have other values."""
    return {
        "customer": f"Ada Lovelace {number}",
        "address": {"street": f"{number} Dorset Street", "city": "London", "country": "GB"},
        "lines": [
            {"item": "tea", "amount": number % 1000 + 1, "price": 4.5},
            {"item": "porridge oats", "amount": 2, "price": 1.25},
            {"item": "ink, black", "amount": 1, "price": 12.75},
        ],
        "note": "leave it with the neighbour",
    }


def wrong_draft(number: int = 0) -> Body:
    """Return a body with two faults: one in the nested object, one in the list."""
    wrong = draft(number)
    wrong["address"]["country"] = "GBR"
    wrong["lines"][2]["amount"] = 0
    return wrong


def answer_to(body: Body) -> Body:
    """Return the JSON that each server answers to a body."""
    total = sum(line["amount"] * line["price"] for line in body["lines"])
    return {"id": 7, "total": total, "draft": body}


# Each sets one wrong value. None of them is a value that pydantic would convert.
WRONG: dict[str, Callable[[Body], object]] = {
    "an empty customer": lambda body: body.update(customer=""),
    "a long customer": lambda body: body.update(customer="x" * 81),
    "a customer that is a number": lambda body: body.update(customer=7),
    "no customer": lambda body: body.pop("customer"),
    "no address": lambda body: body.pop("address"),
    "an address that is a text": lambda body: body.update(address="London"),
    "no city": lambda body: body["address"].pop("city"),
    "a short country": lambda body: body["address"].update(country="G"),
    "a long country": lambda body: body["address"].update(country="GBR"),
    "no lines": lambda body: body.update(lines=[]),
    "too many lines": lambda body: body.update(lines=body["lines"][:1] * 51),
    "lines that are an object": lambda body: body.update(lines={}),
    "an amount of 0": lambda body: body["lines"][2].update(amount=0),
    "an amount of 1001": lambda body: body["lines"][0].update(amount=1001),
    "an amount that is a word": lambda body: body["lines"][0].update(amount="two"),
    "an amount with a fraction": lambda body: body["lines"][0].update(amount=1.5),
    "a price of 0": lambda body: body["lines"][1].update(price=0),
    "a price that is null": lambda body: body["lines"][1].update(price=None),
    "a long note": lambda body: body.update(note="x" * 501),
}


def check(name: str, port: int, path: str) -> None:
    """Raise RuntimeError if the server `name` accepts a wrong body, or gives another answer."""
    for body in (draft(), draft(1), {**draft(), "note": None}):
        status, content = _post(port, path, json.dumps(body))
        if status != 201 or json.loads(content) != answer_to(body):
            raise RuntimeError(f"{name}: expected 201 with the order, got {status}, {content!r}")
    refused = {"broken JSON": '{"customer": '}
    for fault, spoil in WRONG.items():
        body = draft()
        spoil(body)
        refused[fault] = json.dumps(body)
    refused["two faults"] = json.dumps(wrong_draft())
    for fault, text in refused.items():
        status, content = _post(port, path, text)
        if status not in REFUSED:
            raise RuntimeError(
                f"{name}: expected 400 to 422 for {fault}, got {status}, {content[:80]!r}"
            )


def _post(port: int, path: str, body: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def script(make: Callable[[int], Body], path: str) -> str:
    """Return a Lua script for wrk: requests that differ in the body and in a field."""
    bodies = ",\n".join(
        f"[==[{json.dumps(make(number), separators=(',', ':'))}]==]" for number in range(VARIANTS)
    )
    return f"""
local bodies = {{{bodies}}}
local requests, sent = {{}}, 0
init = function()
  for number, body in ipairs(bodies) do
    local fields = {{["Content-Type"] = "application/json", ["X-Request-ID"] = "r-" .. number}}
    requests[number] = wrk.format("POST", "{path}", fields, body)
  end
end
request = function()
  sent = sent % #requests + 1
  return requests[sent]
end
"""
