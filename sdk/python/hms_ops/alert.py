"""`Alert.create`: a rule over what was emitted, and what heals it."""

from __future__ import annotations

import math
import sys
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

from . import tower
from .error import Error

RULES_PATH = "/hms/v1/rules"
# The longest script of a heal, in bytes of UTF-8: it is a verb with its arguments, not a program.
SCRIPT_BYTES_MAX = 1024


class Heal:
    """What the tower does when an alert fires: a verb of its own, such as ``rollback dmv-photo --to=prev``."""

    __slots__ = ("_script",)

    def __init__(self, script: str) -> None:
        if not isinstance(script, str):
            raise TypeError(f"a heal's script is a text, not {type(script).__name__}")
        if not script.strip():
            raise ValueError("a heal's script is empty; write a verb, like `rollback dmv-photo --to=prev`")
        if len(script.splitlines()) > 1 or script.splitlines()[0] != script:
            raise ValueError("a heal's script is one line; a line break is in it")
        if len(script.encode("utf-8", "surrogatepass")) > SCRIPT_BYTES_MAX:
            raise ValueError(f"a heal's script has at most {SCRIPT_BYTES_MAX} bytes")
        self._script = script

    @property
    def script(self) -> str:
        """The verb with its arguments."""
        return self._script

    def __eq__(self, other: object) -> bool:
        return self._script == other._script if isinstance(other, Heal) else NotImplemented

    def __hash__(self) -> int:
        return hash((Heal, self._script))

    def __repr__(self) -> str:
        return f"Heal(script={self._script!r})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return Heal, (self._script,)


class Alert:
    """A rule as the tower keeps it."""

    def __init__(self, name: str, reading: Optional[str], warnings: Tuple[str, ...], changed: bool) -> None:
        self.name = name
        self.reading = reading
        """How its expression is read: `share`, `per-second`, or `undecided` before any value has been seen."""
        self.warnings = warnings
        self.changed = changed
        """Whether the tower had no such rule before, or another one of that name."""

    def __repr__(self) -> str:
        return f"Alert(name={self.name!r}, reading={self.reading!r}, changed={self.changed!r})"

    @classmethod
    def create(
        cls,
        name: str,
        expr: str,
        for_sec: Union[int, float] = 0,
        on_fire: Optional[Heal] = None,
        notify: Union[None, str, Iterable[str]] = None,
        labels: Optional[Mapping[str, str]] = None,
        runbook: Optional[str] = None,
        reading: Optional[str] = None,
        service: Optional[str] = None,
    ) -> Alert:
        """Creates a rule, or replaces the one of that name; doing it twice changes nothing.

        `for_sec`: seconds for which `expr` has to hold. `reading`: ``"per-second"`` takes a rate of zeros and
        ones as a rate, not as a share. How the tower reads the rule, and its warnings, go to stderr.
        Raises `Error` when the tower refuses or cannot be reached, `TypeError` or `ValueError` for arguments
        that no tower would take.
        """
        body = {
            "name": _text("name", name),
            "expr": _text("expr", expr),
            "for_seconds": _seconds(for_sec),
            "on_fire": _script(on_fire),
            "notify": _receivers(notify),
            "labels": _labels(labels),
            "runbook": _optional("runbook", runbook),
            "reading": _optional("reading", reading),
            "service": _optional("service", service),
        }
        answer = tower.post(RULES_PATH, body)
        if not isinstance(answer, dict):
            raise Error("cannot read what the tower answered", "is it as new as this package?")
        alert = cls(
            str(answer.get("name") or name),
            str(answer["reading"]) if answer.get("reading") else None,
            tuple(_lines(answer.get("warnings"))),
            bool(answer.get("changed")),
        )
        _tell(alert, _lines(answer.get("readings")))
        return alert


def _tell(alert: Alert, readings: List[str]) -> None:
    lines = [f"alert `{alert.name}` {'is in force' if alert.changed else 'is unchanged'}"]
    # A tower that has not seen a value yet decides when it has.
    is_decided = any(reading.split(":")[0] == alert.reading for reading in readings)
    for reading in readings:
        is_chosen = reading.split(":")[0] == alert.reading
        word = "may be " if not is_decided else "read as" if is_chosen else "not as "
        lines.append(f"  {word} {reading}")
    lines.extend(f"warning: {warning}" for warning in alert.warnings)
    try:
        print("\n".join(lines), file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):  # no stderr, or a closed one: the rule is in force all the same
        pass


def _lines(value: Any) -> List[str]:
    return [str(line) for line in value] if isinstance(value, list) else []


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"an alert's {what} is a text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"an alert's {what} is empty")
    return value


def _optional(what: str, value: Any) -> Optional[str]:
    return None if value is None else _text(what, value)


def _seconds(value: Any) -> Union[int, float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"for_sec is a number of seconds, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"for_sec is a number of seconds from 0 on, not {value}")
    return int(value) if value == int(value) else value


def _script(heal: Any) -> Optional[str]:
    if heal is None:
        return None
    if not isinstance(heal, Heal):
        raise TypeError(f"on_fire is a Heal, not {type(heal).__name__}; write on_fire=Heal(script=…)")
    return heal.script


def _receivers(notify: Any) -> List[str]:
    if notify is None:
        return []
    return [_text("notify", one) for one in ([notify] if isinstance(notify, str) else notify)]


def _labels(labels: Optional[Mapping[str, str]]) -> Dict[str, str]:
    found = dict(labels or {})
    for name, value in found.items():
        _text("label", name)
        if not isinstance(value, str):
            raise TypeError(f"the label `{name}` is a text, not {type(value).__name__}")
    return found
