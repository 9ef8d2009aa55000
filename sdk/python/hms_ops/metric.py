"""`Metric.emit`: a value of this process, counted at once and sent by the second."""

from __future__ import annotations

import atexit
import os
from typing import Any, Mapping, NamedTuple, Optional, Union

from .courier import Courier
from .table import VALUES_MAX, Table

_table = Table()
_cells = _table.cells
_courier = Courier(_table)


class Stats(NamedTuple):
    """What became of the values this process emitted; each is counted once."""

    sent: int
    """Taken by the tower."""
    dropped: int
    """Given up: no number, no name, no room, or refused by the tower."""
    waiting: int
    """Not sent yet."""


class Metric:
    """Numbers that this process tells the tower about."""

    @staticmethod
    def emit(
        name: str, value: Union[float, int, bool] = 1, labels: Optional[Mapping[str, str]] = None
    ) -> None:
        """Counts one value.

        Never blocks and never raises. What cannot be counted (no name, no number, more than 10 000 series)
        is dropped; ``stats`` says how many, and the log says why, at most once a minute.
        """
        try:
            values = _cells[name if labels is None else (name, tuple(labels.items()))]
            if len(values) < VALUES_MAX:
                values.append(value)
                return
        except Exception:  # a series' first value, or a mistake: `add` tells them apart
            pass
        _emit_first(name, value, labels)

    @staticmethod
    def flush(timeout: float = 2.0) -> bool:
        """Waits at most `timeout` seconds until all that was emitted before is done with; whether it is."""
        return _courier.flush(timeout)

    @staticmethod
    def stats() -> Stats:
        """What became of the values so far."""
        return Stats(_courier.sent(), _table.dropped(), _courier.waiting())


def _emit_first(name: Any, value: Any, labels: Any) -> None:
    try:
        _table.add(name, value, labels)
        _courier.start()
    except Exception as error:  # an argument may raise whatever it likes
        try:
            _table.drop(f"emit was given what raises {type(error).__name__}")
        except Exception:
            pass


def _finish() -> None:
    try:
        _courier.finish()
    except Exception:  # nothing is left to be told
        pass


def _begin_child() -> None:
    """A child of a fork emits as a source of its own; what the parent has emitted, the parent sends."""
    global _table, _cells, _courier
    _courier.abandon()
    _table = Table()
    _cells = _table.cells
    _courier = Courier(_table)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
atexit.register(_finish)
