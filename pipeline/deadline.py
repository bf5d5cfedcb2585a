"""When a run has to be through: at a moment of the clock on the wall, or after so much time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from pipeline.clock import Clock
from pipeline.errors import UsageError

ENDING_SECONDS = 5.0
"""What is on the wire is waited for, the ledger is written."""
MANIFEST_SECONDS_PER_RECORD = 30e-6
"""10 µs a row, measured; old runs are forgotten too, and the machine may be busy."""
MERGE_SECONDS_PER_RECORD = 300e-6
"""Conversations that were read are brought together and noted as pending: 220 µs a record."""
MERGE_SECONDS_PER_SECOND = 2.0
"""The same while they are read, when nobody has counted them yet: 1.6 times as long as reading took."""
MOST_OF_THE_TIME = 0.25
"""A short run does not spend more than this share of its time on its end."""
_LONGEST = timedelta(days=366)
_YEARS = (1971, 9998)
"""Years that every zone can be converted in."""
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"(\d+d)?(\d+h)?(\d+m)?(\d+s)?", re.ASCII)
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Deadline:
    """`--for` follows the monotonic clock, which no jump moves; `--until` the wall's, which is what was meant."""

    clock: Clock
    words: str
    """As it was asked for: "until 06:00", "for 2h"."""
    began_at: float
    moment: datetime | None
    """Of the wall; None: it is `seconds` after `began_at`."""
    seconds: float

    def seconds_left(self) -> float:
        """Until the process should be through; negative afterwards."""
        if self.moment is not None:
            return (self.moment - self.clock.wall()).total_seconds()
        return self.began_at + self.seconds - self.clock.now()

    def seconds_to_send(self, records: int, *, merges: bool = False) -> float:
        """Until the last new request: what is left, less what the end of a run with so many records takes.

        With `merges`, records are conversations' (`session_per: conversation`); none counted: they are being read.
        """
        ending = ENDING_SECONDS + records * MANIFEST_SECONDS_PER_RECORD
        if merges and records:
            ending += records * MERGE_SECONDS_PER_RECORD
        elif merges:
            ending += (self.clock.now() - self.began_at) * MERGE_SECONDS_PER_SECOND
        return self.seconds_left() - min(ending, self.seconds * MOST_OF_THE_TIME)


def deadline_of(at: str | None, after: str | None, clock: Clock, *, zone: tzinfo | None = None) -> Deadline | None:
    """From what the configuration says (`stop.at`, `stop.after`), counted from now; None where it says nothing.

    `zone` is where the wall is; by default this machine's. Raises UsageError where the moment is past already.
    """
    if after is not None:
        return Deadline(clock, f"for {after}", clock.now(), None, parse_duration(after).total_seconds())
    if at is None:
        return None
    now = clock.wall()
    moment = next_moment(parse_moment(at), now, zone)
    if moment <= now:
        raise UsageError(f"{at} is past: --until (or stop.at) needs a moment to come, such as 06:00")
    return Deadline(clock, f"until {at}", clock.now(), moment, (moment - now).total_seconds())


def parse_duration(text: str) -> timedelta:
    """2h, 90m, 45s, 1h30m, 1d. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    parts = [part for part in match.groups() if part] if match is not None else []
    # Eleven digits of seconds are more than a year, and fewer than what timedelta takes.
    if not parts or any(len(part) > 11 for part in parts):
        raise ValueError(f"{text!r} is no length of time; write it as 2h, 90m, 45s or 1h30m")
    try:
        length = sum((timedelta(**{_UNITS[part[-1]]: int(part[:-1])}) for part in parts), timedelta())
    except OverflowError:
        length = timedelta.max
    if not timedelta() < length <= _LONGEST:
        raise ValueError(f"{text!r} must be more than nothing, and a year at most")
    return length


def parse_moment(text: str) -> time | datetime:
    """06:00 or 06:00:30, the next time that the clock shows it; or an ISO date-time. Raises ValueError."""
    text = text.strip()
    try:
        if _TIME.fullmatch(text):
            hours, _, rest = text.partition(":")
            return time.fromisoformat(f"{hours:0>2}:{rest}")
        if len(text) > len("2026-08-22") and _YEARS[0] <= (moment := datetime.fromisoformat(text)).year <= _YEARS[1]:
            return moment
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no moment; write a time of day (06:00) or a date with a time (2026-08-22T06:00)")


def next_moment(moment: time | datetime, now: datetime, zone: tzinfo | None = None) -> datetime:
    """In UTC. A time of day is the next one; a date-time without a zone is local."""
    if isinstance(moment, datetime):
        return moment.astimezone(UTC) if moment.tzinfo is not None else _in_utc(moment, zone)
    coming = []
    for day in (0, 1):
        local = datetime.combine(now.astimezone(zone).date() + timedelta(days=day), moment)
        first = _in_utc(local, zone)
        # Once a year a time of day comes twice, and once not at all: then it is as much later as the clock jumped.
        coming += [first, max(first, _in_utc(local.replace(fold=1), zone))]
    return min(candidate for candidate in coming if candidate > now)


def _in_utc(local: datetime, zone: tzinfo | None) -> datetime:
    return (local if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)
