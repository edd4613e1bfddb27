"""File names from clients, made safe for a path such as `uploads/{name}`.

First the name is normalised to Unicode's compatibility form (NFKC), because some file systems
normalise names: a character that looks like a dot or a slash must not become one there. Then it is
reduced to one component that every common system accepts. Names are for people: two files may have
the same name.

RFC 7578 section 4.2; Windows: "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import re
import unicodedata

# File systems accept 255 bytes; this leaves room for an id before the name and a suffix after it.
_MAX_BYTES = 200
_MAX_SUFFIX_BYTES = 20

_UNNAMED = "unnamed"

# Windows refuses these in a name; a colon also begins the name of an alternate stream there.
_FORBIDDEN = dict.fromkeys(map(ord, '<>:"|?*'), "_")

# The device names of Windows, with any suffix. NFKC has made plain digits of superscript ones.
# A text, as the other rare regexes: `re` compiles it at its first use, not at the import.
_RESERVED = r"(?i:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9]) *(?:\.|\Z)"


def safe_filename(raw: str) -> str:
    """Return the last component of `raw` as a name that is safe in any folder; never empty.

    The name has no slash or backslash, no control or invisible character, and no leading or
    trailing dot or space. Windows accepts it, and it is no device name there. A name of more than
    200 bytes of UTF-8 is shortened, but keeps its suffix. A safe name is returned unchanged.
    """
    name = _last_component(raw)
    if len(name) > _MAX_BYTES:  # NFKC can make 18 characters of one; a MiB of them took 0.5 s
        name = name[:_MAX_BYTES] + name[-_MAX_SUFFIX_BYTES:]
    name = _last_component(unicodedata.normalize("NFKC", name)).translate(_FORBIDDEN)
    if not name.isprintable():
        # Control and format characters (which are invisible, or reverse the direction of text),
        # line separators, and private use, which Samba and Cygwin map to forbidden characters.
        name = "".join([each if each.isprintable() else "_" for each in name])
    name = name.strip(". ")
    name = _cut(name)
    if re.match(_RESERVED, name):
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
