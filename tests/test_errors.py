from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from jinja2 import TemplateNotFound

import microweb
from microweb import errors
from microweb.concurrency.background import TaskExit
from microweb.errors import (
    BadRequest,
    ConfigurationError,
    HTTPError,
    InvalidValue,
    LocalProtocolError,
    MalformedRequest,
    MethodNotAllowed,
    MicrowebError,
    MissingExtra,
    MissingValue,
    NotFound,
    ProtocolError,
    TooManyFields,
    Unauthorized,
    abort,
)
from microweb.interop.asgi_app_exchange import AnswerCut
from microweb.interop.asgi_lifespan import StartupFailed
from microweb.interop.wsgi_answer import AnswerDropped
from microweb.server.holders import AddressInUse
from microweb.server.leftovers import TasksStuck
from microweb.templating import MissingTemplate, Templates
from microweb.testing.websocket import HandshakeRefused, SocketClosed

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, MicrowebError) and not name.startswith("_")
}
REFUSALS = {name: cls for name, cls in CLASSES.items() if issubclass(cls, ProtocolError)}
ANSWERS = {name: cls for name, cls in CLASSES.items() if issubclass(cls, HTTPError)}


# --- the tree -------------------------------------------------------------------------


DRAWING = (errors.__doc__ or "").split("\n\n")[1]


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_drawn(name: str) -> None:
    assert re.search(rf"\b{name}\b", DRAWING)


@pytest.mark.parametrize(
    ("name", "status"), re.findall(r"\b([A-Z][A-Za-z]+) +([45]\d\d)\b", DRAWING)
)
def test_statuses_are_as_drawn(name: str, status: str) -> None:
    error = MethodNotAllowed([]) if name == "MethodNotAllowed" else CLASSES[name]("")
    assert getattr(error, "status", None) == int(status)


def test_branches_are_as_drawn() -> None:
    branches = [
        name
        for name, cls in CLASSES.items()
        if cls is not MicrowebError and cls.__mro__[1] is MicrowebError
    ]
    assert re.findall(r"^    [├└]─ (\w+)", DRAWING, re.MULTILINE) == branches
    children = {"MissingValue", "InvalidValue", "TooManyFields"}
    assert {name for name, cls in CLASSES.items() if cls.__mro__[1] is BadRequest} == children


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_every_class_says_what_it_is(cls: type[MicrowebError]) -> None:
    assert cls.__doc__
    assert cls.__doc__.split("\n")[0].endswith(".")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("MalformedRequest", 400),
        ("HeadTimeout", 408),
        ("BodyTimeout", 408),
        ("TargetTooLong", 414),
        ("HeadTooLarge", 431),
        ("UnknownCoding", 501),
        ("UnknownMethod", 501),
        ("UnsupportedVersion", 505),
    ],
)
def test_a_refusal_knows_its_status(name: str, status: int) -> None:
    error = REFUSALS[name]("a reason")
    assert (error.status, error.reason, str(error)) == (status, "a reason", "a reason")


def test_what_the_peer_broke_is_no_answer_of_the_application() -> None:
    assert not set(REFUSALS) & set(ANSWERS)
    for name in ("ClientDisconnected", "LocalProtocolError", "ConfigurationError"):
        assert not issubclass(CLASSES[name], (ProtocolError, HTTPError))


# --- messages -------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["no such page", None, 200, 4.5])
def test_a_wrong_status_names_the_call(status: Any) -> None:
    expected = (
        r"^expected an error status from 400 to 599 as in HTTPError\(404, 'no such page'\), got "
    )
    for call in (HTTPError, abort):
        with pytest.raises(ValueError, match=expected):
            call(status)


@pytest.mark.parametrize("detail", [{"a": 1}, ["a"], None, ValueError("a")])
def test_a_detail_that_is_no_text_names_the_remedy(detail: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: HTTPError(409, detail),
        lambda: abort(404, detail=detail),
        lambda: BadRequest(detail),
        lambda: MethodNotAllowed(["GET"], detail),
    ]
    for call in calls:
        with pytest.raises(
            TypeError, match=r"^expected detail as a str, got .*: members of problem"
        ):
            call()


# --- copies ---------------------------------------------------------------------------

COPIES = [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "ProtocolError": (400, "a reason", b"got"),
    "HTTPError": (409, "taken"),
    "MethodNotAllowed": (["GET"], "no"),
    "ThreadsStuck": (["GET / (show at app.py:1)\n  stack"],),
    "MissingExtra": ("a part", "extra"),
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("how", COPIES)
def test_every_error_can_be_copied(name: str, how: Callable[[Any], Any]) -> None:
    error = CLASSES[name](*ARGUMENTS.get(name, ("a message",)))
    error.add_note("seen in a test")
    if isinstance(error, HTTPError):
        error.headers["Retry-After"] = "5"
        error.extra["name"] = "ada"
    again = how(error)
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


OTHERS = [
    SocketClosed(1000, "bye"),
    HandshakeRefused(httpx.Response(404, text="no")),
    TaskExit("sys.exit()"),
    AddressInUse("port 80 is in use", "choose another port"),
    StartupFailed("no database"),
    AnswerDropped("the client has left"),
    AnswerCut("the stream failed"),
    TasksStuck(["GET / of an ASGI application\n  stack"]),
]


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("how", COPIES)
def test_errors_of_other_modules_can_be_copied(error: Any, how: Callable[[Any], Any]) -> None:
    again = how(error)
    assert (type(again), str(again), vars(again).keys()) == (
        type(error),
        str(error),
        vars(error).keys(),
    )


def test_no_exception_of_ours_is_left_out() -> None:
    for module in pkgutil.walk_packages(microweb.__path__, "microweb."):
        if module.name != "microweb.__main__":
            importlib.import_module(module.name)
    todo: list[type[BaseException]] = [BaseException]
    found = set()
    while todo:
        todo += (each := todo.pop()).__subclasses__()
        if each.__module__.startswith("microweb.") and not each.__name__.startswith("_"):
            found.add(each)
    assert found == {*CLASSES.values(), *map(type, OTHERS), MissingTemplate}


def test_a_missing_template_can_be_copied(tmp_path: Path) -> None:
    with pytest.raises(TemplateNotFound) as caught:
        Templates(tmp_path).environment.get_template("a.html")
    assert type(caught.value) is MissingTemplate
    for how in COPIES:
        again = how(caught.value)
        assert isinstance(again, TemplateNotFound)
        assert (again.name, str(again)) == ("a.html", str(caught.value))


def test_an_error_comes_out_of_a_process_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(HTTPError, match="409 taken") as caught:
            pool.submit(
                fail_with, HTTPError(409, "taken", headers={"X-A": "b"}, name="ada")
            ).result()
        assert (caught.value.status, caught.value.extra) == (409, {"name": "ada"})
        assert caught.value.headers == {"X-A": "b"}
        with pytest.raises(MalformedRequest, match="byte 0x01 at index 1") as refused:
            pool.submit(fail_with, MalformedRequest("a reason", b"x\x01")).result()
        assert refused.value.got == b"x\x01"


def fail_with(error: Exception) -> None:
    raise error


# --- errors of the peer ---------------------------------------------------------------


@pytest.mark.parametrize("got", [b"secret" * 1000, "secret" * 1000, b"Cookie: secret"])
def test_message_has_no_value_of_the_peer(got: bytes | str) -> None:
    error = MalformedRequest("expected something else", got)
    assert (error.reason, error.got) == ("expected something else", got)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "got", [b"a\r\nFAKE LOG LINE\x1b[31m\x00\xff", "a\r\nFAKE LOG LINE\x1b\u202e"]
)
def test_what_the_peer_sent_is_escaped(got: bytes | str) -> None:
    assert str(MalformedRequest("a reason", got)).isprintable()


def test_a_refusal_may_have_any_status() -> None:
    error = ProtocolError(418, "no coffee", b"BREW")
    assert (error.status, error.reason, str(error)) == (418, "no coffee", "no coffee")


# --- the answer to this request -------------------------------------------------------


@pytest.mark.parametrize("cls", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_has_detail_headers_and_members(cls: type[HTTPError]) -> None:
    if cls in (HTTPError, MethodNotAllowed):
        pytest.skip("takes an argument before the detail")
    error = cls("too bad", headers={"X": "y"}, balance=30)  # type: ignore[arg-type]
    assert (error.detail, error.headers, error.extra) == ("too bad", {"X": "y"}, {"balance": 30})
    assert str(error) == f"{error.status} too bad"
    assert str(cls()) == str(error.status)  # type: ignore[call-arg]


def test_an_answer_of_any_error_status() -> None:
    error = HTTPError(418, "a teapot", headers={"X": "y"}, short=True)
    assert (error.status, error.detail, error.extra) == (418, "a teapot", {"short": True})
    assert error.headers == {"X": "y"}
    for status in (400, 599):
        assert HTTPError(status).status == status


@pytest.mark.parametrize("status", [-1, 0, 100, 200, 304, 399, 600, 1000])
def test_a_status_that_is_no_error_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="expected an error status"):
        HTTPError(status)
    with pytest.raises(ValueError, match="expected an error status"):
        abort(status)


def test_headers_of_an_answer_are_its_own() -> None:
    headers = {"WWW-Authenticate": "Basic"}
    error = Unauthorized("who?", headers=headers)
    error.headers["X"] = "y"
    assert headers == {"WWW-Authenticate": "Basic"}
    assert NotFound().headers == {}


def test_405_says_which_methods_are_allowed() -> None:
    error = MethodNotAllowed({"POST", "GET", "HEAD"}, headers={"X": "y"})
    assert error.status == 405
    assert error.allowed == ("GET", "HEAD", "POST")
    assert error.headers == {"X": "y", "Allow": "GET, HEAD, POST"}
    assert MethodNotAllowed([]).headers == {"Allow": ""}


def test_a_missing_value_is_a_key_error_with_a_readable_message() -> None:
    error = MissingValue("missing query 'page'")
    assert isinstance(error, KeyError)
    assert isinstance(error, BadRequest)
    assert (error.status, error.detail) == (400, "missing query 'page'")
    assert str(error) == "400 missing query 'page'"  # a KeyError's would be quoted


def test_an_invalid_value_is_a_value_error() -> None:
    error = InvalidValue("expected an int")
    assert isinstance(error, ValueError)
    assert isinstance(error, BadRequest)
    assert error.status == 400
    assert TooManyFields().status == 400


# --- abort ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    sorted({cls._status for cls in ANSWERS.values() if hasattr(cls, "_status")}),
)
def test_abort_raises_the_leaf_of_the_status(status: int) -> None:
    with pytest.raises(HTTPError) as aborted:
        abort(status, "no", headers={"X": "y"}, code=7)
    error = aborted.value
    assert type(error) is not HTTPError
    assert not isinstance(error, (MissingValue, InvalidValue, TooManyFields))
    assert (error.status, error.detail, error.headers, error.extra) == (
        status,
        "no",
        {"X": "y"},
        {"code": 7},
    )


@pytest.mark.parametrize("status", [402, 418, 451, 500, 502])
def test_abort_raises_the_status_that_has_no_leaf(status: int) -> None:
    with pytest.raises(HTTPError) as aborted:
        abort(status, "no")
    assert type(aborted.value) is HTTPError
    assert (aborted.value.status, aborted.value.detail) == (status, "no")


def test_no_leaf_has_the_status_of_another() -> None:
    leaves = [cls for cls in errors._StatusLeaf.__subclasses__()]
    assert len({leaf._status for leaf in leaves}) == len(leaves)


# --- faults on our side ---------------------------------------------------------------


def test_a_missing_extra_names_the_command_that_mends_it() -> None:
    error = MissingExtra("app.test_client()", "testing")
    assert isinstance(error, ConfigurationError)
    command = "pip install 'h11>=0.16' 'httpcore<2,>=1.0.9' 'httpx<1,>=0.27'"
    assert str(error) == f"app.test_client() needs the extra testing: {command}"


def test_a_consumed_body_is_a_fault_of_the_application() -> None:
    assert issubclass(errors.BodyConsumed, LocalProtocolError)
    assert issubclass(errors.RouteConflict, ConfigurationError)
