"""An exception as data: the user's frames, the parts that are kept, and their limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microweb.bodies.json import encode_json
from microweb.debug.masking import Mask
from microweb.debug.tracebacks import Fault, describe_exception, format_fault


def fault_of(function: Callable[[], object]) -> Fault:
    try:
        function()
    except Exception as error:
        return describe_exception(error, Mask())
    raise AssertionError("expected an exception")


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def test_frame_has_place_source_and_locals() -> None:
    def fail() -> None:
        price, count = 7, 0
        print(price // count)

    fault = fault_of(fail)
    assert (fault.kind, fault.message) == (
        "ZeroDivisionError",
        "integer division or modulo by zero",
    )
    frame = fault.frames[0]
    assert (frame.function, frame.is_users) == ("fail", True)
    assert Path(frame.path).name == "test_tracebacks.py"
    assert frame.locals == (("price", "7"), ("count", "0"))
    (current,) = [line for line in frame.lines if line.is_current]
    assert (current.number, current.text) == (frame.number, "        print(price // count)")
    assert (current.before, current.marked, current.after) == (
        "        print(",
        "price // count",
        ")",
    )
    assert len(frame.lines) == 11


def test_part_that_ran_is_marked_in_characters_not_bytes() -> None:
    def fail() -> None:
        print("äöü", 1 // int("0"))

    (current,) = [line for line in fault_of(fail).frames[0].lines if line.is_current]
    assert current.marked == '1 // int("0")'


def test_last_call_comes_first() -> None:
    def inner() -> None:
        raise ValueError

    def outer() -> None:
        inner()

    names = [frame.function for frame in fault_of(outer).frames]
    assert names == ["inner", "outer", "fault_of"]


def test_libraries_are_not_the_users() -> None:
    fault = fault_of(lambda: json.loads("{"))
    kinds = {frame.function: frame.is_users for frame in fault.frames}
    assert kinds["raw_decode"] is False
    assert kinds["<lambda>"] is True
    assert fault.kind == "json.decoder.JSONDecodeError"
    others = [frame for frame in fault.frames if not frame.is_users]
    assert others[0].locals != ()  # the last frame has locals
    assert all(frame.locals == () for frame in others[1:])


def test_code_from_a_string_is_not_the_users_and_has_no_source() -> None:
    fault = fault_of(lambda: exec("1 // 0", {}))
    assert (fault.frames[0].path, fault.frames[0].lines) == ("<string>", ())
    assert not fault.frames[0].is_users


def test_causes_come_below() -> None:
    def fail() -> None:
        try:
            try:
                raise KeyError("a")
            except KeyError as error:
                raise ValueError("b") from error
        except ValueError:
            raise TypeError("c")  # noqa: B904

    fault = fault_of(fail)
    (handled,) = fault.below
    (cause,) = handled.below
    assert [fault.kind, handled.kind, cause.kind] == ["TypeError", "ValueError", "KeyError"]
    assert [handled.relation, cause.relation] == ["raised while this was handled", "caused by"]
    assert cause.below == ()


def test_cause_that_was_put_aside_is_not_shown() -> None:
    def fail() -> None:
        try:
            raise KeyError("a")
        except KeyError:
            raise ValueError("b") from None

    assert fault_of(fail).below == ()


def test_groups_show_their_members() -> None:
    def fail() -> None:
        raise ExceptionGroup("two", [ValueError(1), ExceptionGroup("one", [KeyError(2)])])

    fault = fault_of(fail)
    assert [each.kind for each in fault.below] == ["ValueError", "ExceptionGroup"]
    assert [each.kind for each in fault.below[1].below] == ["KeyError"]
    assert fault.below[0].relation == "one of the group"
    assert fault.below[0].frames == ()  # this member was never raised


def test_chain_that_is_a_ring_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    fault = describe_exception(first, Mask())
    assert [each.message for each in fault.below] == ["second"]
    assert fault.below[0].below == ()


def test_large_group_and_long_chain_are_bounded() -> None:
    group = ExceptionGroup("many", [ValueError(number) for number in range(500)])
    assert len(describe_exception(group, Mask()).below) == 19
    error = ValueError("0")
    for number in range(500):
        above = ValueError(str(number))
        above.__cause__ = error
        error = above
    fault, depth = describe_exception(error, Mask()), 1
    while fault.below:
        (fault,) = fault.below
        depth += 1
    assert depth == 20


def test_recursion_keeps_its_beginning_and_its_end() -> None:
    def again(number: int) -> int:
        return again(number + 1)

    fault = fault_of(lambda: again(0))
    assert len(fault.frames) == 40
    assert fault.left_out > 500
    assert ("number", "0") in fault.frames[-3].locals
    assert len("\n".join(format_fault(fault))) < 20_000


def test_exception_whose_text_raises() -> None:
    def fail() -> None:
        raise Silent

    assert fault_of(fail).message == "<exception str() failed>"


def test_long_message_is_cut() -> None:
    def fail() -> None:
        raise ValueError("x" * 1_000_000)

    assert len(fault_of(fail).message) < 4100


def test_notes_and_suggestions_are_told() -> None:
    def fail() -> None:
        error = ValueError("wrong")
        error.add_note("see the manual")
        raise error

    assert fault_of(fail).message == "wrong\nsee the manual"


def test_syntax_error_says_where(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = (\n")
    source = (tmp_path / "broken.py").read_text()
    fault = fault_of(lambda: compile(source, str(tmp_path / "broken.py"), "exec"))
    assert fault.kind == "SyntaxError"
    assert 'broken.py", line 1' in fault.message and "'(' was never closed" in fault.message


async def waits() -> str:
    return ""


def unawaited(use: Callable[[Any], object]) -> Callable[[], object]:
    def fail() -> None:
        coroutine = waits()
        try:
            use(coroutine)
        finally:
            coroutine.close()

    return fail


@pytest.mark.parametrize(
    "use",
    [
        lambda form: form["q"],
        lambda form: form.get("q"),
        lambda form: form + "q",
        lambda form: "q" + form,
        lambda form: len(form),
        lambda form: list(form),
        lambda form: int(form),
        lambda form: encode_json({"form": form}),
    ],
)
def test_use_of_a_coroutine_asks_for_await(use: Callable[[Any], object]) -> None:
    message = fault_of(unawaited(use)).message
    assert message.endswith("\ndid you forget await?")
    assert message.count("did you forget await?") == 1


def test_other_faults_do_not_ask_for_await() -> None:
    def fail() -> None:
        raise ValueError("a coroutine")

    assert fault_of(fail).message == "a coroutine"
    assert "await" not in fault_of(lambda: len(5)).message  # type: ignore[arg-type]


def test_many_locals_are_bounded() -> None:
    def fail() -> None:
        exec("\n".join(f"name{number} = {number}" for number in range(100)) + "\n1 // 0", {}, {})

    frame = fault_of(fail).frames[0]
    assert len(frame.locals) == 41
    assert frame.locals[-1] == ("…", "60 more")


def test_secrets_of_frames_are_hidden_in_source_locals_and_message() -> None:
    def check(password: str) -> None:
        form = {"api_key": "abcdefghij", "user": "ada"}
        raise ValueError(f"{password} is wrong, so is {form['api_key']}")

    fault = fault_of(lambda: check("correct horse"))
    assert fault.message == "[hidden] is wrong, so is [hidden]"
    text = repr(fault)
    assert "correct horse" not in text and "abcdefghij" not in text
    assert "'ada'" in text


def test_text_is_as_python_prints_it() -> None:
    def inner() -> None:
        raise ValueError("wrong")

    def fail() -> None:
        try:
            inner()
        except ValueError as error:
            raise KeyError("x") from error

    lines = list(format_fault(fault_of(fail)))
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: wrong"
    middle = lines.index("-- caused by:")
    assert lines[middle - 1] == "KeyError: 'x'"
    assert lines[middle - 2] == '    raise KeyError("x") from error'
    assert lines[middle - 3].endswith(", in fail")
    assert lines[-3].endswith(", in inner")


def test_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "changing.py"
    monkeypatch.syspath_prepend(tmp_path)
    for text in ("1 // 0  # first", "1 // 0  # second time"):
        path.write_text(f"def fail():\n    {text}\n")
        names: dict[str, Callable[[], object]] = {}
        exec(compile(path.read_text(), str(path), "exec"), names)
        fault = fault_of(names["fail"])
        assert any(line.text == f"    {text}" for line in fault.frames[0].lines)
        assert fault.frames[0].is_users
