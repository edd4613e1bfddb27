"""HTTP dates: parsing and formatting. RFC 9110 section 5.6.7.

Names of days and months come from tables here, never from the locale. Each of the three forms has
a regex, and `datetime.date` checks that the day exists.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from time import gmtime, time

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY_NAMES = tuple(weekday[:3] for weekday in _WEEKDAYS)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_EPOCH = date(1970, 1, 1).toordinal()
_DAY_S = 86_400
_FIRST_S = (date.min.toordinal() - _EPOCH) * _DAY_S  # the year 1
_END_S = (date.max.toordinal() - _EPOCH + 1) * _DAY_S  # the year 10000, which needs five digits
_FIFTY_YEARS_S = 50 * 365.2425 * _DAY_S

# time-of-day = hour ":" minute ":" second      ; 00:00:00 - 23:59:60 (leap second)
_DAY_NAME = f"(?:{'|'.join(_DAY_NAMES)})"
_DAY_NAME_L = f"(?:{'|'.join(_WEEKDAYS)})"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_DAY = "(?P<day>[0-9]{2})"
_TIME = "(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"

# IMF-fixdate  = day-name "," SP day SP month SP year SP time-of-day SP GMT
# rfc850-date  = day-name-l "," SP day "-" month "-" 2DIGIT SP time-of-day SP GMT
# asctime-date = day-name SP month SP ( 2DIGIT / ( SP 1DIGIT )) SP time-of-day SP year
_FORMS = (
    f"{_DAY_NAME}, {_DAY} {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
    f"{_DAY_NAME_L}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
    f"{_DAY_NAME} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",
)


@cache
def _forms() -> tuple[re.Pattern[str], ...]:
    """Return the regexes of the three forms. To compile them takes 3 % of the import's time."""
    return tuple(map(re.compile, _FORMS))


def format_http_date(timestamp: float) -> str:
    """Return the IMF-fixdate of a timestamp in seconds since the epoch, without fractions.

    Raises: ValueError for a time outside the years 1 to 9999, because a year has four digits.
    """
    if not _FIRST_S <= timestamp < _END_S:
        raise ValueError(f"expected a timestamp in the years 1 to 9999, got {timestamp!r}")
    year, month, day, hour, minute, second, weekday, _, _ = gmtime(timestamp)
    return (
        f"{_DAY_NAMES[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    )


def parse_http_date(text: str) -> int | None:
    """Return the seconds since the epoch of a date in any of the three forms; None for other text.

    The name of the day is not compared with the date: it adds nothing, and a recipient should be
    robust. A leap second counts as the second after it. A two-digit year is in this century, or in
    the last one if the date would be more than 50 years ahead.
    """
    for form in _forms():
        if match := form.fullmatch(text):
            year, month, day, *time_of_day = match.group(
                "year", "month", "day", "hour", "minute", "second"
            )
            hour, minute, second = map(int, time_of_day)
            seconds = (hour * 60 + minute) * 60 + second
            if len(year) == 2:
                return _resolve_century(int(year), month, int(day), seconds)
            return _timestamp(int(year), month, int(day), seconds)
    return None


def _resolve_century(year: int, month: str, day: int, seconds: int) -> int | None:
    now = time()
    year += gmtime(now).tm_year // 100 * 100
    timestamp = _timestamp(year, month, day, seconds)
    if timestamp is not None and timestamp > now + _FIFTY_YEARS_S:
        return _timestamp(year - 100, month, day, seconds)
    return timestamp


def _timestamp(year: int, month: str, day: int, seconds: int) -> int | None:
    try:
        day_number = date(year, _MONTHS.index(month) + 1, day).toordinal()
    except ValueError:
        return None
    return (day_number - _EPOCH) * _DAY_S + seconds
