"""How often a hub is asked again, and after how long."""

from __future__ import annotations

import email.utils
import logging
import math
import time
from collections.abc import Mapping
from typing import Final

from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined] # documented, loaded when used

from reranker_runtime.errors import FetchError, FetchReason

MOST_WAIT: Final = 300.0
"""Seconds that a hub may ask us to wait; a Job's own pause is better than a longer one."""
LONGEST_PAUSE: Final = 30.0
LONGEST_SAID: Final = 10**9
"""Seconds; there are numbers too large for a float."""
log = logging.getLogger(__name__)


class Trouble(FetchError):  # noqa: N818 - it becomes an error after the last try only
    """What another try may not meet again."""

    def __init__(self, said: str, *, wait: float = 0.0, remedy: str = "ask again later") -> None:
        super().__init__(FetchReason.HUB_UNREACHABLE, f"{said}; {remedy}")
        self.said, self.seconds = said, wait


class Patience:
    """Pauses between tries that bring nothing, each twice as long as the one before; then the trouble is raised."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._failed = 0

    def renew(self) -> None:
        """A try brought something."""
        self._failed = 0

    def wait(self, trouble: Trouble) -> None:
        if self._failed >= self._retries or trouble.seconds > MOST_WAIT:
            raise trouble
        pause = max(trouble.seconds, min(LONGEST_PAUSE, 2.0**self._failed))
        self._failed += 1
        log.warning("%s; trying again in %.0f s (%d of %d)", trouble.said, pause, self._failed, self._retries)
        time.sleep(pause)


def asked_to_wait(headers: Mapping[str, str]) -> float:
    """Seconds until a server wants to be asked again; 0 where it does not say."""
    try:
        limit = parse_ratelimit_headers(headers)
    except ValueError:  # a number of more digits than Python reads
        return math.inf
    if limit is not None and limit.remaining == 0:
        return float(min(limit.reset_in_seconds, LONGEST_SAID))
    said = headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
