"""Media types from a field or a file's name, and the header fields of a file that is sent.

RFC 9110 section 8.3 (Content-Type), RFC 6266 and 8187 (Content-Disposition), RFC 9111 section 5.2.
"""

from __future__ import annotations

import os
from functools import lru_cache
from urllib.parse import quote

from ..errors import LocalProtocolError
from .headers import check_value

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
OCTETS = "application/octet-stream"

_YEAR_S = 31_536_000
IMMUTABLE = f"max-age={_YEAR_S}, immutable"  # RFC 8246

# One table for all systems, because their own differ: on Debian `.ts` is a translation of Qt.
# An application may add a type: `MEDIA_TYPES[".note"] = "text/x-note"`. IANA; RFC 9239; RFC 8216.
MEDIA_TYPES = {
    ".7z": "application/x-7z-compressed",
    ".aac": "audio/aac",
    ".apng": "image/apng",
    ".atom": "application/atom+xml",
    ".avi": "video/x-msvideo",
    ".avif": "image/avif",
    ".bin": "application/octet-stream",
    ".bmp": "image/bmp",
    ".bz2": "application/x-bzip2",
    ".c": "text/x-c",
    ".cfg": "text/plain",
    ".conf": "text/plain",
    ".cpp": "text/x-c",
    ".css": "text/css",
    ".csv": "text/csv",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gif": "image/gif",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".gz": "application/gzip",
    ".h": "text/x-c",
    ".heic": "image/heic",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".ics": "text/calendar",
    ".ini": "text/plain",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".log": "text/plain",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".m4s": "video/iso.segment",
    ".m4v": "video/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mid": "audio/midi",
    ".mjs": "text/javascript",
    ".mkv": "video/matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".mpd": "application/dash+xml",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".ps": "application/postscript",
    ".py": "text/x-python",
    ".rar": "application/vnd.rar",
    ".rss": "application/rss+xml",
    ".rst": "text/x-rst",
    ".rtf": "application/rtf",
    ".sh": "application/x-sh",
    ".sql": "application/sql",
    ".srt": "application/x-subrip",
    ".stl": "model/stl",
    ".svg": "image/svg+xml",
    ".svgz": "image/svg+xml",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".toml": "application/toml",
    ".ts": "video/mp2t",
    ".tsv": "text/tab-separated-values",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".vcf": "text/vcard",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".xsl": "application/xslt+xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}
_CODINGS = {".svgz": "gzip"}  # suffixes of files that are stored in a content coding
# The attr-char of RFC 8187 section 3.2.1, without letters and digits.
_ATTR_CHARS = "!#$&+-.^_`|~"

MAX_PARAMETERS = 32  # of a media type or a part of a form; usual are 1 to 3


def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """Return the media type of a Content-Type, in lower case, and its parameters.

    The media type is empty if there is none. Names of parameters are in lower case, values without
    their quotes. If a name is repeated, its first value counts. Only the first 32 parameters are
    read. RFC 9110 section 8.3.1
    """
    media_type, *fields = value.split(";", MAX_PARAMETERS + 1)[: MAX_PARAMETERS + 1]
    parameters: dict[str, str] = {}
    for field in fields:
        name, equals, text = field.partition("=")
        if equals:
            parameters.setdefault(name.strip().lower(), text.strip().strip('"'))
    return media_type.strip().lower(), parameters


@lru_cache(maxsize=64)  # of short texts; a check costs 0.5 us
def check_content_type(content_type: str) -> None:
    """Raise LocalProtocolError if a media type is not a valid field value."""
    try:
        check_value(content_type)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error


def media_type_of(path: str | os.PathLike[str]) -> str:
    """Return the media type for a file's name; text has the charset UTF-8."""
    media_type = MEDIA_TYPES.get(_ending_of(path), "application/octet-stream")
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def coding_of(path: str | os.PathLike[str]) -> str | None:
    """Return the content coding for a file's name; None if it has none."""
    return _CODINGS.get(_ending_of(path))


def _ending_of(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()


def file_fields(cache: int | str | None, download_name: str | None) -> dict[str, str]:
    """Return the header fields of a file: see `cache_control` and `content_disposition`."""
    fields = {"Cache-Control": cache_control(cache)}
    if download_name is not None:
        fields["Content-Disposition"] = content_disposition(download_name)
    return fields


def content_disposition(name: str) -> str:
    """Return the Content-Disposition with which a browser saves the content as the file `name`.

    Slashes, backslashes, quotes and unprintable characters become underscores. RFC 6266, with
    `filename*` (RFC 8187) if the name is not plain ASCII.
    """
    safe = "".join([each if each.isprintable() and each not in '/\\"' else "_" for each in name])
    # Some browsers would decode a percent sign. RFC 6266 appendix D
    plain = "".join([each if each.isascii() and each != "%" else "_" for each in safe])
    value = f'attachment; filename="{plain}"'
    if plain != safe:
        value += f"; filename*=UTF-8''{quote(safe, safe=_ATTR_CHARS)}"
    return value


def cache_control(cache: int | str | None) -> str:
    """Return the value of Cache-Control: a str as it is, an int as `max-age` in seconds.

    None means `no-cache`: clients keep the file, but ask before each use whether it has changed.

    Raises: ValueError for a negative number.
    """
    if cache is None:
        return "no-cache"  # most of these requests get a 304
    if isinstance(cache, str):
        return cache
    if cache < 0:
        raise ValueError(f"cache: expected seconds or a Cache-Control value, got {cache!r}")
    return f"max-age={cache}"
