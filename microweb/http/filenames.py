"""File names from elsewhere, made safe to put behind a folder: `uploads/{name}`.

Strategy: the name is brought into Unicode's compatibility form first, since what looks like a dot
or a slash must not become one in a file system that normalises by itself; then it is cut down to
one component that every common system takes. Names are for people: two files may have the same.

RFC 7578 section 4.2; Windows: "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import re
import unicodedata

# File systems take 255 bytes; this leaves room for an id in front and a suffix behind.
_MAX_BYTES = 200
_MAX_SUFFIX_BYTES = 20

_UNNAMED = "unnamed"

# Refused by Windows in a name; the colon also begins an alternate stream of a file there.
_FORBIDDEN = dict.fromkeys(map(ord, '<>:"|?*'), "_")

# The devices of Windows, whatever stands behind a dot. Superscript digits are plain ones by then.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9]) *(?:\.|\Z)", re.I)


def safe_filename(raw: str) -> str:
    """Return the last component of `raw` as a name that is safe in any folder; never empty.

    It has no separator of either kind, no control or invisible character, no leading or trailing
    dot or space, nothing that Windows refuses or takes for a device, and at most 200 bytes of
    UTF-8, its suffix kept. It stays itself when made safe again.
    """
    name = _last_component(raw)
    if len(name) > _MAX_BYTES:  # one character can become 18; a MiB of them took half a second
        name = name[:_MAX_BYTES] + name[-_MAX_SUFFIX_BYTES:]
    name = _last_component(unicodedata.normalize("NFKC", name)).translate(_FORBIDDEN)
    if not name.isprintable():
        # Control and format characters (which turn the direction of text around, or are not seen),
        # line separators, and private use, which Samba and Cygwin map to what is forbidden.
        name = "".join([each if each.isprintable() else "_" for each in name])
    name = name.strip(". ")
    name = _cut(name)
    if _RESERVED.match(name):
        name = f"_{name}"
    return name or _UNNAMED


def _last_component(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _cut(name: str) -> str:
    if len(name.encode()) <= _MAX_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) >= _MAX_SUFFIX_BYTES:
        stem, dot, suffix = name, "", ""
    room = _MAX_BYTES - len(f"_{dot}{suffix}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + suffix
