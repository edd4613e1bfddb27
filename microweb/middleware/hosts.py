"""Allowed hosts: a request that names another host is answered 421 (Misdirected Request).

Who asks chooses the Host field. What an application builds from it (a redirect, a link in a mail, a
cache's key) is only as good as this check, so it stands before everything that does. RFC 9110
sections 7.2 (Host), 7.4 (rejecting misdirected requests) and 15.5.20 (421: this server can't answer
for that authority; 400 would blame the syntax, which the parser has checked).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from ..errors import ConfigurationError, HTTPError
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response

# LDH labels, and the underscore that DNS allows: no character with a meaning in a page or a shell.
# RFC 1123 section 2.1
_LABEL = r"(?!-)[a-z0-9_\-]{1,63}+(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"(\[[0-9a-f:.]++\]|[^:\[\]]++)(?::([0-9]{0,5}))?")

_USUAL_PORTS = frozenset((None, 80, 443))
_MAX_PORT = 65535

_Ports = frozenset[int | None] | None  # None is any port


class AllowedHosts:
    """Answer only for these hosts: `app.use(AllowedHosts(["example.org", "*.example.org"]))`.

    `*.example.org` is every name below `example.org`, at any depth, and not that name itself. It
    has the usual ports (80, 443, or none is named), unless it is written with its own, such as
    `example.org:8443`; this machine (`localhost`, `127.0.0.1`) has any. Case and one trailing dot
    do not matter; an IPv6 address with a port is written in brackets. An empty host, or none, is
    refused as well.

    Raises: ConfigurationError for a text that can be no host.
    """

    @names_keywords
    def __init__(self, hosts: Iterable[str]) -> None:
        if isinstance(hosts, str):
            raise ConfigurationError(f"AllowedHosts: expected a list of hosts, write [{hosts!r}]")
        self._ports: dict[str, _Ports] = {}  # of a name, or of a suffix such as `.example.org`
        for host in hosts:
            name, ports = _parse(host)
            before = self._ports.get(name, frozenset())
            self._ports[name] = None if None in (before, ports) else before | ports  # type: ignore[operator]
        self._suffixes = tuple(name for name in self._ports if name.startswith("."))
        if not self._ports:
            raise ConfigurationError("AllowedHosts: expected at least one host, got none")

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if self.allows(request.host):
            return await call_next(request)
        raise HTTPError(421, "this server does not answer for that host")

    def allows(self, host: str) -> bool:
        """Whether a Host, as requests have it, is one of these."""
        match = _HOST.fullmatch(host.lower())
        if match is None or match[1].startswith("."):
            return False
        name, port = match[1], int(match[2]) if match[2] else None
        if name.startswith("["):
            return self._has(str(IPv6Address(name[1:-1])), port)
        name = name.removesuffix(".")
        if self._has(name, port):
            return True
        return (
            name.endswith(self._suffixes)
            and _NAME.fullmatch(name) is not None
            and any(name.endswith(each) and self._has(each, port) for each in self._suffixes)
        )

    def _has(self, name: str, port: int | None) -> bool:
        ports = self._ports.get(name, frozenset())
        return port in ports if ports is not None else port is None or 0 < port <= _MAX_PORT


def _parse(given: str) -> tuple[str, _Ports]:
    """Return a host, of `*.example.org` the suffix, and its ports. Raises: ConfigurationError."""
    if not given.isascii():
        raise ConfigurationError(f"AllowedHosts: {given!r}: write it as browsers do, as xn--...")
    host = f"[{given}]".lower() if _is_ipv6(given) else given.lower()
    suffix = "." if host.startswith("*.") else ""
    match = _HOST.fullmatch(host.removeprefix("*."))
    name, port = (match[1], match[2]) if match is not None else ("", None)
    is_port = port is None or (port != "" and 0 < int(port) <= _MAX_PORT)
    if is_port and not suffix and name.startswith("[") and _is_ipv6(name[1:-1]):
        name = str(IPv6Address(name[1:-1]))
    elif not is_port or not _NAME.fullmatch(name):
        raise ConfigurationError(
            "AllowedHosts: expected 'example.org', '*.example.org', 'example.org:8443' or an "
            f"address, without scheme, got {given[:80]!r}"
        )
    return suffix + name, _ports_of(name, int(port) if port else None)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _ports_of(host: str, port: int | None) -> _Ports:
    if port is not None:
        return frozenset((port, None)) if port in _USUAL_PORTS else frozenset((port,))
    is_here = host == "localhost" or host.endswith(".localhost")
    with suppress(ValueError):  # a name
        is_here = is_here or ip_address(host).is_loopback
    return None if is_here else _USUAL_PORTS
