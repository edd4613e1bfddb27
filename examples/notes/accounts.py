"""Register, log in, log out: the session holds the user.

Forms are read on the event loop, so a slow client does not occupy a thread. Blocking calls then run
in a thread.
"""

from asyncio import to_thread

from microweb import Handler, Request, Response, Router
from microweb.middleware.rate_limit import RateLimit

from pages import templates
from users import NameTaken, add_user, find_user

router = Router()
slowly = RateLimit(10, 60)  # limits the guessing of passwords, and the time spent on hashes


async def require_login(request: Request, call_next: Handler) -> Response:
    """Answer requests of users who are logged in; redirect all others to the login page."""
    if "user" in request.session:
        return await call_next(request)
    next = request.path if request.method == "GET" else "/"
    return Response.redirect(request.url_for("login", next=next))


def begin_session(request: Request, user: int, name: str, next: str) -> Response:
    """Store the user in an empty session, and redirect to the page that they wanted."""
    request.session.clear()
    request.session.update(user=user, name=name)
    request.session.flash(f"Welcome, {name}!", "success")
    return Response.redirect(next, local=True)  # `next` may name another site: stay on this one


@router.get("/register", name="register")
async def ask_to_register() -> Response:
    """Show the empty form."""
    return templates.render("account.html", is_new=True)


@router.post("/register", use=[slowly])
async def register(request: Request, next: str = "/") -> Response | tuple[Response, int]:
    """Create an account."""
    form = await request.form()
    name, password = form["name"].strip(), form["password"]
    if not (1 <= len(name) <= 40 and 10 <= len(password) <= 200):
        problem = "A name has 1 to 40 characters, a password 10 to 200."
    else:
        try:
            return begin_session(request, await to_thread(add_user, name, password), name, next)
        except NameTaken:
            problem = "This name is taken."
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
    """Clear the session. It is a POST, so a link or image on another site can't log a user out."""
    request.session.clear()
    request.session.flash("You are logged out.")
    return Response.redirect(request.url_for("login"))
