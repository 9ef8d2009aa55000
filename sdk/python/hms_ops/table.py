"""Where emitted values wait: one list of values a series, folded into tallies.

Appending to a list, slicing one and deleting its front are each one step under the interpreter's lock, so the
caller of ``emit`` takes no lock and no value is lost or counted twice.
"""

from __future__ import annotations

import collections.abc
import decimal
import itertools
import math
import numbers
import threading
from typing import Any, Dict, Hashable, List, Optional, Tuple

# A metric's name with its labels, sorted by name.
Series = Tuple[str, Tuple[Tuple[str, str], ...]]

# Values of one series that wait before the caller folds them itself: some ten microseconds of work.
VALUES_MAX = 256
# The same while somebody else is folding, who may have to wait for the interpreter for some hundred milliseconds
# when all cores emit in a loop; past it values are dropped.
VALUES_HARD_MAX = 1_000_000
# Series of one process: what a program tells apart is far below, what it makes up by mistake is above.
SERIES_MAX = 10_000
# A series nobody has emitted for so long makes room for others.
IDLE_MS = 300_000
# A list taken out of the table is looked into for so many folds more: a caller may just be holding it.
RETIRED_FOLDS = 10
# Bytes of UTF-8 of a metric's name, of a label's name and of a label's value.
TEXT_BYTES_MAX = 1024
# Labels of one series.
LABELS_MAX = 32

_PLAIN = {int, float, bool}


class Tally:
    """The values emitted under one series in one flush."""

    __slots__ = ("series", "since", "time", "sum", "count", "min", "max", "last")

    def __init__(self, series: Series, time: int, values: Tuple[float, int, float, float, float]) -> None:
        self.series = series
        # Unix milliseconds of the first and the last flush that is merged here.
        self.since = self.time = time
        self.sum, self.count, self.min, self.max, self.last = values

    def merge(self, later: Tally) -> None:
        """Takes in one that was emitted later. NaN is no extreme while there is a number."""
        self.time = later.time
        self.sum += later.sum
        self.count += later.count
        self.min = _least(self.min, later.min)
        self.max = _greatest(self.max, later.max)
        self.last = later.last


class Table:
    """All series of this process with what was emitted since the last fold."""

    def __init__(self) -> None:
        # By the name alone, or name and labels as they were given; two keys can mean one series.
        self.cells: Dict[Hashable, List[Any]] = {}
        # Why a value was given up last.
        self.why = ""
        # All below is changed under the lock only.
        self._series: Dict[Hashable, Series] = {}
        self._used: Dict[Hashable, int] = {}
        self._retired: List[List[Any]] = []
        self._partial: Dict[Series, Tally] = {}
        self._lock = threading.Lock()
        # `next` on it is one step; the value is read by taking one more and allowing for it.
        self._drops = itertools.count()
        self._looks = 0
        self._lost = 0

    def add(self, name: Any, value: Any, labels: Any) -> None:
        """What `emit` does when the short way is closed: a new series, a full list, a wrong name."""
        key, series = _key(name, labels)
        if series is None:
            self.drop(key)
            return
        values = self.cells.get(key)
        if values is None:
            if len(self.cells) >= SERIES_MAX:
                self.drop(f"more than {SERIES_MAX} series")
                return
            values = self.cells.setdefault(key, [])
        elif len(values) >= VALUES_MAX:
            # Never waits: a signal handler or a finalizer may have interrupted whoever holds the lock.
            if self._lock.acquire(False):
                try:
                    self._take(series, values, 0)
                finally:
                    self._lock.release()
            elif len(values) >= VALUES_HARD_MAX:
                self.drop("values came faster than they could be added up")
                return
        values.append(value)

    def fold(self, now: int) -> List[Tally]:
        """Takes all values out as tallies of the moment `now`, in Unix milliseconds."""
        with self._lock:
            for key, values in self.cells.copy().items():
                series = self._series.get(key) or self._series.setdefault(key, _meant(key))
                if self._take(series, values, now):
                    self._used[key] = now
                elif now - self._used.setdefault(key, now) > IDLE_MS:
                    del self.cells[key], self._used[key], self._series[key]
                    self._retired.append([RETIRED_FOLDS, series, values])
            for retired in self._retired:
                self._take(retired[1], retired[2], now)
                retired[0] -= 1
            self._retired = [retired for retired in self._retired if retired[0] > 0]
            partial, self._partial = self._partial, {}
        for tally in partial.values():
            tally.since = tally.time = now
        return list(partial.values())

    def drop(self, why: str) -> None:
        """Counts one value that is given up."""
        self.why = why
        next(self._drops)

    def lose(self, count: int, why: str) -> None:
        """Counts values that are given up after they were folded."""
        if count:
            self.why = why
            with self._lock:
                self._lost += count

    def dropped(self) -> int:
        """How many values were given up so far."""
        with self._lock:
            self._looks += 1
            return next(self._drops) - self._looks + 1 + self._lost

    def waiting(self) -> int:
        """How many values wait to be folded or taken."""
        with self._lock:
            folded = sum(tally.count for tally in self._partial.values())
            return folded + sum(map(len, self.cells.copy().values()))

    def _take(self, series: Series, values: List[Any], now: int) -> bool:
        """Moves the values of one list into the series' tally; the lock is held."""
        taken = values[:]
        if not taken:
            return False
        del values[: len(taken)]
        summary = _summary(taken)
        if summary is None:
            summary, bad = _careful_summary(taken)
            if bad:
                self._lost += bad
                self.why = f"`{series[0][:80]}` was given what is no number"
            if summary is None:
                return True
        tally = Tally(series, now, summary)
        earlier = self._partial.setdefault(series, tally)
        if earlier is not tally:
            earlier.merge(tally)
        return True


def _summary(values: List[Any]) -> Optional[Tuple[float, int, float, float, float]]:
    """Sum, count, least, greatest and last of plain finite numbers; `None` if they aren't."""
    if not set(map(type, values)) <= _PLAIN:
        return None
    try:
        total = float(sum(values))
        if not math.isfinite(total):
            return None
        return total, len(values), float(min(values)), float(max(values)), float(values[-1])
    except OverflowError:
        return None


def _careful_summary(values: List[Any]) -> Tuple[Optional[Tuple[float, int, float, float, float]], int]:
    """The same of anything; the number beside it says how many were no numbers."""
    good = [number for number in map(_number, values) if number is not None]
    bad = len(values) - len(good)
    if not good:
        return None, bad
    least = greatest = good[0]
    for number in good:
        least, greatest = _least(least, number), _greatest(greatest, number)
    return (sum(good), len(good), least, greatest, good[-1]), bad


def _number(value: Any) -> Optional[float]:
    try:
        return float(value) if isinstance(value, (float, int, decimal.Decimal, numbers.Real)) else None
    except Exception:  # a foreign type may raise anything, even when it is asked what it is
        return None


def _least(a: float, b: float) -> float:
    return b if a != a or b < a else a


def _greatest(a: float, b: float) -> float:
    return b if a != a or b > a else a


def _key(name: Any, labels: Any) -> Tuple[Any, Optional[Series]]:
    """The key in the table and the series it means; without a series, what is wrong stands in for the key."""
    if not _is_text(name) or not name:
        return f"a metric's name is a text of 1 to {TEXT_BYTES_MAX} bytes", None
    if labels is None:
        return name, (name, ())
    if not isinstance(labels, collections.abc.Mapping):
        return f"the labels of `{name[:80]}` are no dict", None
    given = tuple(labels.items())
    if len(given) > LABELS_MAX:
        return f"`{name[:80]}` has more than {LABELS_MAX} labels", None
    # 1, 1.0 and True are equal as keys and differ as texts: only texts are looked up as they were given.
    texts = tuple((label, value if isinstance(value, str) else str(value)) for label, value in given)
    for label, value in texts:
        if not _is_text(label) or not label or label == "__name__" or not _is_text(value):
            return f"`{name[:80]}` has a label that is no text of 1 to {TEXT_BYTES_MAX} bytes", None
    return (name, texts), _meant((name, texts))


def _meant(key: Any) -> Series:
    """The series of a key; an empty value is a missing label."""
    if isinstance(key, str):
        return key, ()
    name, labels = key
    return name, tuple(sorted(pair for pair in labels if pair[1]))


def _is_text(text: Any) -> bool:
    if not isinstance(text, str) or len(text) > TEXT_BYTES_MAX:
        return False
    try:
        return len(text.encode()) <= TEXT_BYTES_MAX
    except UnicodeEncodeError:
        return False
