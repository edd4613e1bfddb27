"""Early hints: the links of an interim response 103, before the final one. RFC 8297.

A client that knows the status fetches the linked files while the server still makes its answer.
Other clients skip it, as every interim response (RFC 9110 section 15.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import LocalProtocolError
from .headers import check_value

# link-value = "<" URI-Reference ">" *( OWS ";" OWS [ link-param ] )        RFC 8288 section 3
_LINK = r"<[!#-;=?-\[\]_a-z~]*+>[ \t]*+(?:[;,].*+)?"  # compiled at its first use


def check_links(links: Iterable[str]) -> list[str]:
    """Return the values of the field Link as a list.

    Raises: LocalProtocolError for a value that is not a link; TypeError for one text in place of
    several.
    """
    if isinstance(links, (str, bytes)):
        kind = type(links).__name__
        raise TypeError(f"expected an iterable of links, got {kind}: pass [link]")
    checked = []
    for link in links:
        try:
            is_link = re.fullmatch(_LINK, check_value(link)) is not None
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error
        if not is_link:
            raise LocalProtocolError(
                f"expected a link such as '</style.css>; rel=preload; as=style', got {link[:80]!r}"
            )
        checked.append(link)
    return checked


def encode_early_hints(links: Iterable[str]) -> bytes:
    """Return the interim response with `links`, which are checked already."""
    lines = "".join([f"Link: {link}\r\n" for link in links])
    return b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % lines.encode("latin-1")
