"""What went wrong, as a person can act on it."""

from __future__ import annotations

from typing import Any, Optional, Tuple


class Error(Exception):
    """The tower refused, or could not be asked."""

    def __init__(self, detail: str, hint: Optional[str] = None, title: str = "", status: Optional[int] = None) -> None:
        super().__init__(f"{detail}\nhint: {hint}" if hint else detail)
        self.detail = detail
        """What was wrong, in one line."""
        self.hint = hint
        """The likely remedy."""
        self.title = title
        """The kind of failure; empty when the tower did not say it."""
        self.status = status
        """The answer's HTTP status; `None` when there was no answer."""

    def __reduce__(self) -> Tuple[Any, ...]:  # an exception that crosses processes is made anew from its arguments
        return type(self), (self.detail, self.hint, self.title, self.status)
