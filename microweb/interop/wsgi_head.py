"""The status and the fields of a WSGI answer, as `start_response` gets them."""

from __future__ import annotations

from ..errors import LocalProtocolError
from ..http.grammar import CONTENT_LENGTH
from ..http.response_head import check_status
from ..response import Response

# They belong to the server, which decides about the connection. PEP 3333 forbids them.
_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
_WITHOUT_LENGTH = (204, 205)  # frameworks set `Content-Length: 0`, which a 204 must not have


def make_head(status: str, headers: list[tuple[str, str]]) -> Response:
    """Return a response without a body. Hop-by-hop fields are left out.

    Raises: LocalProtocolError for a status, name or value that HTTP can't carry.
    """
    code = _parse_status(status)
    return Response(b"", code, [each for each in map(_checked, headers) if _is_kept(each, code)])


def length_of(head: Response) -> int | None:
    """Return the declared length of a body, None if there is none. Raises: LocalProtocolError."""
    if "content-length" not in head.headers.lines:
        return None
    declared = head.headers["content-length"]
    if not CONTENT_LENGTH.fullmatch(declared):
        raise LocalProtocolError(f"expected 1*DIGIT as Content-Length, got {declared!r:.80}")
    return int(declared)


def _parse_status(status: str) -> int:
    if (
        not isinstance(status, str)
        or not status[:3].isdecimal()
        or not status[:3].isascii()
        or status[3:4] not in ("", " ")
    ):
        raise LocalProtocolError(f"expected a status such as '200 OK', got {status!r:.80}")
    return check_status(int(status[:3]))


def _checked(field: tuple[str, str]) -> tuple[str, str]:
    if not isinstance(field, tuple) or len(field) != 2 or not all(type(x) is str for x in field):
        raise LocalProtocolError(f"expected (name, value) of two str as a field, got {field!r:.80}")
    return field


def _is_kept(field: tuple[str, str], code: int) -> bool:
    name = field[0].lower()
    return name not in _HOP_BY_HOP and not (name == "content-length" and code in _WITHOUT_LENGTH)
