"""A certificate for `localhost` that lasts a month: `microweb dev --dev-tls`.

It is kept in the cache folder of the user, so that an exception that a browser makes for it lasts
too. The key of its authority is thrown away, so a browser may trust the authority without danger.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigurationError, MissingExtra

_DAYS = 30
_REUSED_S = (_DAYS - 2) * 24 * 3600.0


class LocalCertificate(NamedTuple):
    """The files of a certificate."""

    file: Path  # with its key
    authority: Path  # for clients that are to trust it


def local_certificate() -> LocalCertificate:
    """Return the certificate of this user, a new one if there is none or it expires soon.

    Raises: ConfigurationError if it can't be made or kept.
    """
    folder = _cache_folder() / "microweb"
    found = LocalCertificate(folder / "localhost.pem", folder / "localhost-authority.pem")
    try:
        if not _is_usable(found):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(found)
    except OSError as error:
        raise ConfigurationError(f"--dev-tls: can't write {folder}: {error.strerror}") from error
    return found


def _cache_folder() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if os.path.isabs(named) else Path.home() / ".cache"


def _is_usable(found: LocalCertificate) -> bool:
    """Return whether both files are there, this user's own, and young enough."""
    try:
        states = [os.stat(path) for path in found]
    except FileNotFoundError:
        return False
    is_own = not hasattr(os, "getuid") or all(each.st_uid == os.getuid() for each in states)
    return is_own and all(0 <= time.time() - each.st_mtime < _REUSED_S for each in states)


def _make(found: LocalCertificate) -> None:
    try:
        import trustme
    except ImportError as error:
        raise MissingExtra("--dev-tls", "trustme") from error
    ends = datetime.now(UTC) + timedelta(days=_DAYS)
    authority = trustme.CA(organization_name="microweb dev")
    issued = authority.issue_cert("localhost", "*.localhost", "127.0.0.1", "::1", not_after=ends)
    _write(found.authority, authority.cert_pem.bytes(), 0o644)
    _write(found.file, issued.private_key_and_cert_chain_pem.bytes(), 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file in one step, so that another `microweb dev` sees all of it or nothing."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    os.replace(new, path)
