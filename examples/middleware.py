"""Middleware: around every request, before it, after it, and around one route.

$ python examples/middleware.py
$ curl -i http://localhost:5000/
$ curl -i http://localhost:5000/nowhere
$ curl -i http://localhost:5000/admin -H 'Authorization: Bearer sesame'
"""

from time import perf_counter

from microweb import App, Handler, Request, Response, abort

app = App()


@app.middleware
async def timing(request: Request, call_next: Handler) -> Response:
    """Measure each request, also those without a route. The first registered is the outermost."""
    begun = perf_counter()
    response = await call_next(request)
    response.headers["Server-Timing"] = f"app;dur={(perf_counter() - begun) * 1000:.2f}"
    return response


@app.before_request
async def pick_language(request: Request) -> None:
    """Set a value for the endpoint. If a hook returns a value, that is the answer."""
    wanted = request.headers.get("accept-language", "")
    request.state.greeting = "bonjour" if wanted.startswith("fr") else "hello"


@app.after_request
async def forbid_sniffing(request: Request, response: Response) -> None:
    """Change the answer, also the answer to an error. A hook may return another answer."""
    response.headers["X-Content-Type-Options"] = "nosniff"


async def require_token(request: Request, call_next: Handler) -> Response:
    """Refuse requests without the token. Routes name this middleware in `use=`."""
    if request.headers.get("authorization") != "Bearer sesame":
        abort(401, headers={"WWW-Authenticate": "Bearer"})
    return await call_next(request)


@app.get("/")
async def index(request: Request) -> str:
    """Greet in the language that the hook chose."""
    return str(request.state.greeting)


@app.get("/admin", use=[require_token])
async def admin() -> str:
    """Answer only requests that passed `require_token`."""
    return "welcome"


if __name__ == "__main__":
    app.run()
