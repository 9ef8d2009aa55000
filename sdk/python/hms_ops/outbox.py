"""Tallies on their way to the tower: batches with numbers, what is kept while nobody answers, and for how long.

No clock and no socket here: time is an argument.
"""

from __future__ import annotations

import collections
import json
import math
from typing import Deque, Dict, Iterable, List, NamedTuple, Optional, Union

from .table import Series, Tally

# Tallies that wait: three hours of one series by the second, a few megabytes.
WAITING_MAX = 10_000
# Tallies of one series are merged when there is no room, until one spans so much time.
MERGED_SPAN_MS = 60_000
# Tallies, and bytes of them, of one batch: half of what a tower's door takes.
BATCH_TALLIES_MAX = 500
BATCH_BYTES_MAX = 512 * 1024
# The first pause after a failure, and the longest, in seconds; each is twice the one before.
PAUSE_FIRST = 0.25
PAUSE_MAX = 10.0
# The longest pause that a tower may ask for, in seconds.
RETRY_AFTER_MAX = 60.0


class Batch(NamedTuple):
    """What is sent at once. It may have arrived although no answer came, so it is sent again as it was."""

    sequence: int
    body: bytes
    counts: List[int]


class Outbox:
    """What was folded and not yet taken."""

    def __init__(self, source: str, labels: Dict[str, str]) -> None:
        self.source = source
        self.labels = labels
        # Monotonic seconds; before that nothing is sent unless somebody asks for it.
        self.retry_at = 0.0
        self._sequence = 0
        self._failures = 0
        self._tallies: Deque[Tally] = collections.deque()
        self._values = 0
        self._flight: Optional[Batch] = None

    def put(self, tallies: Iterable[Tally]) -> int:
        """Adds tallies; answers how many values were given up to make room."""
        for tally in tallies:
            self._tallies.append(tally)
            self._values += tally.count
        if len(self._tallies) <= WAITING_MAX:
            return 0
        self._tallies = collections.deque(_merged(self._tallies))
        lost = 0
        while len(self._tallies) > WAITING_MAX:
            lost += self._tallies.popleft().count
        self._values -= lost
        return lost

    def batch(self, dropped: int) -> Optional[Batch]:
        """The batch to send: the one that was not taken yet, else a new one."""
        if self._flight is None and self._tallies:
            self._sequence += 1
            metrics: List[str] = []
            counts: List[int] = []
            size = 0
            while self._tallies and len(metrics) < BATCH_TALLIES_MAX and size < BATCH_BYTES_MAX:
                tally = self._tallies.popleft()
                metrics.append(_encoded(tally))
                counts.append(tally.count)
                size += len(metrics[-1])
            head = {"source": self.source, "sequence": self._sequence, "labels": self.labels, "dropped": dropped}
            text = f'{json.dumps(head)[:-1]}, "metrics": [{", ".join(metrics)}]}}'
            self._flight = Batch(self._sequence, text.encode(), counts)
        return self._flight

    def close(self) -> int:
        """The batch is done with, taken or refused; answers how many values were in it."""
        flight, self._flight = self._flight, None
        self._failures, self.retry_at = 0, 0.0
        count = sum(flight.counts) if flight else 0
        self._values -= count
        return count

    def fail(self, now: float, chance: float, retry_after: float = 0.0) -> None:
        """The batch stays. `chance` in [0, 1) spreads the retries of many processes."""
        pause = min(PAUSE_FIRST * 2.0 ** min(self._failures, 16), PAUSE_MAX)
        asked = min(max(retry_after, 0.0), RETRY_AFTER_MAX)
        self._failures += 1
        self.retry_at = now + max(pause * (0.5 + chance / 2), asked)

    def is_empty(self) -> bool:
        """Whether all that was put in is done with."""
        return self._flight is None and not self._tallies

    def waiting(self) -> int:
        """How many values are in here."""
        return self._values


def _merged(tallies: Iterable[Tally]) -> List[Tally]:
    """Each series' neighbours in pairs, in the order of time."""
    merged: List[Tally] = []
    single: Dict[Series, Tally] = {}
    for tally in tallies:
        earlier = single.pop(tally.series, None)
        if earlier is not None and 0 <= tally.time - earlier.since <= MERGED_SPAN_MS:
            earlier.merge(tally)
        else:
            merged.append(tally)
            single[tally.series] = tally
    return merged


def _encoded(tally: Tally) -> str:
    name, labels = tally.series
    return json.dumps(
        {
            "name": name,
            "labels": dict(labels),
            "time": tally.time,
            "sum": _json_number(tally.sum),
            "count": tally.count,
            "min": _json_number(tally.min),
            "max": _json_number(tally.max),
            "last": _json_number(tally.last),
        },
        allow_nan=False,
    )


def _json_number(value: float) -> Union[float, str]:
    """JSON has no word for what is not finite."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
