"""Allowed hosts: a request that names another host is answered 421 (Misdirected Request).

Who asks chooses the Host field. What an application builds from it (a redirect, a link in a mail, a
cache's key) is only as good as this check, so it stands before everything that does. RFC 9110
sections 7.2 (Host), 7.4 (rejecting misdirected requests) and 15.5.20 (421: this server can't answer
for that authority; 400 would blame the syntax, which the parser has checked).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address

from ..errors import ConfigurationError, HTTPError
from ..handlers import Handler
from ..request import Request
from ..response import Response

# LDH labels, and the underscore that DNS allows: nothing that means something in a page or a shell.
_LABEL = r"[a-z0-9_\-]++"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class AllowedHosts:
    """Answer only for these hosts: `app.use(AllowedHosts(["example.org", "*.example.org"]))`.

    `*.example.org` is every name below `example.org`, at any depth, and not that name itself. The
    case, a port and one trailing dot of what was asked for are not looked at; addresses are
    written with or without brackets. An empty host, or none, is refused as well.

    Raises: ConfigurationError for what can be no host.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        if isinstance(hosts, str):
            raise ConfigurationError(f"AllowedHosts: expected a list of hosts, write [{hosts!r}]")
        self._names: set[str] = set()
        suffixes = []
        for host in hosts:
            if host.startswith("*."):
                suffixes.append("." + _checked(host, host[2:]))
            else:
                self._names.add(_checked(host, host))
        self._suffixes = tuple(suffixes)
        if not self._names and not suffixes:
            raise ConfigurationError("AllowedHosts: expected at least one host, got none")

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if self.allows(request.hostname):
            return await call_next(request)
        raise HTTPError(421, "this server does not answer for that host")

    def allows(self, hostname: str) -> bool:
        """Whether `hostname`, in lower case and without its port, is one of these."""
        if hostname in self._names:
            return True
        if ":" in hostname:
            return str(IPv6Address(hostname)) in self._names
        name = hostname.removesuffix(".")
        if name in self._names:
            return True
        return name.endswith(self._suffixes) and _NAME.fullmatch(name) is not None


def _checked(given: str, host: str) -> str:
    """Return the host, or what stands behind `*.`, as requests are compared with it."""
    host = host.lower().removeprefix("[").removesuffix("]")
    try:
        return str(IPv6Address(host))
    except ValueError:
        pass
    if not host.isascii():
        raise ConfigurationError(f"AllowedHosts: {given!r}: write it as browsers do, as xn--...")
    if not _NAME.fullmatch(host):
        raise ConfigurationError(
            f"AllowedHosts: expected 'example.org', '*.example.org' or an address, without scheme "
            f"and port, got {given[:80]!r}"
        )
    return host
