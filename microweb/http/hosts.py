"""The host that a request names: the field Host, and the authority of a target.

RFC 9110 section 7.2; RFC 3986 section 3.2.2
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address

from .grammar import BAD_ESCAPE, HOST

MAX_HOST_LENGTH = 261  # RFC 3986 section 3.2.2 has 255, and a port; bounds the cache of `is_host`
USUAL_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=512)
def is_host_value(raw: bytes) -> bool:
    """Return whether Host may have this value: a host, or empty for a target without authority."""
    host = raw.decode("latin-1").strip(" \t")
    return not host or is_host(host)


@lru_cache(maxsize=512)
def is_host(value: str) -> bool:
    """Return whether `value` is `uri-host [":" port]` and not empty. RFC 9110 section 7.2"""
    match = HOST.fullmatch(value)
    if match is None or BAD_ESCAPE.search(value):
        return False
    if match[1] is not None:
        try:
            IPv6Address(match[1])
        except ValueError:
            return False
    return True


def with_port(host: str, port: int, scheme: str) -> str:
    """Return a valid host with another port, or without one if it is the default of `scheme`."""
    end = host.find("]") + 1
    name = host[:end] if end else host.partition(":")[0]
    return name if port == USUAL_PORTS.get(scheme) else f"{name}:{port}"
