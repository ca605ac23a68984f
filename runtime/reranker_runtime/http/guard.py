"""The limits of one port, and who is connected to it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from reranker_runtime.metrics import Metrics

if TYPE_CHECKING:  # connections know their guard
    from reranker_runtime.http.connections import Connection

SPARE: Final = 64
"""Sockets beyond the limit that may be in a handshake, or be told that there are too many; more are closed unheard."""
SOONEST: Final = 0.05
"""Seconds between two looks at what is due, at least."""

log = logging.getLogger(__name__)


class Guard:
    """Times in seconds. One timer looks after all connections, so that none needs a timer for each request."""

    def __init__(
        self,
        port: str,
        metrics: Metrics,
        *,
        most: int,
        header_timeout: float,
        keep_alive: float,
        most_discarded: int,
    ) -> None:
        self.header_timeout, self.keep_alive = header_timeout, keep_alive
        self.most_discarded = most_discarded
        """Bytes read and thrown away of a peer that is being let go, so that it comes to read why."""
        self.stopping = False
        """Whether each answer ends its connection, so that callers find another replica."""
        self.unread: set[Connection] = set()
        """Those whose peers have not read most of an answer."""
        self._port, self._metrics, self._most = port, metrics, most
        self._served: set[Connection] = set()
        self._all: set[Connection] = set()
        self._sockets = 0
        self._told = False
        metrics.connections.labels(port).set_function(lambda: self._sockets)

    @property
    def sockets(self) -> int:
        """What this port may have open at most."""
        return self._most + SPARE

    @property
    def unread_bytes(self) -> int:
        """Of answers that wait to be read."""
        return sum(connection.unread for connection in self.unread)

    def accept(self) -> bool:
        """Count a socket; False: close it."""
        if self._sockets >= self.sockets:
            self.count("full")
            return False
        self._sockets += 1
        return True

    def forget(self) -> None:
        """A socket that never became a connection is closed."""
        self._sockets -= 1

    def enter(self, connection: Connection) -> bool:
        """Whether there is room for it; it is looked after in any case."""
        self._all.add(connection)
        if len(self._served) < self._most:
            self._served.add(connection)
            return True
        if not self._told:
            self._told = True
            log.warning("the %s port has %d connections, and no more may be open", self._port, self._most)
        return False

    def leave(self, connection: Connection) -> None:
        self._sockets -= 1
        self._all.discard(connection)
        self._served.discard(connection)
        self.unread.discard(connection)
        if len(self._served) < self._most // 2:
            self._told = False

    def abort(self) -> None:
        """Nobody waits any more."""
        for connection in list(self._all):
            connection.abort()

    def count(self, cause: str) -> None:
        """A connection that was let go."""
        if cause == "full":
            self._metrics.refused.labels("connections").inc()
        else:
            self._metrics.dropped.labels(self._port, cause).inc()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at what is due, again and again."""
        now = loop.time()
        for connection in [one for one in self._all if one.due <= now]:
            connection.expire()
        every = min(1.0, self.header_timeout / 4, self.keep_alive / 4)
        loop.call_later(max(SOONEST, every), self.watch, loop)
