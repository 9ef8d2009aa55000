"""The thread that folds what was emitted and takes it to the tower."""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import random
import sys
import threading
import time
from typing import Any, Callable, Dict, Optional

from . import endpoint
from .link import Answer, Link
from .outbox import Batch, Outbox
from .table import Table

# Between two folds, and before the first one, in seconds.
FOLD_EVERY = 1.0
FOLD_FIRST = 0.2
# A tower is there and takes a batch at once or not at all: each of both, in seconds.
ANSWER_WITHIN = 2.0
# How long the end of a process may wait for its last values, in seconds.
EXIT_WITHIN = 2.0
# Between two warnings, in seconds.
WARN_EVERY = 60.0

PATH = "/v1/emit"

_log = logging.getLogger("hms_ops")


class Courier:
    """Sends the values of one table. Its thread starts with the first value."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._thread: Optional[threading.Thread] = None
        self._starting = threading.Lock()
        self._outbox: Optional[Outbox] = None
        self._link: Optional[Link] = None
        self._fold_at = 0.0
        self._within = ANSWER_WITHIN
        self._sent = 0
        # Requests for a flush are numbered: the last one made, done, and tried in vain.
        self._bell = threading.Condition()
        self._asked = self._done = self._failed = 0
        self._trouble = ""
        self._warned_at: Optional[float] = None
        self._warned_of = 0

    def start(self) -> None:
        """Starts the thread unless it runs. Neither waits for another thread that does so, nor raises."""
        if self._thread is not None or not self._starting.acquire(False):
            return
        try:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hms-ops", daemon=True)
                self._thread.start()
                self._watch_multiprocessing()
        except Exception:  # no room for a thread, or too late in the life of the process: `finish` sends by itself
            self._thread = None
        finally:
            self._starting.release()

    def flush(self, timeout: float, is_last: bool = False) -> bool:
        """Waits until all that was emitted before is done with; `is_last` gives up at the first failure."""
        # Without a thread nothing is on its way; with one, values may be between the table and the outbox.
        if self._thread is None and self._table.waiting() == 0:
            return True
        self.start()
        with self._bell:
            self._asked += 1
            ticket = self._asked
            self._bell.notify_all()
            if self._thread is None:
                return False
            self._bell.wait_for(
                lambda: self._done >= ticket or (is_last and self._failed >= ticket), max(timeout, 0.0)
            )
            return self._done >= ticket

    def finish(self) -> None:
        """Sends what is left as the process ends."""
        if self._thread is None:
            # It is too late for a thread, or none could be had.
            self._within = EXIT_WITHIN / 2
            self._cycle(0, True, time.monotonic() + EXIT_WITHIN / 2)
        else:
            self.flush(EXIT_WITHIN, is_last=True)
            self._warn_of_drops()
        left = self.waiting()
        if left:
            _say(f"{left} emitted values could not be sent before the process ended: {self._trouble or 'no answer'}")

    def abandon(self) -> None:
        """In the child of a fork: lets go of what is the parent's."""
        if self._link is not None:
            self._link.abandon()

    def sent(self) -> int:
        """How many values the tower has taken."""
        return self._sent

    def waiting(self) -> int:
        """How many values are on their way."""
        outbox = self._outbox
        return self._table.waiting() + (outbox.waiting() if outbox else 0)

    def _run(self) -> None:
        self._fold_at = time.monotonic() + FOLD_FIRST
        seen = 0
        while True:
            with self._bell:
                if self._asked == seen:
                    self._bell.wait(max(self._wake_at() - time.monotonic(), 0.0))
                is_asked, seen = self._asked > seen, self._asked
            # Somebody may still wait for what has failed before.
            self._cycle(seen, is_asked or (seen > self._done and self._retry_due()))

    def _wake_at(self) -> float:
        outbox = self._outbox
        if outbox is None or outbox.is_empty() or outbox.retry_at == 0.0:
            return self._fold_at
        return min(self._fold_at, outbox.retry_at)

    def _retry_due(self) -> bool:
        return self._outbox is None or time.monotonic() >= self._outbox.retry_at

    def _cycle(self, seen: int, is_asked: bool, until: float = math.inf) -> None:
        """Folds when it is time, sends when that may work; nothing ends the thread."""
        is_done = False
        try:
            if is_asked or time.monotonic() >= self._fold_at:
                self._fold()
            if is_asked or self._retry_due():
                is_done = self._deliver(until)
            self._warn_of_drops()
        except Exception as error:  # whatever it is, values go on being counted and kept
            self._fail(f"{type(error).__name__}: {error}")
        with self._bell:
            if is_done:
                self._done = max(self._done, seen)
            elif is_asked:
                self._failed = max(self._failed, seen)
            self._bell.notify_all()

    def _fold(self) -> None:
        self._fold_at = time.monotonic() + FOLD_EVERY
        if self._outbox is None:
            self._outbox = Outbox(os.urandom(16).hex(), endpoint.labels())
        tallies = self._table.fold(time.time_ns() // 1_000_000)
        lost = self._outbox.put(tallies)
        self._table.lose(lost, "too many values waited for the tower")

    def _deliver(self, until: float) -> bool:
        """Starts batch after batch until then, in monotonic seconds; whether all is done with."""
        outbox = self._outbox
        if outbox is None:
            return True
        while True:
            batch = outbox.batch(self._table.dropped())
            if batch is None:
                return True
            try:
                answer = self._post(batch)
            except (OSError, ValueError, http.client.HTTPException) as error:
                self._fail(str(error) or type(error).__name__)
                return False
            if not self._settle(batch, answer) or time.monotonic() > until:
                return False
            if time.monotonic() >= self._fold_at:
                self._fold()

    def _post(self, batch: Batch) -> Answer:
        if self._link is None:
            host, port = endpoint.address()
            ca = endpoint.ca() if endpoint.is_tls() else None
            self._link = Link(host, port, self._within, self._within, ca)
        return self._link.post(PATH, batch.body, endpoint.headers())

    def _settle(self, batch: Batch, answer: Answer) -> bool:
        """Draws the consequence of an answer; whether the batch is done with."""
        outbox = self._outbox
        assert outbox is not None
        if answer.status == 200:
            refused = _refused(answer.body, len(batch.counts))
            if refused is None:
                self._fail("what answered is no tower")
                return False
            lost = sum(batch.counts[index] for index in refused)
            self._sent += outbox.close() - lost
            self._table.lose(lost, f"the tower refused them: {next(iter(refused.values()), '')[:200]}")
            self._trouble = ""
            return True
        if 400 <= answer.status < 500 and answer.status not in (408, 429):
            self._table.lose(outbox.close(), f"the tower refused them with {answer.status}{_detail(answer)}")
            return True
        self._fail(f"the tower answered {answer.status}", _seconds(answer.headers.get("Retry-After")))
        return False

    def _fail(self, why: str, retry_after: float = 0.0) -> None:
        self._trouble = why
        if self._outbox is not None:
            self._outbox.fail(time.monotonic(), random.random(), retry_after)
        _log.debug("cannot send emitted values, they are kept: %s", why)

    def _warn_of_drops(self) -> None:
        dropped = self._table.dropped()
        now = time.monotonic()
        if dropped == self._warned_of or (self._warned_at is not None and now < self._warned_at + WARN_EVERY):
            return
        count, self._warned_of, self._warned_at = dropped - self._warned_of, dropped, now
        _say(f"{count} emitted values were dropped, {dropped} in all; the last because: {self._table.why}")

    def _watch_multiprocessing(self) -> None:
        """Its children end without `atexit` before Python 3.13; they run its finalizers."""
        module = sys.modules.get("multiprocessing.util")
        finalize: Optional[Callable[..., Any]] = getattr(module, "Finalize", None)
        if finalize is not None:
            finalize(None, self.finish, exitpriority=1)


def _refused(body: bytes, count: int) -> Optional[Dict[int, str]]:
    """Which tallies a tower did not take, and why; `None` when this is no tower's answer."""
    try:
        answer = json.loads(body)
        if not isinstance(answer, dict) or "stored" not in answer:
            return None
        refused: Dict[int, str] = {}
        for entry in answer.get("refused") or []:
            if type(entry["index"]) is int and 0 <= entry["index"] < count:
                refused[entry["index"]] = str(entry.get("why", ""))
        return refused
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _detail(answer: Answer) -> str:
    """What a problem document says, on one line."""
    try:
        detail = json.loads(answer.body)["detail"]
        return ": " + " ".join(str(detail)[:200].split())
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def _seconds(text: Optional[str]) -> float:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _say(text: str) -> None:
    try:
        _log.warning("%s", text)
    except Exception:  # somebody else's logging must not stop values
        pass
