"""Durations as texts: ISO 8601, section 5.5.2.2. `P1DT2H30M` is a timedelta of 26.5 hours.

Years and months have no fixed length, so they are refused.
"""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = (  # compiled at its first use
    r"(?P<sign>[-+])?P(?!\Z)(?:(?P<weeks>[0-9]{1,9})W)?(?:(?P<days>[0-9]{1,9})D)?"
    r"(?:T(?!\Z)(?:(?P<hours>[0-9]{1,9})H)?(?:(?P<minutes>[0-9]{1,9})M)?"
    r"(?:(?P<seconds>[0-9]{1,12})(?:[.,](?P<fraction>[0-9]{1,6}))?S)?)?"
)


def parse_duration(text: str) -> timedelta:
    """Return the timedelta of a duration in ISO 8601. Raises: ValueError for any other text."""
    match = re.fullmatch(_DURATION, text)
    if match is None:
        raise ValueError("expected a duration in ISO 8601")
    numbers = {name: int(match[name] or 0) for name in _UNITS}
    microseconds = int((match["fraction"] or "").ljust(6, "0"))
    try:
        duration = timedelta(**numbers, microseconds=microseconds)
        return -duration if match["sign"] == "-" else duration
    except OverflowError as error:
        raise ValueError("expected a duration that a timedelta can hold") from error


_UNITS = ("weeks", "days", "hours", "minutes", "seconds")


def format_duration(duration: timedelta) -> str:
    """Return a timedelta as a duration in ISO 8601, as short as it can be."""
    sign = "-" if duration < timedelta(0) else ""
    duration = abs(duration)
    hours, seconds = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    fraction = f".{duration.microseconds:06}".rstrip("0") if duration.microseconds else ""
    days = f"{duration.days}D" if duration.days else ""
    parts = [f"{hours}H" if hours else "", f"{minutes}M" if minutes else ""]
    if seconds or fraction:
        parts.append(f"{seconds}{fraction}S")
    time = "".join(parts)
    if not days and not time:
        return "PT0S"
    return f"{sign}P{days}{'T' if time else ''}{time}"
