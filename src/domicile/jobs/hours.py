"""When downloads may run: `23:00-07:00` in local time, across midnight where the end is before the start."""

from __future__ import annotations

from datetime import datetime, timedelta

ALWAYS = "always"


def is_open(hours: str, now: float) -> bool:
    """Is this moment (seconds since 1970) within the hours? The start is, the end is not."""
    if hours == ALWAYS:
        return True
    start, end = _minutes(hours)
    here = datetime.fromtimestamp(now)  # noqa: DTZ006 - hours are those of the clock on the wall
    minute = here.hour * 60 + here.minute
    return start <= minute < end if start < end else minute >= start or minute < end


def opens_at(hours: str, now: float) -> float:
    """The next moment within the hours: now, or seconds since 1970."""
    if is_open(hours, now):
        return now
    start, _ = _minutes(hours)
    here = datetime.fromtimestamp(now)  # noqa: DTZ006
    opening = here.replace(hour=start // 60, minute=start % 60, second=0, microsecond=0)
    return (opening if opening > here else opening + timedelta(days=1)).timestamp()


def _minutes(hours: str) -> tuple[int, int]:
    start, end = (int(t[:2]) * 60 + int(t[3:]) for t in hours.split("-"))
    return start, end
