from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from typing import cast, get_args, get_type_hints

import pytest

from microweb.errors import ConfigurationError
from microweb.server.binds import TCPBind
from microweb.server.config import RunOptions, ServerConfig, ServerOptions

OPTIONAL = ["max_requests", "max_rss", "max_concurrent", "max_queued"]  # 0 is no limit, or none
SIZES = [
    field.name
    for field in fields(ServerConfig)
    if field.name.startswith("max_") and field.name not in OPTIONAL
]
DURATIONS = [field.name for field in fields(ServerConfig) if field.name.endswith("_s")]
RATES = ["min_body_rate", "min_write_rate"]
COUNTS = ["backlog", "threads"]
FILES = ["tls_certificate", "tls_key", "tls_client_ca"]
NAN = float("nan")


def message(**options: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        ServerConfig.from_options(options)  # type: ignore[arg-type]
    return str(caught.value)


def test_options_name_each_field() -> None:
    names = [field.name for field in fields(ServerConfig)]
    assert sorted(ServerOptions.__annotations__) == sorted(names)
    assert sorted({*RunOptions.__annotations__, "host", "port"}) == sorted(names)


def test_options_are_of_the_types_of_the_fields() -> None:
    own = get_type_hints(ServerConfig)
    assert get_type_hints(ServerOptions) == own


def test_each_field_has_its_help() -> None:
    hints = get_type_hints(ServerConfig, include_extras=True)
    for field in fields(ServerConfig):
        _, text = get_args(hints[field.name])
        assert text == text.strip() and text


def test_defaults_are_those_of_the_design() -> None:
    config = ServerConfig()
    assert (config.host, config.port, config.loop, config.log, config.trusted_proxies) == (
        "localhost",
        5000,
        "auto",
        "auto",
        (),
    )
    assert [getattr(config, name) for name in SIZES] == [
        16 * 1024,
        32 * 1024,
        100,
        16 * 1024 * 1024,
        1024 * 1024,
        150_000,
        64 * 1024,
        8 * 1024,
        1000,
        1024 * 1024,
        1024 * 1024,
        256 * 1024 * 1024,
        10_000,
        10_000,
    ]
    assert [getattr(config, name) for name in DURATIONS] == [
        *(30, 60, 1, 10, 20, 75, 30, 20, 20, 0, 10)
    ]
    assert (config.backlog, config.threads) == (2048, 40)
    assert [getattr(config, name) for name in FILES] == [(), (), ()]
    assert (config.tls_client, config.tls_minimum) == ("none", "1.2")
    assert (config.workers, config.supervised) == (1, False)
    assert [getattr(config, name) for name in OPTIONAL] == [0, 0, 0, 100]
    assert (config.min_body_rate, config.min_write_rate) == (256, 256)


def test_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ServerConfig().port = 1  # type: ignore[misc]


def test_limits_are_the_parsers_part() -> None:
    limits = ServerConfig(max_request_line=1, max_header_fields=2, max_trailers=3).head_limits
    assert (limits.max_request_line, limits.max_header_fields, limits.max_trailers) == (1, 2, 3)
    assert limits.max_header_section == ServerConfig().max_header_section
    assert limits.max_chunk_extensions == ServerConfig().max_chunk_extensions


@pytest.mark.parametrize("host", ["", None, 127, b"localhost"])
def test_host_is_a_text(host: object) -> None:
    assert message(host=host) == f"host: expected a host name or an address, got {host!r}"


@pytest.mark.parametrize("name", FILES)
def test_paths_of_files(name: str) -> None:
    for given in ("a.pem", ["a.pem"], ("a.pem",)):
        config = ServerConfig.from_options({name: given})  # type: ignore[misc]
        assert getattr(config, name) == ("a.pem",)
        assert config.has_tls and config.scheme == "https"
    for wrong in (("",), (7,), {"a.pem"}, None):
        expected = f"{name}: expected paths such as ('a.pem',), got {wrong!r}"
        assert message(**{name: wrong}) == expected


def test_paths_are_those_of_a_folder() -> None:
    config = ServerConfig(tls_certificate=("a.pem", "/b.pem"), tls_key=("../c.key",), port=7)
    made = config.with_paths_in("/etc/app")
    assert made.tls_certificate == ("/etc/app/a.pem", "/b.pem")
    assert made.tls_key == ("/etc/app/../c.key",)
    assert (made.port, made.tls_client_ca) == (7, ())


def test_policies_of_tls() -> None:
    assert not ServerConfig().has_tls and ServerConfig().scheme == "http"
    assert ServerConfig(tls_client="required").has_tls
    expected = "tls_client: expected one of 'none', 'optional', 'required', got True"
    assert message(tls_client=True) == expected
    assert message(tls_minimum="1.1") == "tls_minimum: expected one of '1.2', '1.3', got '1.1'"


@pytest.mark.parametrize("port", [-1, 65536, "5000", 80.0, None, True])
def test_port_is_in_its_range(port: object) -> None:
    assert message(port=port) == f"port: expected an int from 0 to 65535, got {port!r}"


@pytest.mark.parametrize("port", [0, 65535])
def test_first_and_last_port(port: int) -> None:
    assert ServerConfig(port=port).port == port


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, -1, 1.5, "9", None, True, 1 << 70])
def test_limit_is_a_positive_int(name: str, value: object) -> None:
    assert message(**{name: value}) == f"{name}: expected an int from 1 to {1 << 62}, got {value!r}"


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("value", [-1, 1.5, "9", None, True, 1 << 70])
def test_limit_that_may_be_off(name: str, value: object) -> None:
    assert getattr(ServerConfig(**{name: 0}), name) == 0  # type: ignore[arg-type]
    assert message(**{name: value}) == f"{name}: expected an int from 0 to {1 << 62}, got {value!r}"


@pytest.mark.parametrize("workers", [0, -1, 513, "many", 2.0, None, True])
def test_workers_are_a_count_or_auto(workers: object) -> None:
    expected = "workers: expected an int from 1 to 512 or 'auto'"
    assert message(workers=workers) == f"{expected}, got {workers!r}"
    assert ServerConfig(workers="auto").workers == "auto"


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "9", None, True, 1 << 31])
def test_count_is_what_the_kernel_takes(name: str, value: object) -> None:
    expected = f"{name}: expected an int from 1 to {(1 << 31) - 1}, got {value!r}"
    assert message(**{name: value}) == expected


@pytest.mark.parametrize("name", [*DURATIONS, *RATES])
@pytest.mark.parametrize("value", [-0.1, NAN, float("inf"), "9", None, True])
def test_duration_is_a_number(name: str, value: object) -> None:
    assert message(**{name: value}) == f"{name}: expected a number from 0 to 1e9, got {value!r}"


@pytest.mark.parametrize("name", [*DURATIONS, *RATES])
@pytest.mark.parametrize("value", [0, 0.5, 86400])
def test_duration_may_be_an_int_or_a_float(name: str, value: float) -> None:
    assert getattr(ServerConfig.from_options({name: value}), name) == value  # type: ignore[misc]


def test_loop_is_one_of_three() -> None:
    expected = "loop: expected one of 'auto', 'asyncio', 'uvloop', got 'trio'"
    assert message(loop="trio") == expected


def test_log_is_one_of_four() -> None:
    expected = "expected one of 'auto', 'text', 'json', 'off'"
    assert message(log="no") == f"log: {expected}, got 'no'"
    assert message(log=["json"]) == f"log: {expected}, got ['json']"


@pytest.mark.parametrize("level", ["INFO", "warn", 20, True, None])
def test_log_level_is_a_name_in_lower_case(level: object) -> None:
    expected = "expected one of 'debug', 'info', 'warning', 'error', 'critical'"
    assert message(log_level=level) == f"log_level: {expected}, got {level!r}"


@pytest.mark.parametrize(("earlier", "log"), [(True, "text"), (False, "off"), ("auto", "auto")])
def test_access_log_means_log(earlier: object, log: str) -> None:
    options = cast(ServerOptions, {"access_log": earlier, "port": 0})
    expected = f"access_log={earlier!r} is deprecated: use log={log!r}"
    with pytest.warns(DeprecationWarning, match=re.escape(expected)):
        config = ServerConfig.from_options(options)
    assert (config.log, config.port) == (log, 0)


def test_access_log_is_not_given_beside_log() -> None:
    said = message(access_log=True, log="json")
    assert said == "access_log: expected log alone, which replaces it"


def test_access_log_has_no_other_value() -> None:
    said = message(access_log="yes")
    assert said == "access_log: expected one of True, False, 'auto', got 'yes'"


def test_debug_anywhere_is_a_bool() -> None:
    assert message(debug_anywhere="no") == "debug_anywhere: expected one of True, False, got 'no'"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        (["10.0.0.1", "::1"], ("10.0.0.1", "::1")),
        (("2001:db8::/32",), ("2001:db8::/32",)),
        ((), ()),
        ("unix", ("unix",)),
    ],
)
def test_trusted_proxies_are_networks(given: object, taken: tuple[str, ...]) -> None:
    options = {"trusted_proxies": given}
    assert ServerConfig.from_options(options).trusted_proxies == taken  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("*", "'*' does not appear to be an IPv4 or IPv6 network"),
        ("proxy.example", "'proxy.example' does not appear to be an IPv4 or IPv6 network"),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("", "'' does not appear to be an IPv4 or IPv6 network"),
        (
            "::ffff:10.0.0.0/104",
            "expected an IPv4 network such as '10.0.0.0/8', got '::ffff:10.0.0.0/104'",
        ),
        (5, "expected a tuple such as ('10.0.0.0/8',), got 5"),
        (None, "expected a tuple such as ('10.0.0.0/8',), got None"),
    ],
)
def test_what_is_no_network_is_refused(given: object, complaint: str) -> None:
    assert message(trusted_proxies=given) == f"trusted_proxies: {complaint}"


def test_text_in_place_of_the_tuple_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected a tuple such as"):
        ServerConfig(trusted_proxies="10.0.0.0/8")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["127.0.0.1:80", ["127.0.0.1:80"], ("127.0.0.1:80",)])
def test_bind_replaces_host_and_port(given: object) -> None:
    config = ServerConfig.from_options({"host": "h", "port": 1, "bind": given})  # type: ignore[typeddict-item]
    assert config.bind == ("127.0.0.1:80",)
    assert config.addresses == [TCPBind("127.0.0.1", 80)]
    assert ServerConfig(host="h", port=1).addresses == [TCPBind("h", 1)]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (5, "expected a tuple such as ('127.0.0.1:5000',), got 5"),
        (("fd:3", "fd:3"), "'fd:3' is named twice"),
        (
            ("here",),
            "expected host:port, [::1]:port, unix:/run/app.sock?mode=660, fd:3 or systemd, "
            "got 'here'",
        ),
    ],
)
def test_bind_is_a_tuple_of_addresses(given: object, complaint: str) -> None:
    assert message(bind=given) == f"bind: {complaint}"


def test_unknown_option_is_named_with_the_nearest() -> None:
    assert message(prot=80) == "unknown option 'prot': did you mean 'port'?"
    text = "unknown option 'nonsense': `microweb run --help` lists the options"
    assert message(nonsense=80) == text


def test_long_value_is_cut() -> None:
    assert len(message(host=b"x" * 1000)) < 150
