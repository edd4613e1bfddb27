"""Answer only requests whose Host is this machine, for an application in debug mode.

A socket on loopback is not enough. A web page can make its own domain name resolve to 127.0.0.1
(DNS rebinding). A browser then lets the page's script read the answers, but its requests still
have that name as Host.
"""

from __future__ import annotations

from collections.abc import Coroutine
from ipaddress import IPv6Address, ip_address
from typing import Any

from ..request import Handler, Request
from ..response import Response


class LoopbackOnly:
    """A handler that answers 421 unless the Host is a loopback name or address.

    `name`, the host that the server listens on, is allowed as well.
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
    """Return a 421. RFC 9110 section 15.5.20."""
    return Response(
        "Misdirected Request\ndebug is on: expected a Host that only this machine has, such as "
        "localhost; debug_anywhere=True (--debug-anywhere) allows any Host\n",
        421,
    )


def is_loopback_name(hostname: str) -> bool:
    """Whether a host always means the client's own machine.

    `hostname` is in lower case and without brackets. RFC 6761 section 6.3: `localhost` and all
    names below it.
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
