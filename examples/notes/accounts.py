"""Register, log in, log out: the session remembers who it is.

Forms are awaited on the event loop, where a slow client keeps no thread from others; what blocks
is then done in a thread.
"""

from asyncio import to_thread

from microweb import Handler, Request, Response, Router
from microweb.middleware.rate_limit import RateLimit

from pages import templates
from users import NameTaken, add_user, find_user

router = Router()
slowly = RateLimit(10, 60)  # nobody guesses faster, nor keeps us busy with hashing


async def require_login(request: Request, call_next: Handler) -> Response:
    """Let through who has logged in; have others do that first."""
    if "user" in request.session:
        return await call_next(request)
    next = request.path if request.method == "GET" else "/"
    return Response.redirect(request.url_for("login", next=next))


def begin_session(request: Request, user: int, name: str, next: str) -> Response:
    """Remember who it is, nothing of who was here before, and go where they wanted to."""
    request.session.clear()
    request.session.update(user=user, name=name)
    request.session.flash(f"Welcome, {name}!", "success")
    return Response.redirect(next, local=True)  # on this site, whatever the query says


@router.get("/register", name="register")
async def ask_to_register() -> Response:
    """Show the empty form."""
    return templates.render("account.html", is_new=True)


@router.post("/register", use=[slowly])
async def register(request: Request, next: str = "/") -> Response | tuple[Response, int]:
    """Make an account."""
    form = await request.form()
    name, password = form["name"].strip(), form["password"]
    if not (1 <= len(name) <= 40 and 10 <= len(password) <= 200):
        problem = "A name has 1 to 40 characters, a password 10 to 200."
    else:
        try:
            return begin_session(request, await to_thread(add_user, name, password), name, next)
        except NameTaken:
            problem = "Somebody else has that name."
    return templates.render("account.html", is_new=True, name=name, problem=problem), 422


@router.get("/login", name="login")
async def ask_to_log_in() -> Response:
    """Show the empty form."""
    return templates.render("account.html", is_new=False)


@router.post("/login", use=[slowly])
async def log_in(request: Request, next: str = "/") -> Response | tuple[Response, int]:
    """Check name and password."""
    form = await request.form()
    user = await to_thread(find_user, form["name"].strip(), form["password"])
    if user is None:
        problem, name = "Wrong name or password.", form["name"]
        return templates.render("account.html", is_new=False, name=name, problem=problem), 422
    return begin_session(request, user["id"], user["name"], next)


@router.post("/logout", name="logout")
async def log_out(request: Request) -> Response:
    """Forget who it was. A POST: a link or an image on another site must not do that."""
    request.session.clear()
    request.session.flash("You are logged out.")
    return Response.redirect(request.url_for("login"))
