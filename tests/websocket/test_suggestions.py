"""The names of other frameworks for a WebSocket."""

from __future__ import annotations

import re

import pytest

from microweb.websocket import WebSocket
from microweb.websocket.suggestions import NAMES


@pytest.mark.parametrize(("theirs", "ours"), NAMES.items())
def test_each_name_of_others_says_ours(theirs: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(f"in microweb it is `{ours}`")):
        getattr(WebSocket, theirs)
    for name in re.findall(r"socket\.(\w+)", ours):
        assert hasattr(WebSocket, name)
