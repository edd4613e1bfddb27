"""Log records as text, in which no text of a client can look like another record.

The lines behind the first one of a record are indented. Control characters are escaped, other than
line ends and tabs, and so are characters that end a line or turn its direction for a reader.
"""

from __future__ import annotations

import logging
import re

_MAX_RECORD = 1 << 17  # characters of a record, at most 512 KiB: half of what a LogWriter holds
_MAX_PART = 1 << 15  # characters of the message and of the traceback of a longer record

_INDENT = "\n    "
# C0 and C1 without tab and line feed; U+2028, U+2029; the marks and controls of bidirectional text
_UNSAFE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class TextFormatter(logging.Formatter):
    """Formats a record as its message, followed by its traceback.

    From WARNING up the name of the level is before the message: `warning: `.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record, without the last line end."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        parts = [level + record.getMessage()]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        elif record.exc_text:
            parts.append(record.exc_text)
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return _safe_text(parts)


def safe_line(text: str) -> str:
    """Return what `TextFormatter` makes of a message."""
    return text if text.isprintable() and len(text) <= _MAX_RECORD else _safe_text([text])


def cut(text: str, most: int) -> str:
    """Return the first and the last characters of a longer text, and how many are left out."""
    if len(text) <= most:
        return text
    half = most // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]} ... {left_out:,} characters left out ... {text[-half:]}"


def _safe_text(parts: list[str]) -> str:
    safe = [_UNSAFE.sub(_escape, part).replace("\n", _INDENT) for part in parts]
    if sum(map(len, safe)) > _MAX_RECORD:
        safe = [cut(part, _MAX_PART) for part in safe]
    return _INDENT.join(safe)


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
