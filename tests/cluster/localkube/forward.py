"""Forwards TCP connections: into pods' networks, and from Services to pods.

Where the target refuses, the client gets a reset at once rather than an orderly end, so that nobody takes a dead server
for an empty answer.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

Target = tuple[str, int]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _End(asyncio.Protocol):
    """One end of a forwarded connection; what comes in here goes out at `other`."""

    def __init__(self) -> None:
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        if self.other and self.other.transport and self.other.transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self.other.transport.write_eof()
        return True  # the other direction may still have something to say

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other and self.other.transport:
            if exc:
                self.other.reset()
            else:
                self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def reset(self) -> None:
        if self.transport and not self.transport.is_closing():
            sock: socket.socket = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()


class _ClientEnd(_End):
    """The end that a client opened: dials the target, then lets the bytes flow."""

    def __init__(self, choose: Callable[[], Target | None]) -> None:
        super().__init__()
        self._choose = choose
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        target = self._choose()
        if target is None:
            self.reset()
            return
        far = _End()
        far.other = self
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, *target)
        except OSError:
            self.reset()
            return
        self.other = far
        if self.transport is None or far.transport is None or self.transport.is_closing():
            far.reset()
            return
        self.transport.resume_reading()
        far.transport.resume_reading()


def listener(address: str, port: int) -> socket.socket:
    """A listening socket."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(512)
    except OSError:
        sock.close()
        raise
    return sock


async def forward(sock: socket.socket, choose: Callable[[], Target | None]) -> asyncio.Server:
    """Send each connection that comes to this listening socket on to what `choose` says at that moment."""
    return await asyncio.get_running_loop().create_server(lambda: _ClientEnd(choose), sock=sock)
