"""The limits for the head of a request and for a chunked body, which the server's options set."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .grammar import length_head, plain_head
from .hosts import MAX_HOST_LENGTH


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for a head and for a chunked body, in bytes or counts."""

    max_request_line: int = 16 * 1024
    max_header_section: int = 32 * 1024
    max_header_fields: int = 100
    max_chunk_extensions: int = 64 * 1024
    max_trailers: int = 8 * 1024
    plain_head: re.Pattern[bytes] = field(init=False)  # matches a usual head
    length_head: re.Pattern[bytes] = field(init=False)  # the same with a length of content
    max_plain_head: int = field(init=False)  # bytes; a usual head up to here is within the limits

    def __post_init__(self) -> None:
        for name, make in (("plain_head", plain_head), ("length_head", length_head)):
            object.__setattr__(self, name, make(self.max_header_fields, MAX_HOST_LENGTH))
        smaller = min(self.max_request_line, self.max_header_section)
        object.__setattr__(self, "max_plain_head", smaller)
