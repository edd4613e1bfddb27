"""Answer only requests for this machine itself: for an application that shows its inside.

A socket on loopback is not enough. Any web page can have a name of its own resolve to 127.0.0.1
(DNS rebinding); a browser then lets its script read the answers, but still names that host.
"""

from __future__ import annotations

from collections.abc import Coroutine
from ipaddress import IPv6Address, ip_address
from typing import Any

from ..request import Handler, Request
from ..response import Response


class LoopbackOnly:
    """A handler around another: 421 unless the Host is a loopback name or address.

    `name` is the one that the server was told to listen on.
    """

    def __init__(self, handler: Handler, name: str) -> None:
        self._handler = handler
        self._name = name.lower()

    def __call__(self, request: Request) -> Coroutine[Any, Any, Response]:
        hostname = request.hostname
        if hostname == self._name or is_loopback_name(hostname):
            return self._handler(request)
        return _refuse()


async def _refuse() -> Response:
    """RFC 9110 section 15.5.20"""
    return Response(
        "Misdirected Request\ndebug is on: expected a Host of this machine alone, such as "
        "localhost; debug_anywhere=True (--debug-anywhere) lifts that\n",
        421,
    )


def is_loopback_name(hostname: str) -> bool:
    """Whether a host, in lower case and without brackets, always means the machine that asks.

    RFC 6761 section 6.3: `localhost` and all names below it.
    """
    name = hostname.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
