"""What header fields say of a file: its media type, the name to save it under, how long to keep it.

RFC 9110 section 8.3 (Content-Type), RFC 6266 and 8187 (Content-Disposition), RFC 9111 section 5.2.
"""

from __future__ import annotations

import mimetypes
import os
from urllib.parse import quote

_YEAR_S = 31_536_000
IMMUTABLE = f"max-age={_YEAR_S}, immutable"  # RFC 8246

# What the web stands on, whatever a machine's own tables say. RFC 9239, WHATWG MIME Sniffing
_MEDIA_TYPES = {
    ".bz2": "application/x-bzip2",
    ".css": "text/css",
    ".gz": "application/gzip",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".tgz": "application/gzip",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
}
# The attr-char of RFC 8187 section 3.2.1 that are no letters or digits.
_ATTR_CHARS = "!#$&+-.^_`|~"


def media_type_of(path: str | os.PathLike[str]) -> str:
    """Return the media type that a file's name stands for, text with its charset: UTF-8.

    What `mimetypes.add_type` was told counts. May block at the first call.
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    media_type = _MEDIA_TYPES.get(ending)
    if media_type is None:
        if not mimetypes.inited:
            mimetypes.init()
        media_type = mimetypes.types_map.get(ending, "application/octet-stream")
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def content_disposition(name: str) -> str:
    """Return the value of Content-Disposition that has a browser save what is sent as `name`.

    What can't stand in a name on any system, a directory too, becomes an underscore. RFC 6266, with
    `filename*` (RFC 8187) where the name is not plain ASCII.
    """
    safe = "".join([each if each.isprintable() and each not in '/\\"' else "_" for each in name])
    # Some browsers would decode a percent sign. RFC 6266 appendix D
    plain = "".join([each if each.isascii() and each != "%" else "_" for each in safe])
    value = f'attachment; filename="{plain}"'
    if plain != safe:
        value += f"; filename*=UTF-8''{quote(safe, safe=_ATTR_CHARS)}"
    return value


def cache_control(cache: int | str | None) -> str:
    """Return the value of Cache-Control: `cache` itself, or so many seconds; None asks each time.

    Raises: ValueError for fewer than none.
    """
    if cache is None:
        return "no-cache"  # kept, but asked for anew each time, which mostly is a 304
    if isinstance(cache, str):
        return cache
    if cache < 0:
        raise ValueError(f"cache: expected seconds or a Cache-Control value, got {cache!r}")
    return f"max-age={cache}"
