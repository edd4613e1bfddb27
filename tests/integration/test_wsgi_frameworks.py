"""Applications of Flask and Django, unchanged, under `microweb run` and in an App."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.processes import DEADLINE_S, Program, run_to_end

FLASK = """
from flask import Flask, Response, flash, redirect, render_template_string, request, send_file
from flask import session, stream_with_context, url_for

application = Flask(__name__)
application.secret_key = "not a secret"


@application.get("/")
def index():
    return render_template_string(
        "{{ session.name }} {% for text in get_flashed_messages() %}{{ text }}{% endfor %}"
    )


@application.post("/login")
def login():
    session["name"] = request.form["name"]
    flash("welcome")
    return redirect(url_for("index"))


@application.post("/upload")
def upload():
    return {name: len(file.read()) for name, file in request.files.items()}


@application.get("/stream")
def stream():
    def lines():
        for number in range(3):
            yield f"{number} {request.path}\\n"

    return Response(stream_with_context(lines()), mimetype="text/plain")


@application.get("/file")
def file():
    return send_file(__file__, conditional=True)
"""

DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from pathlib import Path

here = Path(__file__).parent
settings.configure(
    SECRET_KEY="not a secret",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": here / "db.sqlite3"}},
    INSTALLED_APPS=[
        f"django.contrib.{name}"
        for name in ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    STATIC_URL="/static/",
    STATIC_ROOT=here / "static",
    USE_TZ=True,
)
application = get_wsgi_application()

from django.contrib import admin
from django.urls import path


@csrf_exempt
def size(request):
    return HttpResponse(str(len(request.body)))


def nothing(request):
    return HttpResponse(status=204)


def stream(request):
    return StreamingHttpResponse(iter([b"a", b"b"]))


def source(request):
    return FileResponse(open(__file__, "rb"))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("size", size),
    path("nothing", nothing),
    path("stream", stream),
    path("source", source),
]
"""
PREPARE = """
import site_django
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
get_user_model().objects.create_superuser("ann", "ann@example.org", "secret")
"""
MOUNTED = """
from microweb import App, WSGI
from {module} import application

app = App()
app.mount("/old", WSGI(application))
"""
STATIC = """
from pathlib import Path
app.static("/static", Path(__file__).parent / "static")
"""


class Site(requests.Session):
    """A browser for the application at a URL."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base

    def at(self, path: str) -> requests.Response:
        return self.get(self.base + path, timeout=DEADLINE_S)

    def submit(self, path: str, **content: object) -> requests.Response:
        return self.post(self.base + path, timeout=DEADLINE_S, **content)  # type: ignore[arg-type]


def serve(folder: Path, target: str, prefix: str) -> Iterator[Site]:
    run = ("-m", "microweb", "run", target, "--port", "0", "--host", "127.0.0.1")
    with Program(*run, cwd=folder) as program, Site(program.urls()[0] + prefix) as site:
        yield site
        program.stop()
        assert program.err.rest() == ""


@pytest.fixture(params=["alone", "mounted"])
def flask(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    pytest.importorskip("flask")
    (tmp_path / "site_flask.py").write_text(FLASK)
    (tmp_path / "both.py").write_text(MOUNTED.format(module="site_flask"))
    is_alone = request.param == "alone"
    target, prefix = ("site_flask:application", "") if is_alone else ("both:app", "/old")
    yield from serve(tmp_path, target, prefix)


def test_flask_keeps_a_session(flask: Site) -> None:
    answer = flask.submit("/login", data={"name": "Ann"})
    assert answer.url == f"{flask.base}/"
    assert answer.text == "Ann welcome"
    assert flask.at("/").text == "Ann "


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_flask_gets_uploads(flask: Site, size: int) -> None:
    assert flask.submit("/upload", files={"a": b"x" * size, "b": b"y"}).json() == {
        "a": size,
        "b": 1,
    }


def test_flask_streams(flask: Site) -> None:
    assert flask.at("/stream").text == "0 /stream\n1 /stream\n2 /stream\n"


def test_flask_sends_files(flask: Site) -> None:
    whole = flask.at("/file")
    assert whole.text == FLASK
    flask.headers["Range"] = "bytes=1-4"
    part = flask.at("/file")
    assert (part.status_code, part.text) == (206, FLASK[1:5])
    flask.headers = {"If-None-Match": whole.headers["ETag"]}  # type: ignore[assignment]
    assert flask.at("/file").status_code == 304


@pytest.fixture(params=["alone", "mounted"])
def django(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    pytest.importorskip("django")
    (tmp_path / "site_django.py").write_text(DJANGO)
    (tmp_path / "prepare.py").write_text(PREPARE)
    (tmp_path / "both.py").write_text(MOUNTED.format(module="site_django") + STATIC)
    prepared = run_to_end(["prepare.py"], tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    is_alone = request.param == "alone"
    target, prefix = ("site_django:application", "") if is_alone else ("both:app", "/old")
    yield from serve(tmp_path, target, prefix)


def test_django_has_its_admin(django: Site) -> None:
    form = django.at("/admin/")
    assert form.url.startswith(f"{django.base}/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
    assert token is not None
    fields = {"username": "ann", "password": "secret", "csrfmiddlewaretoken": token[1]}
    login = form.url.removeprefix(django.base)
    page = django.submit(login, data=fields, headers={"Referer": form.url})
    assert page.url == f"{django.base}/admin/"
    assert "Site administration" in page.text
    if django.base.endswith("/old"):
        style = re.search(r'href="(/static/[^"]+\.css)"', page.text)
        assert style is not None
        django.base = django.base.removesuffix("/old")
        assert "text/css" in django.at(style[1]).headers["Content-Type"]


def test_django_reads_bodies(django: Site) -> None:
    assert django.submit("/size", data=b"x" * 100).text == "100"
    assert django.submit("/size", data=b"x" * 2_000_000).text == "2000000"
    assert django.submit("/size", data=iter([b"x" * 100, b"y"])).text == "101"  # in chunks


def test_django_answers(django: Site) -> None:
    assert django.at("/nothing").status_code == 204
    assert django.at("/stream").text == "ab"
    assert django.at("/source").text == DJANGO
    assert django.at("/missing").status_code == 404
