"""Allowed hosts: a request for another host is answered 421 (Misdirected Request).

The client chooses the Host field. A redirect, a link in a mail or a cache's key that an application
builds from it is only as safe as this check. So put it outside everything that reads the host. RFC
9110 sections 7.2 (Host), 7.4 (rejecting misdirected requests) and 15.5.20 (421: this server can't
answer for that authority; 400 would blame the syntax, which the parser has checked).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from ..endpoints.described import Described
from ..errors import ConfigurationError, HTTPError
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response

# LDH labels, and the underscore, which DNS allows: no character with a meaning in HTML or a shell.
# RFC 1123 section 2.1
_LABEL = r"(?!-)[a-z0-9_\-]{1,63}+(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"(\[[0-9a-f:.]++\]|[^:\[\]]++)(?::([0-9]{0,5}))?")

_DEFAULT_PORTS = frozenset((None, 80, 443))
_MAX_PORT = 65535

_Ports = frozenset[int | None] | None  # None is any port


class AllowedHosts:
    """Answer only for these hosts: `app.use(AllowedHosts(["example.org", "*.example.org"]))`.

    `*.example.org` is every name below `example.org`, at any depth, but not `example.org`. A host
    may be requested with port 80, 443 or none, unless it is written with its own port, such as
    `example.org:8443`; this machine (`localhost`, `127.0.0.1`) with any port. Case and one trailing
    dot do not matter. Write an IPv6 address with a port in brackets. An empty or missing host is
    refused.

    Raises: ConfigurationError for an invalid host.
    """

    @names_keywords
    def __init__(self, hosts: Iterable[str]) -> None:
        if isinstance(hosts, str):
            raise ConfigurationError(
                f"AllowedHosts: expected a list of hosts, got a str: write [{hosts[:80]!r}]"
            )
        self._ports: dict[str, _Ports] = {}  # by a name, or by a suffix such as `.example.org`
        for host in hosts:
            name, ports = _parse(host)
            before = self._ports.get(name, frozenset())
            self._ports[name] = None if None in (before, ports) else before | ports  # type: ignore[operator]
        self._suffixes = tuple(name for name in self._ports if name.startswith("."))
        if not self._ports:
            raise ConfigurationError("AllowedHosts: expected at least one host, got none")

    def described(self) -> Described:
        """Return the part of an OpenAPI document that this middleware adds."""
        return Described(responses={421: "The server does not answer for this host"})

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if self.allows(request.host):
            return await call_next(request)
        raise HTTPError(421, "this server does not answer for that host")

    def allows(self, host: str) -> bool:
        """Return whether a value of the Host field is one of these hosts."""
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
    """Return a host, or the suffix of `*.example.org`, and its ports. Raises: ConfigurationError"""
    if not given.isascii():
        raise ConfigurationError(
            f"AllowedHosts: expected an ASCII host, got {given[:80]!r}: write its xn--... form"
        )
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
            f"address, without a scheme, got {given[:80]!r}"
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
        return frozenset((port, None)) if port in _DEFAULT_PORTS else frozenset((port,))
    is_local = host == "localhost" or host.endswith(".localhost")
    with suppress(ValueError):  # not an address
        is_local = is_local or ip_address(host).is_loopback
    return None if is_local else _DEFAULT_PORTS
