"""A small app: two pages, one with a name from the path and a number from the query.

$ python examples/hello.py
$ curl 'http://localhost:5000/hello/Ada?times=3'
"""

from microweb import App

app = App()


@app.get("/")
async def index() -> str:
    """Greet."""
    return "hello world"


@app.get("/hello/{name}")
async def hello(name: str, times: int = 1) -> str:
    """Greet someone by name, three times with `?times=3`. `?times=x` is a 400 that says why."""
    return "\n".join([f"hello {name}"] * min(times, 100))


if __name__ == "__main__":
    app.run()
