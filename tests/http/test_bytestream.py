"""The server's classes have the methods of the protocols that answers use."""

from __future__ import annotations

import inspect
import os

import pytest

from microweb.http.bytestream import Descriptor, Receiver, ResponseStream, Share, UpgradedStream
from microweb.server.answering import AnswerStream
from microweb.server.buffered import Share as ServerShare
from microweb.server.delivery import Discard
from microweb.server.upgrade import UpgradedConnection

PARTS: list[tuple[type, type]] = [
    (ResponseStream, AnswerStream),
    (UpgradedStream, UpgradedConnection),
    (Share, ServerShare),
    (Receiver, Discard),
]


def methods_of(protocol: type) -> dict[str, object]:
    return {name: each for name, each in vars(protocol).items() if not name.startswith("_")}


@pytest.mark.parametrize(("protocol", "part"), PARTS)
def test_part_of_the_server_has_the_methods_of_its_protocol(protocol: type, part: type) -> None:
    methods = methods_of(protocol)
    assert methods
    for name, method in methods.items():
        own = inspect.getattr_static(part, name)
        assert isinstance(own, property) is isinstance(method, property), name
        if not callable(method) or not callable(own):
            continue
        assert inspect.iscoroutinefunction(own) is inspect.iscoroutinefunction(method), name
        expected = inspect.signature(method).parameters.values()
        got = inspect.signature(own).parameters.values()
        assert [(each.name, each.kind) for each in got] == [
            (each.name, each.kind) for each in expected
        ], name


def test_open_file_is_a_descriptor() -> None:
    def number_of(file: Descriptor) -> int:
        return file.fileno()

    with open(os.devnull, "rb") as file:
        assert number_of(file) == file.fileno() >= 0
