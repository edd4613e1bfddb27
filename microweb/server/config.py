"""Every setting of the server, with its default, in one frozen dataclass.

`ServerOptions` names the same fields for keyword arguments: `app.run`, `app.serve`, the command
line and the documentation mean the same by the same word.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import ip_network
from typing import Literal, TypedDict

from ..errors import ConfigurationError
from ..parser import Limits
from ..threads import DEFAULT_THREADS

LoopName = Literal["auto", "asyncio", "uvloop"]
AccessLog = bool | Literal["auto"]

_KIB = 1024
_MIB = 1024 * _KIB


class RunOptions(TypedDict, total=False):
    """The fields of `ServerConfig` but for `host` and `port`, which `app.run` spells out."""

    backlog: int
    loop: LoopName
    access_log: AccessLog
    threads: int
    trusted_proxies: tuple[str, ...]
    max_request_line: int
    max_header_section: int
    max_header_fields: int
    max_body: int
    max_chunk_extensions: int
    max_trailers: int
    max_form_fields: int
    max_connections: int
    head_timeout_s: float
    body_timeout_s: float
    min_body_rate: float
    idle_timeout_s: float
    write_timeout_s: float
    grace_s: float


class ServerOptions(RunOptions, total=False):
    """The fields of `ServerConfig` as keyword arguments, each optional."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How a server listens, what it takes from a peer and how long it waits.

    `max_*` are bytes or counts, `*_s` are seconds; deadlines are looked at once a second.

    Raises: ConfigurationError that names the field, what it takes and what it got.
    """

    host: str = "localhost"  # 127.0.0.1 and ::1, so that a stranger on either is noticed
    port: int = 5000  # 0: one that is free
    backlog: int = 2048  # connections that wait to be accepted
    loop: LoopName = "auto"  # uvloop where it is installed
    access_log: AccessLog = "auto"  # a line per request, where stderr is a terminal
    threads: int = DEFAULT_THREADS  # for plain `def` endpoints
    trusted_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-* are believed

    max_request_line: int = 16 * _KIB
    max_header_section: int = 32 * _KIB
    max_header_fields: int = 100
    max_body: int = 16 * _MIB
    max_chunk_extensions: int = 64 * _KIB
    max_trailers: int = 8 * _KIB
    max_form_fields: int = 1000
    max_connections: int = 10_000

    head_timeout_s: float = 10  # absolute, from a head's first byte or the connection's start
    body_timeout_s: float = 20  # without a byte of it; and after that, slower than
    min_body_rate: float = 256  # bytes per second on average
    idle_timeout_s: float = 75  # between two requests
    write_timeout_s: float = 30  # without the write buffer falling
    grace_s: float = 10  # for what is under way at shutdown

    def __post_init__(self) -> None:
        _check_text("host", self.host)
        _check_range("port", self.port, 0, 65535)
        _check_choice("loop", self.loop, ("auto", "asyncio", "uvloop"))
        _check_choice("access_log", self.access_log, (True, False, "auto"))
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") or field.name in ("backlog", "threads"):
                _check_range(field.name, value, 1, 1 << 62)
            elif field.name.endswith("_s") or field.name == "min_body_rate":
                _check_duration(field.name, value)
        for network in self.trusted_proxies:
            _check_network(network)

    @classmethod
    def from_options(cls, options: ServerOptions) -> ServerConfig:
        """Make a configuration from keyword arguments. Raises: ConfigurationError."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigurationError(f"unknown option {name!r}: expected {', '.join(known)}")
        if isinstance(options.get("trusted_proxies"), (str, list)):
            given = options["trusted_proxies"]
            options = {
                **options,
                "trusted_proxies": (given,) if isinstance(given, str) else (*given,),
            }
        return cls(**options)

    @property
    def limits(self) -> Limits:
        """The parser's part."""
        return Limits(
            max_request_line=self.max_request_line,
            max_header_section=self.max_header_section,
            max_header_fields=self.max_header_fields,
            max_chunk_extensions=self.max_chunk_extensions,
            max_trailers=self.max_trailers,
        )


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name}: expected a host name or an address, got {value!r}")


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(f"{name}: expected an int of {low} to {high}, got {value!r}")


def _check_duration(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise ConfigurationError(f"{name}: expected a number that is not negative, got {value!r}")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name}: expected one of {choices}, got {value!r}")


def _check_network(network: object) -> None:
    try:
        ip_network(str(network))
    except ValueError as error:
        raise ConfigurationError(f"trusted_proxies: {error}") from error
