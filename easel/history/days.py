"""Days as people type them: in UTC everywhere, since a server's visitors sit in many time zones."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pipelines.core.errors import InvalidRequest

DAY_S = 86400.0


def parse_day(text: str | None, end: bool = False) -> float | None:
    """Seconds since 1970 of a day's beginning, in UTC.

    Args:
        text: such as "2026-11-24"; None or blank for no limit.
        end: whether the day's end is meant, the beginning of the next.

    Raises:
        InvalidRequest: it is not a day.
    """
    if text is None or not text.strip():
        return None
    try:
        day_s = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest("{!r} is not a day: write it as 2026-11-24.", text.strip()[:20],
                             field="date") from None
    return day_s + DAY_S if end else day_s  # that of the last day of all is no datetime's


def write_moment(at_s: float) -> str:
    """A moment as lists show it, such as "2026-11-24 10:00 UTC".

    Args:
        at_s: seconds since 1970.
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
