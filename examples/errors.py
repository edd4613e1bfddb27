"""Errors: raised anywhere, answered in one place.

$ python examples/errors.py
$ curl -i http://localhost:5000/nowhere
$ curl -i 'http://localhost:5000/stock/tea?wanted=9'
$ curl -i http://localhost:5000/pay -X POST -H 'Accept: application/json'
"""

from microweb import App, HTTPError, Request, abort, html

app = App()
stock = {"tea": 3}


class OutOfStock(Exception):
    """An exception of the application, which knows nothing of HTTP."""

    def __init__(self, item: str, left: int) -> None:
        super().__init__(f"only {left} {item} left")


@app.errorhandler(OutOfStock)
async def out_of_stock(error: OutOfStock) -> tuple[str, int]:
    """Answer a class and its subclasses. The handler of the most specific class is called."""
    return f"{error}\n", 409


@app.errorhandler(404)
async def missing(request: Request, error: HTTPError) -> str:
    """Answer a status, which a returned str keeps. Paths without a route come here too."""
    return html("<h1>Not here</h1><p>{}: {}</p>", request.path, error.detail or "no such page")


@app.get("/stock/{item}")
async def show(item: str, wanted: int = 1) -> dict[str, int]:
    """Return the stock of an item. `?wanted=x` is a 400 that names the parameter."""
    if item not in stock:
        abort(404, f"we don't sell {item}")
    if stock[item] < wanted:
        raise OutOfStock(item, stock[item])
    return {item: stock[item]}


@app.post("/pay")
async def pay() -> None:
    """Answer 402 as text, or for a client that prefers JSON as problem details with `card`."""
    raise HTTPError(402, "the card was declined", headers={"Retry-After": "60"}, card="4242")


@app.get("/bug")
async def bug() -> str:
    """Answer 500 without details; the traceback is in the log `microweb.error`."""
    return str(1 // 0)


if __name__ == "__main__":
    app.run()
