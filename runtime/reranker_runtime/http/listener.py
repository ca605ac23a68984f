"""Accepts connections of one port, and counts them from the first byte of TLS on.

asyncio's own servers keep one TLS context for life, and tell of a connection only when its handshake is done: a renewed
certificate would need a new socket, and handshakes that never end would not count. Here each connection is given the
context of the moment.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from reranker_runtime.http.connections import Connection
from reranker_runtime.http.guard import Guard
from reranker_runtime.http.tls import Tls

BURST: Final = 64
"""Connections accepted before others have their turn."""
PAUSE: Final = 0.5
"""Seconds after which accepting is tried again, when the system had no room for another socket."""
GOODBYE: Final = 5.0
"""Seconds that a peer may take to answer the end of TLS."""

log = logging.getLogger(__name__)


class Listener:
    """What uvicorn takes for a server: it is closed, and waited for."""

    def __init__(self, listener: socket.socket, guard: Guard, tls: Tls | None, make: Callable[[], Connection]) -> None:
        self._socket, self._guard, self._tls, self._make = listener, guard, tls, make
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; what is open lives on."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    async def wait_closed(self) -> None:
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(BURST):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:  # no more files or memory: the queue of connections would wake us without end
                log.error("no connection can be accepted: %s; raise the limit of open files", error.strerror)  # noqa: TRY400
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(PAUSE, self._resume)
                return
            if not self._guard.accept():
                accepted.close()
                continue
            accepted.setblocking(False)
            task = self._loop.create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    async def _open(self, accepted: socket.socket) -> None:
        connection = self._make()
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: connection, accepted)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: connection,
                    accepted,
                    ssl=self._tls.context,
                    ssl_handshake_timeout=self._guard.header_timeout,
                    ssl_shutdown_timeout=GOODBYE,
                )
        except (OSError, asyncio.CancelledError) as error:  # an SSLError is an OSError
            log.debug("no connection: %s", error)
            if not connection.made:
                self._guard.forget()
                self._guard.count("tls")
                accepted.close()
