"""All settings of the server, with their defaults, in one frozen dataclass.

`ServerOptions` has the same fields as keyword arguments of `app.run` and `app.serve`. The command
line has the same names, and its help shows the text beside each field.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, TypedDict, cast, get_args

from ..concurrency.threads import DEFAULT_THREADS
from ..errors import ConfigurationError
from ..http.interfaces import ServerLimits
from ..http.limits import Limits
from ..remedies import keyword_remedy, nearest
from .binds import Bind, TCPBind, parse_bind
from .proxies import USUAL_FIELDS, check_networks, check_root_path, check_trusted_fields

LoopName = Literal["auto", "asyncio", "uvloop"]
LogForm = Literal["auto", "text", "json", "off"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
TLSClient = Literal["none", "optional", "required"]
TLSMinimum = Literal["1.2", "1.3"]
Workers = int | Literal["auto"]

_KIB = 1024
_MIB = 1024 * _KIB
_MAX_COUNT = (1 << 31) - 1  # the kernel takes a backlog as a C int
_MAX_SIZE = 1 << 62
_MAX_WORKERS = 512
_MAY_BE_ZERO = ("max_requests", "max_rss", "max_concurrent", "max_queued")
_FILES = ("tls_certificate", "tls_key", "tls_client_ca")


class RunOptions(TypedDict, total=False):
    """The fields of `ServerConfig` without `host` and `port`, which `app.run` names itself."""

    bind: tuple[str, ...]
    tls_certificate: tuple[str, ...]
    tls_key: tuple[str, ...]
    tls_client_ca: tuple[str, ...]
    tls_client: TLSClient
    tls_minimum: TLSMinimum
    backlog: int
    loop: LoopName
    log: LogForm
    log_level: LogLevel
    debug_anywhere: bool
    workers: Workers
    supervised: bool
    control: str
    metrics_bind: str
    stall_ms: int
    worker_stall_s: float
    worker_start_s: float
    max_requests: int
    max_rss: int
    threads: int
    trusted_proxies: tuple[str, ...]
    trust_headers: tuple[str, ...]
    proxy_protocol: bool
    root_path: str
    max_request_line: int
    max_header_section: int
    max_header_fields: int
    max_body: int
    max_json: int
    max_json_values: int
    max_chunk_extensions: int
    max_trailers: int
    max_form_fields: int
    max_form_text: int
    max_message: int
    max_buffered: int
    max_connections: int
    max_background_tasks: int
    max_concurrent: int
    max_queued: int
    queue_timeout_s: float
    head_timeout_s: float
    body_timeout_s: float
    min_body_rate: float
    idle_timeout_s: float
    write_timeout_s: float
    min_write_rate: float
    ping_interval_s: float
    ping_timeout_s: float
    drain_delay_s: float
    grace_s: float


class ServerOptions(RunOptions, total=False):
    """The fields of `ServerConfig` as keyword arguments, each optional."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The addresses, limits and timeouts of a server.

    `max_*` are bytes or counts, `*_s` are seconds; deadlines are checked once a second.

    Raises: ConfigurationError that names the field, the expected values and the given one.
    """

    host: Annotated[str, "a name or address; localhost is 127.0.0.1 and ::1, * is all"] = (
        "localhost"
    )
    port: Annotated[int, "0 picks a free port"] = 5000
    bind: Annotated[
        tuple[str, ...],
        "in place of host and port: host:port, unix:/run/app.sock?mode=660, fd:3, systemd",
    ] = ()
    tls_certificate: Annotated[
        tuple[str, ...], "PEM files with their chains: serve https; the server name chooses one"
    ] = ()
    tls_key: Annotated[
        tuple[str, ...], "their private keys, in this order, if the same files do not have them"
    ] = ()
    tls_client_ca: Annotated[
        tuple[str, ...], "PEM files of the authorities that sign the certificates of clients"
    ] = ()
    tls_client: Annotated[TLSClient, "whether clients must have a certificate"] = "none"
    tls_minimum: Annotated[TLSMinimum, "the oldest version of TLS"] = "1.2"
    backlog: Annotated[int, "connections that may wait to be accepted"] = 2048
    loop: Annotated[LoopName, "auto uses uvloop if it is installed"] = "auto"
    log: Annotated[
        LogForm,
        "of requests and all else; json: to stdout, off: no requests, auto: as text, with requests "
        "if stderr is a terminal or logging handles microweb.access",
    ] = "auto"
    log_level: Annotated[
        LogLevel, "of the records that are written, if the application configures no logging"
    ] = "info"
    debug_anywhere: Annotated[bool, "let an app with debug=True serve other machines"] = False
    workers: Annotated[
        Workers, "processes that serve; auto: one for each CPU that this process may use"
    ] = 1
    supervised: Annotated[bool, "watch and replace a single worker too"] = False
    control: Annotated[
        str,
        "path of a Unix socket for microweb ps, reload, drain, stacks; implies supervised",
    ] = ""
    metrics_bind: Annotated[
        str,
        "serve /metrics on a port of 127.0.0.1, or host:port; a single worker is supervised too",
    ] = ""
    stall_ms: Annotated[int, "after which code that holds the event loop is logged; 0 is never"] = 0
    worker_stall_s: Annotated[
        float, "that an event loop may be blocked until its worker is replaced; 0 is never"
    ] = 30
    worker_start_s: Annotated[float, "until a worker that starts must be ready"] = 60
    max_requests: Annotated[int, "of a worker until it is replaced; 0 is no limit"] = 0
    max_rss: Annotated[int, "bytes of a worker's memory until it is replaced; 0 is no limit"] = 0
    threads: Annotated[
        int, "how many plain def endpoints and WSGI calls may run at once; as many more may wait"
    ] = DEFAULT_THREADS
    trusted_proxies: Annotated[
        tuple[str, ...],
        "networks of proxies whose fields are believed; unix: all Unix sockets",
    ] = ()
    trust_headers: Annotated[
        tuple[str, ...],
        "the fields that they set or remove: forwarded, some of x-forwarded-*, x-forwarded (all)",
    ] = USUAL_FIELDS
    proxy_protocol: Annotated[
        bool, "expect a PROXY header, version 1 or 2, at the start of their connections"
    ] = False
    root_path: Annotated[str, "the start of all paths that a proxy removes, such as /shop"] = ""

    max_request_line: Annotated[int, "bytes"] = 16 * _KIB
    max_header_section: Annotated[int, "bytes"] = 32 * _KIB
    max_header_fields: Annotated[int, "lines of a header section"] = 100
    max_body: Annotated[int, "bytes, if neither the route nor the app has a limit"] = 16 * _MIB
    max_json: Annotated[int, "bytes, if neither the route nor the app has a limit"] = _MIB
    max_json_values: Annotated[
        int, "elements and members of JSON, if neither the route nor the app has a limit"
    ] = 150_000
    max_chunk_extensions: Annotated[int, "bytes in a whole chunked body"] = 64 * _KIB
    max_trailers: Annotated[int, "bytes of the fields after a chunked body"] = 8 * _KIB
    max_form_fields: Annotated[int, "fields of a form, with its files, and of a query"] = 1000
    max_form_text: Annotated[int, "bytes of a form without its files"] = _MIB
    max_message: Annotated[int, "bytes of a WebSocket message after decompression"] = _MIB
    max_buffered: Annotated[
        int, "bytes buffered for slow clients, beyond 64 KiB each; past it, some are cut off"
    ] = 256 * _MIB
    max_connections: Annotated[
        int, "open at the same time; past it an idle one is closed, or the new one gets a 503"
    ] = 10_000
    max_background_tasks: Annotated[
        int, "of spawn and after_response at the same time; a request for more gets a 503"
    ] = 10_000
    max_concurrent: Annotated[
        int, "handlers that run at the same time, in each worker; 0 is no limit"
    ] = 0
    max_queued: Annotated[
        int, "requests that wait while max_concurrent handlers run; a request for more gets a 503"
    ] = 100
    queue_timeout_s: Annotated[
        float, "that a request waits for its handler; then it gets a 503"
    ] = 1

    head_timeout_s: Annotated[float, "for a complete head, from its first byte"] = 10
    body_timeout_s: Annotated[float, "without a byte of a body"] = 20
    min_body_rate: Annotated[float, "bytes per second of a body, after body_timeout_s"] = 256
    idle_timeout_s: Annotated[float, "between two requests of a connection"] = 75
    write_timeout_s: Annotated[float, "in which the peer reads nothing of an answer"] = 30
    min_write_rate: Annotated[
        float, "bytes per second that the peer reads of an answer, after write_timeout_s"
    ] = 256
    ping_interval_s: Annotated[
        float, "of silence before the client of a WebSocket is pinged; 0 is never"
    ] = 20
    ping_timeout_s: Annotated[float, "until an answer to the ping, or any other byte"] = 20
    drain_delay_s: Annotated[
        float, "after a signal, in which the server still accepts but is not ready"
    ] = 0
    grace_s: Annotated[float, "for requests and tasks under way when the server stops"] = 10

    def __post_init__(self) -> None:
        _check_text("host", self.host)
        _check_range("port", self.port, 0, 65535)
        _check_choice("loop", self.loop, ("auto", "asyncio", "uvloop"))
        _check_choice("log", self.log, get_args(LogForm))
        _check_choice("log_level", self.log_level, get_args(LogLevel))
        _check_choice("debug_anywhere", self.debug_anywhere, (True, False))
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _MAY_BE_ZERO:
                _check_range(field.name, value, 0, _MAX_SIZE)
            elif field.name in ("backlog", "threads"):
                _check_range(field.name, value, 1, _MAX_COUNT)
            elif field.name.startswith("max_"):
                _check_range(field.name, value, 1, _MAX_SIZE)
            elif field.name.endswith("_s") or field.name.startswith("min_"):
                _check_duration(field.name, value)
        if self.workers != "auto":
            _check_range("workers", self.workers, 1, _MAX_WORKERS, " or 'auto'")
        if self.stall_ms != 0:
            _check_range("stall_ms", self.stall_ms, 10, 60_000)
        _check_choice("supervised", self.supervised, (True, False))
        check_networks(self.trusted_proxies)
        check_trusted_fields(self.trust_headers)
        check_root_path(self.root_path)
        _check_choice("proxy_protocol", self.proxy_protocol, (True, False))
        if self.proxy_protocol and not self.trusted_proxies:
            raise ConfigurationError(
                "proxy_protocol: expected trusted_proxies with the addresses of the load balancer: "
                "a header of anybody else is not believed"
            )
        _check_path("control", self.control)
        _check_metrics_bind(self.metrics_bind)
        _check_binds(self.bind)
        self._check_tls()

    def _check_tls(self) -> None:
        for name in _FILES:
            _check_files(name, getattr(self, name))
        _check_choice("tls_client", self.tls_client, get_args(TLSClient))
        _check_choice("tls_minimum", self.tls_minimum, get_args(TLSMinimum))

    @classmethod
    def from_options(cls, options: ServerOptions) -> ServerConfig:
        """Return a configuration from keyword arguments. Raises: ConfigurationError."""
        options = with_new_names(options)
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                close = nearest(name, known)
                remedy = "`microweb run --help` lists the options"
                remedy = f"did you mean {close!r}?" if close is not None else remedy
                remedy = keyword_remedy("App.run", name) or remedy
                raise ConfigurationError(f"unknown option {name!r}: {remedy}")
        for key in ("trusted_proxies", "trust_headers", "bind", *_FILES):
            given = options.get(key)
            if isinstance(given, (str, list)):
                options = {**options, key: (given,) if isinstance(given, str) else (*given,)}  # type: ignore[misc]
        return cls(**options)

    def with_paths_in(self, folder: str) -> ServerConfig:
        """Return a copy whose relative paths are those of files in `folder`."""
        paths: dict[str, Any] = {
            name: tuple(os.path.join(folder, path) for path in getattr(self, name))
            for name in _FILES
        }
        if self.control:
            paths["control"] = os.path.join(folder, self.control)
        return replace(self, **paths)

    @property
    def needs_supervisor(self) -> bool:
        """Whether options ask for a supervisor, also of a single worker."""
        return self.supervised or bool(self.control) or bool(self.metrics_bind)

    @property
    def has_tls(self) -> bool:
        """Whether an option about certificates is set, so that the server speaks HTTPS."""
        return bool(self.tls_client != "none" or any(getattr(self, name) for name in _FILES))

    @property
    def scheme(self) -> str:
        """The scheme of the server's URLs."""
        return "https" if self.has_tls else "http"

    @property
    def addresses(self) -> list[Bind]:
        """The addresses to listen on: those of `bind`, else `host` and `port`."""
        if self.bind:
            return [parse_bind(text) for text in self.bind]
        return [TCPBind(self.host, self.port)]

    @property
    def limits(self) -> ServerLimits:
        """The limits for requests and WebSockets."""
        return ServerLimits(
            max_json=self.max_json,
            max_json_values=self.max_json_values,
            max_form_fields=self.max_form_fields,
            max_form_text=self.max_form_text,
            max_message=self.max_message,
            ping_interval_s=self.ping_interval_s,
            ping_timeout_s=self.ping_timeout_s,
        )

    @property
    def head_limits(self) -> Limits:
        """The limits for the parser."""
        return Limits(
            max_request_line=self.max_request_line,
            max_header_section=self.max_header_section,
            max_header_fields=self.max_header_fields,
            max_chunk_extensions=self.max_chunk_extensions,
            max_trailers=self.max_trailers,
        )


def with_new_names(options: ServerOptions) -> ServerOptions:
    """Return the options with `log` in place of `access_log`, its name in earlier versions.

    Raises: ConfigurationError if both are given.
    """
    given: dict[str, Any] = {**options}
    if "access_log" not in given:
        return options
    is_logged = given.pop("access_log")
    _check_choice("access_log", is_logged, (True, False, "auto"))
    if "log" in given:
        raise ConfigurationError("access_log: expected log alone, which replaces it")
    given["log"] = {True: "text", False: "off"}.get(is_logged, "auto")
    warnings.warn(
        f"access_log={is_logged!r} is deprecated: use log={given['log']!r}",
        DeprecationWarning,
        stacklevel=2,
    )
    return cast(ServerOptions, given)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name}: expected a host name or an address, got {value!r:.80}")


def _check_range(name: str, value: object, low: int, high: int, other: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        expected = f"an int from {low} to {high}{other}"
        raise ConfigurationError(f"{name}: expected {expected}, got {value!r:.80}")


def _check_duration(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise ConfigurationError(f"{name}: expected a number from 0 to 1e9, got {value!r:.80}")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        expected = ", ".join(map(repr, choices))
        raise ConfigurationError(f"{name}: expected one of {expected}, got {value!r:.80}")


def _check_path(name: str, value: object) -> None:
    if not isinstance(value, str) or "\0" in value:
        raise ConfigurationError(f"{name}: expected a path such as '/run/x', got {value!r:.80}")


def _check_files(name: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(each, str) and each for each in value):
        raise ConfigurationError(f"{name}: expected paths such as ('a.pem',), got {value!r:.80}")


def _check_binds(value: object) -> None:
    if not isinstance(value, tuple):
        raise ConfigurationError(
            f"bind: expected a tuple such as ('127.0.0.1:5000',), got {value!r:.80}"
        )
    for text in value:
        parse_bind(text)
        if value.count(text) > 1:
            raise ConfigurationError(f"bind: {text!r:.80} is named twice")


def _check_metrics_bind(value: object) -> None:
    is_port = isinstance(value, str) and value.isascii() and value.isdecimal()
    if is_port:
        value = f"127.0.0.1:{value}"
    try:
        if value != "":
            parse_bind(value)
    except ConfigurationError as error:
        text = "expected a port such as '9100', or host:port"
        raise ConfigurationError(f"metrics_bind: {text}, got {value!r:.80}") from error
