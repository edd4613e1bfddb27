"""The certificate of `microweb dev --dev-tls`: made, kept, renewed, and served."""

from __future__ import annotations

import os
import ssl
import stat
import sys
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.commanding import APP
from support.processes import DEADLINE_S, ENVIRONMENT, Program

from microweb.development.certificate import local_certificate
from microweb.errors import ConfigurationError, MissingExtra
from microweb.server.config import ServerConfig
from microweb.server.tls_context import make_contexts

DAY_S = 24 * 3600


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setitem(ENVIRONMENT, "XDG_CACHE_HOME", str(folder))
    return folder


def test_certificate_can_be_served(cache: Path) -> None:
    found = local_certificate()
    contexts = make_contexts(ServerConfig(tls_certificate=(str(found.file),)))
    assert set(contexts.named) == {"localhost", "*.localhost"}
    assert contexts.notes == []
    assert found.file.parent == found.authority.parent == cache / "microweb"


def test_key_is_for_its_user_only() -> None:
    found = local_certificate()
    assert stat.S_IMODE(found.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(found.file.parent.stat().st_mode) == 0o700
    assert b"PRIVATE KEY" not in found.authority.read_bytes()
    assert sorted(path.name for path in found.file.parent.iterdir()) == [
        "localhost-authority.pem",
        "localhost.pem",
    ]


def test_certificate_is_kept_until_it_expires_soon() -> None:
    found = local_certificate()
    content = found.file.read_bytes()
    assert local_certificate().file.read_bytes() == content
    made = found.file.stat().st_mtime
    os.utime(found.file, (made - 29 * DAY_S, made - 29 * DAY_S))
    assert local_certificate().file.read_bytes() != content


def test_file_that_is_missing_is_made_anew() -> None:
    found = local_certificate()
    found.authority.unlink()
    assert local_certificate().authority.is_file()


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(
        MissingExtra, match=r"--dev-tls needs the extra trustme: pip install 'trustme"
    ):
        local_certificate()


def test_cache_that_is_a_file(cache: Path) -> None:
    cache.write_text("")
    with pytest.raises(ConfigurationError, match="--dev-tls: can't write"):
        local_certificate()


def fetch(url: str, authority: Path) -> tuple[int, str]:
    context = ssl.create_default_context(cafile=authority)
    connection = HTTPSConnection(urlsplit(url).netloc, timeout=DEADLINE_S, context=context)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("flags", [[], ["--no-reload"]])
def test_dev_serves_https(tmp_path: Path, cache: Path, flags: list[str]) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = ["-m", "microweb", "dev", "app.py", "--port", "0", "--dev-tls", *flags]
    with Program(*command, cwd=tmp_path) as program:
        authority = cache / "microweb" / "localhost-authority.pem"
        assert program.out.wait_for("certificate").startswith(
            f"microweb: the certificate's authority is {authority}"
        )
        url = program.urls()[0]
        assert url.startswith("https://")
        assert fetch(url, authority) == (200, "hello")
        program.stop()


def test_fault_is_shown_over_https(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "app.py").write_text("1/0\n")
    command = ["-m", "microweb", "dev", "app.py", "--port", "0", "--dev-tls"]
    with Program(*command, cwd=tmp_path) as program:
        url = program.urls()[0]
        status, text = fetch(url, cache / "microweb" / "localhost-authority.pem")
        assert status == 500 and "ZeroDivisionError" in text
        program.stop()


def test_dev_tls_and_a_certificate_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = ["-m", "microweb", "dev", "app.py", "--dev-tls", "--tls-certificate", "a.pem"]
    with Program(*command, cwd=tmp_path) as program:
        program.ends(2)
        expected = "microweb: --dev-tls makes a certificate: leave tls_certificate out"
        assert program.err.rest() == expected
