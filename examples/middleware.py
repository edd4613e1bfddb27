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
    """Say how long it took. The first that is registered is the outermost; 404s pass through."""
    begun = perf_counter()
    response = await call_next(request)
    response.headers["Server-Timing"] = f"app;dur={(perf_counter() - begun) * 1000:.2f}"
    return response


@app.before_request
async def pick_language(request: Request) -> None:
    """Leave a value for the endpoint. What a hook returns, if anything, is the answer."""
    wanted = request.headers.get("accept-language", "")
    request.state.greeting = "bonjour" if wanted.startswith("fr") else "hello"


@app.after_request
async def forbid_sniffing(request: Request, response: Response) -> None:
    """Change the answer, also that of an error; or return another."""
    response.headers["X-Content-Type-Options"] = "nosniff"


async def require_token(request: Request, call_next: Handler) -> Response:
    """Let through who knows the word: given to routes by `use=`."""
    if request.headers.get("authorization") != "Bearer sesame":
        abort(401, headers={"WWW-Authenticate": "Bearer"})
    return await call_next(request)


@app.get("/")
async def index(request: Request) -> str:
    """Greet in the language that the hook found."""
    return str(request.state.greeting)


@app.get("/admin", use=[require_token])
async def admin() -> str:
    """Reached only through `require_token`."""
    return "welcome"


if __name__ == "__main__":
    app.run()
