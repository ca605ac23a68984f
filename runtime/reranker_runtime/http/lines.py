"""What stands between a connection and its transport, and between it and a second parser."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a connection knows both
    from reranker_runtime.http.connections import Connection


class Line(asyncio.Transport):
    """The transport as uvicorn sees it: closing it lets the peer read first."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        super().__init__()
        self.transport, self._connection = transport, connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._connection.leaving:
            self.transport.write(data)

    def is_closing(self) -> bool:
        return self._connection.leaving or self.transport.is_closing()

    def close(self) -> None:
        self._connection.leave()

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()


class Continued:
    """Hears of one more body, and of whole requests after it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self.heads = connection, False
        self.on_body, self.on_message_complete = connection.on_body, connection.on_message_complete

    def on_message_begin(self) -> None:
        if self.heads:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.heads:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.heads:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.heads:
            self._connection.on_headers_complete()
