"""How much each client may have ranked in a minute.

The size of a request is known only when it is tokenised. So a client is let in while it has anything left, and what its
request turns out to hold is taken then: the balance may fall below nothing, and the client waits until that is paid.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from reranker_runtime.errors import RateLimited

SECONDS: Final = 60.0
FEW: Final = 1024
"""Balances that are kept without asking whether they still say something."""


class Quota:
    """A bucket of tokens for each client, full at first and refilled steadily.

    Not for several threads. A client whose bucket is full again is forgotten in time, so clients that come no more need
    no memory. Without a limit everybody may have everything.
    """

    def __init__(self, tokens_per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = math.inf if tokens_per_minute is None else float(tokens_per_minute)
        self._rate = self._most / SECONDS
        self._clock = clock
        self._balances: dict[str, tuple[float, float]] = {}
        """What each client had, and when."""
        self._tidy_at = FEW

    def check(self, client: str) -> None:
        """Raises `RateLimited` while the client has nothing left."""
        balance = self._balance(client, self._clock())
        if balance > 0:
            return
        wait = math.floor(-balance / self._rate) + 1
        who = f"client {client} has used up its" if client else "callers without a key have used up their"
        raise RateLimited(
            f"{who} {self._most:.0f} tokens a minute; come back in {wait} s, "
            "or ask whoever runs this server to raise RERANKER_TOKENS_PER_MINUTE",
            retry_after=wait,
        )

    def take(self, client: str, tokens: int) -> None:
        """Count what a request holds, even beyond what is left; raises `RateLimited` where nothing was."""
        self.check(client)
        self.charge(client, tokens)

    def charge(self, client: str, tokens: int) -> None:
        """Count what more a request holds that was let in."""
        if math.isinf(self._most):
            return
        now = self._clock()
        if client not in self._balances and len(self._balances) >= self._tidy_at:
            self._tidy(now)
        self._balances[client] = self._balance(client, now) - tokens, now

    def _balance(self, client: str, now: float) -> float:
        if client not in self._balances:
            return self._most
        had, since = self._balances[client]
        return min(self._most, had + (now - since) * self._rate)

    def _tidy(self, now: float) -> None:
        self._balances = {
            client: kept for client, kept in self._balances.items() if self._balance(client, now) < self._most
        }
        self._tidy_at = max(FEW, 2 * len(self._balances))
