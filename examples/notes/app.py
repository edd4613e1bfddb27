"""A notes site: accounts, forms, uploads, SQLite, flash messages, pages without a script.

$ pip install -e 'path/to/microweb[jinja2,itsdangerous]'
$ python examples/notes/app.py

It stores its data in the folder NOTES_FOLDER, by default ./notes-data. SECRET_KEY signs the
sessions; create one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`.
"""

import logging
import os
import secrets

from microweb import App, HTTPError
from microweb.http.response_head import phrase_of
from microweb.middleware.csrf import CSRFProtection
from microweb.middleware.security import ContentSecurityPolicy, SecurityHeaders
from microweb.middleware.sessions import Sessions
from microweb.templating import TemplateResponse

import accounts
import database
import notes
from pages import templates

POLICY = ContentSecurityPolicy(
    default_src="none",  # no scripts, no frames, nothing from other sites
    style_src="self",
    img_src="self",
    form_action="self",
    base_uri="none",
    frame_ancestors="none",
)

SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY:
    logging.getLogger("notes").warning("SECRET_KEY is not set: a restart logs all users out")
    SECRET_KEY = secrets.token_urlsafe(32)

app = App(max_body=64 * 1024)  # the route for uploads has a larger limit
app.use(SecurityHeaders(POLICY))
app.use(CSRFProtection())
app.use(Sessions(SECRET_KEY))
app.static("/static", "static")
app.include(accounts.router)
app.include(notes.router)
app.on_startup(database.prepare)


@app.errorhandler(HTTPError)
async def explain(error: HTTPError) -> TemplateResponse:
    """Answer HTTP errors with the site's own page. A bug still gets microweb's 500 and its log."""
    title = phrase_of(error.status)
    return templates.render("error.html", error=error, title=title)


if __name__ == "__main__":
    app.run()
