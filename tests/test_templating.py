"""Templates: the names in them, escaping, the folders, and errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from microweb import App, ConfigurationError, Handler, Request, Response, Router, abort, html
from microweb.errors import LocalProtocolError, ProtocolError
from microweb.middleware.sessions import Sessions
from microweb.templating import MissingTemplate, TemplateResponse, Templates, TemplateStream

Write = Callable[..., Templates]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write templates, by name, and return the `Templates` of their folder."""

    def write_templates(folder: str = "templates", /, **texts: str) -> Templates:
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, text in texts.items():
            (tmp_path / folder / f"{name}.html").write_text(text, "utf-8")
        return Templates(tmp_path / folder)

    return write_templates


def serving(page: Callable[[], object], *, debug: bool = False) -> App:
    app = App(debug=debug)

    @app.get("/users/{id}", name="user")
    async def user(request: Request, id: int) -> object:
        return page()

    return app


async def get(app: App, path: str = "/users/7", **options: Any) -> Any:
    async with app.test_client() as client:
        return await client.get(path, **options)


# --- the response


async def test_page_is_made_of_values(write: Write) -> None:
    templates = write(page="<p>{{ name }} is {{ age }}</p>")
    response = await get(serving(lambda: templates.render("page.html", name="Ada", age=36)))
    assert (response.status_code, response.text) == (200, "<p>Ada is 36</p>")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-length"] == "16"


async def test_status_and_fields_are_those_of_the_tuple(write: Write) -> None:
    templates = write(form="<b>{{ error }}</b>")
    response = await get(serving(lambda: (templates.render("form.html", error="no"), 422)))
    assert (response.status_code, response.text) == (422, "<b>no</b>")
    fields = {"Content-Type": "application/atom+xml", "X-A": "1"}
    response = await get(serving(lambda: (templates.render("form.html"), 203, fields)))
    assert (response.status_code, response.headers["x-a"]) == (203, "1")
    assert response.headers["content-type"] == "application/atom+xml"


async def test_a_plain_def_renders_as_well(write: Write) -> None:
    app, templates = App(), write(page="{{ request.path }}")

    @app.get("/plain")
    def plain() -> Response:
        return templates.render("page.html")

    assert (await get(app, "/plain")).text == "/plain"


async def test_error_handlers_and_middleware_render_as_well(write: Write) -> None:
    app, templates = App(), write(gone="{{ request.path }}: {{ error.detail }}", closed="closed")

    @app.errorhandler(404)
    async def gone(error: Exception) -> Response:
        return templates.render("gone.html", error=error)

    @app.middleware
    async def close(request: Request, call_next: Handler) -> object:
        if "night" in request.query:
            return templates.render("closed.html"), 503
        return await call_next(request)

    @app.get("/x")
    async def x() -> None:
        abort(404, "sold")

    response = await get(app, "/x")
    assert (response.status_code, response.text) == (404, "/x: sold")
    response = await get(app, "/x?night=1")
    assert (response.status_code, response.text) == (503, "closed")


@pytest.mark.parametrize("kind", ["render", "stream"])
async def test_page_of_an_error_handler_keeps_the_errors_status(write: Write, kind: str) -> None:
    app, templates = App(), write(error="sorry")

    @app.errorhandler(404)
    async def missing(request: Request) -> object:
        page = getattr(templates, kind)("error.html")
        if "gone" in request.query:
            page.status = 410
        return (page, 200) if "fine" in request.query else page

    assert (await get(app, "/x")).status_code == 404
    assert (await get(app, "/x?gone=1")).status_code == 410
    assert (await get(app, "/x?fine=1")).status_code == 200


async def test_middleware_sees_the_page_and_may_change_it(write: Write) -> None:
    templates = write(page="{{ request.path }}")
    app = serving(lambda: templates.render("page.html"))

    @app.after_request
    async def shout(request: Request, response: Response) -> None:
        response.body = response.body.upper()
        response.headers["X-Length"] = str(len(response.body))

    response = await get(app)
    assert (response.text, response.headers["x-length"]) == ("/USERS/7", "8")


async def test_body_that_was_set_before_stands(write: Write) -> None:
    templates = write(page="page")

    def page() -> Response:
        response = templates.render("page.html")
        response.body = b"mine"
        return response

    assert (await get(serving(page))).text == "mine"


async def test_page_is_rendered_once(write: Write) -> None:
    calls: list[int] = []
    templates = write(page="{{ count() or '' }}")
    app = serving(lambda: templates.render("page.html", count=lambda: calls.append(1)))

    @app.middleware
    async def hand_on(request: Request, call_next: Handler) -> Response:
        return await call_next(request)  # this Response is prepared again

    assert (await get(app)).text == ""
    assert calls == [1]


async def test_endpoint_can_be_called_in_a_unit_test(write: Write) -> None:
    templates = write(page="hello {{ name }}")

    async def endpoint() -> TemplateResponse:
        return templates.render("page.html", name="Ada")

    response = await endpoint()
    assert (response.template, response.values) == ("page.html", {"name": "Ada"})
    assert response.body == b"hello Ada"
    assert repr(response) == "<TemplateResponse 'page.html' 200>"


async def test_values_may_have_any_name(write: Write) -> None:
    templates = write(page="{{ name }} {{ self_ }} {{ request }}")
    values = {"name": "a", "self_": "b", "request": "c"}
    assert (await get(serving(lambda: templates.render("page.html", **values)))).text == "a b c"


async def test_head_has_the_length_of_the_page(write: Write) -> None:
    templates = write(page="12345")
    async with serving(lambda: templates.render("page.html")).test_client() as client:
        response = await client.head("/users/7")
    assert (response.content, response.headers["content-length"]) == (b"", "5")


# --- escaping


@pytest.mark.parametrize("name", ["page.html", "page.txt", "page", "page.j2", "page.HTM"])
async def test_every_template_is_escaped(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{{ value }}{% set x %}{{ value }}{% endset %}{{ x }}", "utf-8")
    templates = Templates(tmp_path)
    response = await get(serving(lambda: templates.render(name, value="<&\"'>")))
    assert response.text == "&lt;&amp;&#34;&#39;&gt;" * 2


@pytest.mark.parametrize("value", [html("<b>{}</b>", "<"), Markup("<b>&lt;</b>")])
async def test_what_is_html_is_not_escaped_twice(write: Write, value: object) -> None:
    templates = write(page="{{ value }}|{{ value ~ '<' }}")
    response = await get(serving(lambda: templates.render("page.html", value=value)))
    assert response.text == "<b>&lt;</b>|<b>&lt;</b>&lt;"


def test_a_rendered_part_is_html_to_html() -> None:
    part = jinja2.Environment(autoescape=True).from_string("{% macro m() %}<b>{% endmacro %}")
    assert html("<p>{}</p>", part.module.m()) == "<p><b></p>"


# --- the names in a template


async def test_url_for_and_request_are_there(write: Write) -> None:
    templates = write(page="{{ url_for('user', id=8, q='a b') }} {{ request.path_params.id }}")
    response = await get(serving(lambda: templates.render("page.html")))
    assert response.text == "/users/8?q=a+b 7"


async def test_url_for_knows_the_prefix_of_a_mounted_app_with_templates_of_its_own(
    write: Write,
) -> None:
    outer, inner = write("outer", page="outer {{ url_for('index') }}"), write("inner", page="")
    write("inner", page="inner {{ url_for('index') }} {{ request.path }}")
    app, admin = App(), App()
    app.templates, admin.templates = outer, inner

    @app.get("/")
    @admin.get("/")
    async def index(request: Request) -> Response:
        assert isinstance(request.app, App)
        return request.app.templates.render("page.html")

    app.mount("/admin", admin)
    assert (await get(app, "/")).text == "outer /"
    assert (await get(app, "/admin/")).text == "inner /admin/ /"


@pytest.mark.parametrize("how", ["", " with context", " without context"])
async def test_imported_macros_see_them_too(write: Write, how: str) -> None:
    templates = write(
        page="{% import 'links.html' as links" + how + " %}{{ links.link(9) }}{{ name }}",
        links="{% from 'base.html' import to %}{% macro link(id) %}{{ to(id) }}{% endmacro %}",
        base="{% macro to(id) %}{{ url_for('user', id=id) }} {{ request.method }} {% endmacro %}",
    )
    response = await get(serving(lambda: templates.render("page.html", name="Ada")))
    assert response.text == "/users/9 GET Ada"


async def test_one_requests_macros_are_not_anothers(write: Write) -> None:
    templates = write(
        page="{% import 'path.html' as m %}{{ m.path() }}",
        path="{% macro path() %}{{ request.path }}{% endmacro %}",
    )
    app = serving(lambda: templates.render("page.html"))
    assert [(await get(app, f"/users/{id}")).text for id in (1, 2)] == ["/users/1", "/users/2"]


async def test_values_stay_out_of_what_is_imported(write: Write) -> None:
    templates = write(
        page="{% import 'm.html' as m %}{{ m.show() }}",
        m="{% macro show() %}[{{ name }}]{% endmacro %}",
    )
    assert (await get(serving(lambda: templates.render("page.html", name="x")))).text == "[]"


async def test_inherited_and_included_templates_see_all(write: Write) -> None:
    templates = write(
        layout="<title>{{ name }}{{ request.path }}</title>{% block main %}{% endblock %}",
        page="{% extends 'layout.html' %}{% block main %}{% include 'part.html' %}{% endblock %}",
        part="{{ name }}{{ url_for('user', id=1) }}",
    )
    response = await get(serving(lambda: templates.render("page.html", name="x")))
    assert response.text == "<title>x/users/7</title>x/users/1"


async def test_flashes_are_the_sessions(write: Write) -> None:
    templates = write(
        page="{% for each in flashes() %}{{ each.category }} {{ each.text }}{% endfor %}"
    )
    app = App()
    app.use(Sessions("a key of more than thirty-two characters"))

    @app.post("/")
    async def save(request: Request) -> None:
        request.session.flash("<saved>")

    app.get("/")(lambda: templates.render("page.html"))
    async with app.test_client(base_url="https://testserver") as client:
        await client.post("/")
        assert (await client.get("/")).text == "info &lt;saved&gt;"
        assert (await client.get("/")).text == ""


async def test_page_that_asks_for_flashes_without_sessions_says_what_is_missing(
    write: Write,
) -> None:
    templates = write(page="{{ flashes() }}")
    with pytest.raises(ConfigurationError, match="Sessions"):
        await get(serving(lambda: templates.render("page.html")))


async def test_page_that_asks_for_no_flashes_needs_no_session(write: Write) -> None:
    templates = write(page="{% if false %}{{ flashes() }}{% endif %}fine")
    assert (await get(serving(lambda: templates.render("page.html")))).text == "fine"


async def test_filters_of_ones_own(write: Write) -> None:
    templates = write(page="{{ 5 | euros }} {{ site }}")
    templates.environment.filters["euros"] = "{:.2f} €".format
    templates.environment.globals["site"] = "tea"
    for debug in (False, True):
        app = serving(lambda: templates.render("page.html"), debug=debug)
        assert (await get(app)).text == "5.00 € tea"


async def test_values_are_before_the_globals_of_a_template_and_of_the_environment(
    write: Write,
) -> None:
    templates = write(page="{{ a }}{{ b }}{{ c }} {% include 'part.html' %}", part="{{ a }}{{ c }}")
    templates.environment.globals |= {"a": "environment ", "b": "environment ", "c": "environment "}
    templates.environment.get_template("page.html", globals={"a": "page ", "b": "page "})
    page = lambda: templates.render("page.html", a="value ")  # noqa: E731
    text = (await get(serving(page))).text
    assert text == "value page environment  value environment "


@pytest.mark.parametrize("debug", [False, True])
async def test_values_of_one_page_are_not_in_the_next(write: Write, debug: bool) -> None:
    templates = write(page="{{ name is defined }} {{ request.query.get('q') }}")
    pages = iter([templates.render("page.html", name="Ada"), templates.render("page.html")])
    app = serving(lambda: next(pages), debug=debug)
    assert (await get(app, "/users/7?q=1")).text == "True 1"
    assert (await get(app, "/users/7")).text == "False None"
    assert "name" not in templates.environment.globals


async def test_a_page_that_answers_twice_has_its_own_fields_each_time(write: Write) -> None:
    templates = write(page="{{ request.query['q'] }}")
    kept = templates.render("page.html", name="Ada")
    kept.status = 202
    kept.set_cookie("first", "1")
    app = serving(lambda: kept)

    @app.middleware
    async def mark(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        assert isinstance(response, TemplateResponse)
        assert (response.template, response.values) == ("page.html", {"name": "Ada"})
        response.headers["X-Query"] = request.query["q"]
        response.set_cookie("query", request.query["q"])
        return response

    for q in ("1", "2"):
        response = await get(app, f"/users/7?q={q}")
        assert (response.status_code, response.text) == (202, q)
        assert response.headers["x-query"] == q
        cookies = response.headers.get_list("set-cookie")
        assert [cookie.partition(";")[0] for cookie in cookies] == ["first=1", f"query={q}"]


@pytest.mark.parametrize("name", ["/page.html", "./page.html", ".//page.html", "x/../page.html"])
def test_file_has_one_name(write: Write, name: str) -> None:
    templates = write(page="text")
    assert templates.render("page.html").body == b"text"
    with pytest.raises(MissingTemplate, match=re.escape(f"no template '{name}'")):
        templates.render(name).body  # noqa: B018
    assert len(templates.environment.cache or ()) == 1


# --- debug


async def test_name_that_was_not_given_is_an_error_in_debug_alone(write: Write) -> None:
    templates = write(page="[{{ nmae }}]")
    page = lambda: templates.render("page.html", name="Ada")  # noqa: E731
    assert (await get(serving(page))).text == "[]"
    with pytest.raises(jinja2.UndefinedError, match="'nmae' is undefined"):
        await get(serving(page, debug=True))


@pytest.mark.parametrize("debug", [False, True])
async def test_key_that_a_session_lacks_is_no_error(write: Write, debug: bool) -> None:
    templates = write(
        page="[{% if request.session.user %}in{% endif %}{{ request.session['user'] }}]"
    )
    app = serving(lambda: templates.render("page.html"), debug=debug)
    app.use(Sessions("an-example-key-for-tests-0123456789"))
    assert (await get(app)).text == "[]"


async def test_key_that_another_dict_lacks_is_an_error_in_debug(write: Write) -> None:
    templates = write(page="[{{ note.titel }}]")
    app = serving(lambda: templates.render("page.html", note={"title": "x"}), debug=True)
    with pytest.raises(jinja2.UndefinedError, match="has no attribute 'titel'"):
        await get(app)


@pytest.mark.parametrize("debug", [False, True])
async def test_asking_whether_a_name_was_given_is_no_error(write: Write, debug: bool) -> None:
    templates = write(page="[{{ x | default('-') }}{% if x is defined %}{{ x }}{% endif %}]")
    assert (await get(serving(lambda: templates.render("page.html"), debug=debug))).text == "[-]"


async def test_changed_template_is_read_again_in_debug_alone(write: Write, tmp_path: Path) -> None:
    templates = write(page="old")
    kept = serving(lambda: templates.render("page.html"))
    reloaded = serving(lambda: templates.render("page.html"), debug=True)
    assert [(await get(app)).text for app in (kept, reloaded)] == ["old", "old"]
    path = tmp_path / "templates" / "page.html"
    path.write_text("new", "utf-8")
    os.utime(path, (1, 1))
    assert [(await get(app)).text for app in (kept, reloaded)] == ["old", "new"]


async def test_app_mounted_in_one_that_debugs_is_strict(write: Write) -> None:
    templates = write(page="{{ nmae }}")
    app, inner = App(debug=True), serving(lambda: templates.render("page.html"))
    app.mount("/in", inner)
    with pytest.raises(jinja2.UndefinedError):
        await get(app, "/in/users/7")


# --- missing templates


async def test_missing_template_names_the_folder_and_what_is_there(
    write: Write, tmp_path: Path
) -> None:
    templates = write(index="", user="", users="")
    with pytest.raises(jinja2.TemplateNotFound) as caught:
        await get(serving(lambda: templates.render("usr.html")))
    assert str(caught.value) == (
        f"no template 'usr.html' in {tmp_path / 'templates'}: "
        "there is 'user.html', 'users.html', 'index.html'"
    )


async def test_missing_include_is_named_too(write: Write) -> None:
    templates = write(page="{% include 'part.html' %}")
    with pytest.raises(jinja2.TemplateNotFound, match=r"no template 'part\.html' in .*page\.html"):
        await get(serving(lambda: templates.render("page.html")))


async def test_include_that_may_be_missing(write: Write) -> None:
    templates = write(page="{% include ['a.html', 'b.html'] ignore missing %}fine")
    assert (await get(serving(lambda: templates.render("page.html")))).text == "fine"


def test_of_many_templates_a_dozen_are_named(write: Write) -> None:
    templates = write(**{f"page{number}": "" for number in range(30)})
    with pytest.raises(jinja2.TemplateNotFound, match=r" and 18 more$"):
        _ = templates.render("x.html").body


@pytest.mark.parametrize(
    "name", ["../secret.html", "/etc/passwd", "a/../../secret.html", "..\\secret.html", ""]
)
async def test_no_name_leaves_the_folder(write: Write, tmp_path: Path, name: str) -> None:
    templates = write(page="")
    (tmp_path / "secret.html").write_text("secret", "utf-8")
    with pytest.raises(jinja2.TemplateNotFound):
        await get(serving(lambda: templates.render(name)))


def test_missing_folder_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        Templates(tmp_path / "template")
    assert str(caught.value) == (
        f"Templates: there is no folder {tmp_path / 'template'}; folders beside it: templates"
    )
    with pytest.raises(ConfigurationError, match="folders beside it: none"):
        Templates(tmp_path / "a" / "b")


def test_app_without_templates_says_what_to_add() -> None:
    with pytest.raises(ConfigurationError, match=r'app\.templates = Templates\("templates"\)'):
        _ = App().templates


# --- folders


def test_relative_folder_stands_beside_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / "pages").mkdir(parents=True)
    (tmp_path / "pages").mkdir()
    monkeypatch.chdir(tmp_path)
    names = {"__file__": str(tmp_path / "project" / "app.py"), "Templates": Templates}
    exec("templates = Templates('pages')", names)
    templates = names["templates"]
    assert isinstance(templates, Templates)
    assert templates.folders == [tmp_path / "project" / "pages"]
    assert repr(templates) == f"Templates({str(tmp_path / 'project' / 'pages')!r})"


def test_at_a_prompt_it_is_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pages").mkdir()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"Templates": Templates}
    exec("templates = Templates('pages')", names)
    assert names["templates"].folders == [tmp_path / "pages"]


async def test_first_folder_that_has_it_wins(write: Write, tmp_path: Path) -> None:
    write("shared", layout="shared {% block main %}{% endblock %}", page="shared")
    write("own", page="{% extends 'layout.html' %}{% block main %}own{% endblock %}")
    templates = Templates(tmp_path / "own", tmp_path / "shared")
    assert (await get(serving(lambda: templates.render("page.html")))).text == "shared own"


async def test_routers_share_templates(write: Write) -> None:
    templates, router, app = write(page="{{ url_for('news.index') }}"), Router(name="news"), App()

    @router.get("/news")
    async def index() -> Response:
        return templates.render("page.html")

    app.include(router)
    assert (await get(app, "/news")).text == "/news"


# --- without a request


async def test_what_broke_http_is_answered_by_a_page_without_a_request(write: Write) -> None:
    app, templates = App(), write(error="<h1>{{ error.status }}</h1>{{ request }}")

    @app.errorhandler(ProtocolError)
    async def refused(error: ProtocolError) -> Response:
        return templates.render("error.html", error=error)

    async with app.test_client() as client:
        answer = await client.raw(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n<h1>400</h1>")


@pytest.mark.parametrize("kind", ["render", "stream"])
async def test_page_that_needs_a_request_there_is_a_plain_500(
    write: Write, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, templates = App(), write(error="{{ url_for('index') }}")

    @app.errorhandler(ProtocolError)
    async def refused() -> object:
        return getattr(templates, kind)("error.html")

    async with app.test_client() as client:
        answer = await client.raw(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert "refused at test_templating.py" in caplog.text


# --- streams


async def test_large_page_is_streamed(write: Write) -> None:
    templates = write(page="{% for row in rows %}<p>{{ row }}{{ request.path }}</p>{% endfor %}")
    app = serving(lambda: templates.stream("page.html", rows=range(5000)))
    response = await get(app)
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text == "".join(f"<p>{row}/users/7</p>" for row in range(5000))


async def test_streamed_page_takes_a_status(write: Write) -> None:
    templates = write(page="x")
    response = await get(serving(lambda: (templates.stream("page.html"), 202)))
    assert (response.status_code, response.text) == (202, "x")
    assert repr(templates.stream("page.html")) == "<TemplateStream 'page.html' 200>"


async def test_stream_is_rendered_in_a_thread_as_the_client_reads(write: Write) -> None:
    made: list[int] = []

    def rows() -> Iterator[str]:
        for number in range(100):
            made.append(number)
            assert threading.current_thread() is not threading.main_thread()
            yield "x" * 10_000

    templates = write(page="{% for row in rows %}{{ row }}{% endfor %}")
    request_made: list[int] = []
    app = serving(lambda: templates.stream("page.html", rows=rows()))

    @app.after_request
    async def look(request: Request, response: Response) -> None:
        assert isinstance(response, TemplateStream)
        request_made.append(len(made))

    assert len((await get(app)).content) == 1_000_000
    assert request_made[0] < 5
    assert len(made) == 100


async def test_fault_in_the_first_part_of_a_stream_is_a_500(write: Write) -> None:
    templates = write(page="some{{ 1 // 0 }}")
    async with serving(lambda: templates.stream("page.html")).test_client(
        raise_errors=False
    ) as client:
        assert (await client.get("/users/7")).status_code == 500


async def test_fault_in_a_later_part_cuts_the_answer(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    templates = write(page="{{ 'x' * 100000 }}{{ 1 // 0 }}")
    async with serving(lambda: templates.stream("page.html")).test_client(
        raise_errors=False
    ) as client:
        answer = await client.raw(b"GET /users/7 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not answer.endswith(b"0\r\n\r\n")
    assert "ZeroDivisionError" in caplog.text


async def test_values_are_closed_where_nobody_wants_the_stream(write: Write) -> None:
    closed = threading.Event()

    def rows() -> Iterator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            closed.set()

    templates = write(page="{% for row in rows %}{{ row }}{% endfor %}")
    given = [rows()]
    app = serving(lambda: templates.stream("page.html", rows=given.pop()))
    async with app.test_client() as client:
        assert (await client.head("/users/7")).status_code == 200
    assert closed.wait(10)


def test_a_stream_has_no_whole_body(write: Write) -> None:
    with pytest.raises(LocalProtocolError):
        _ = write(page="x").stream("page.html").body


# --- the extra


def test_without_jinja_the_command_that_mends_it_is_named() -> None:
    code = "import sys; sys.modules['jinja2'] = None; import microweb.templating"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "MissingExtra: microweb.templating needs the extra jinja2" in run.stderr
    assert "pip install 'jinja2<4,>=3.1.6'" in run.stderr


def test_microweb_itself_does_not_import_jinja() -> None:
    code = "import sys, microweb, microweb.cli; assert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
