"""Progress lines: what is happening, and how long it has been going on.

Nothing that takes more than a few seconds may be silent, and a line is only printed when there is something new to say,
so that the output reads well in a terminal and in a CI log alike.
"""

import contextlib
import sys
import time
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes one line about what is happening now."""


def silent(_line: str) -> None:
    """A `Say` for callers that want no progress."""


class Progress:
    """A `Say` that puts the seconds since its making before each line, and drops repetitions."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last = ""

    @property
    def seconds(self) -> float:
        """Seconds since this was made."""
        return time.monotonic() - self._began

    def __call__(self, line: str) -> None:
        if line != self._last:
            with contextlib.suppress(OSError):  # a reader that went away must not end the work
                print(f"[{self.seconds:4.0f} s] {line}", file=sys.stderr, flush=True)
            self._last = line
