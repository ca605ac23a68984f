"""Loopback addresses for pods and Services, shared fairly by all clusters on one machine.

127.64.0.0/16 is for pods and nodes, 127.96.0.0/16 for Services. Each cluster has one of sixteen equal parts of both. A
part, and within it each address, is reserved by a name in the kernel's abstract socket namespace: machine-wide, and let
go of by the kernel when its holder ends, however it ends.
"""

import errno
import ipaddress
import random
import socket
from dataclasses import dataclass

_PARTS = 16
_PART_BITS = 20
_NODES = 64  # the first addresses of a part are the nodes'


class NoAddressError(Exception):
    """Everything is taken."""


def _reserve(name: str) -> socket.socket | None:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0localkube-{name}")
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return holder


@dataclass(frozen=True)
class AddressPart:
    """The part of the address space that a cluster has for itself."""

    index: int

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The addresses of the Services."""
        return ipaddress.IPv4Network(f"127.96.{self.index * 16}.0/{_PART_BITS}")

    @property
    def first(self) -> str:
        """The address of the Service `kubernetes`."""
        return str(self.network[1])

    @property
    def pods(self) -> ipaddress.IPv4Network:
        """The addresses of the nodes and pods."""
        return ipaddress.IPv4Network(f"127.64.{self.index * 16}.0/{_PART_BITS}")

    def node(self, number: int) -> str:
        """The address of the cluster's node of this number, from 0 on."""
        return str(self.pods[1 + number])


def reserve_range() -> tuple[AddressPart, socket.socket]:
    """A part of the addresses, and the socket that holds it: whoever keeps that open keeps the part."""
    for index in range(_PARTS):
        holder = _reserve(f"part-{index}")
        if holder:
            return AddressPart(index), holder
    raise NoAddressError(f"{_PARTS} clusters run on this machine already; end one with `make cluster-down`")


def reserve_address(network: ipaddress.IPv4Network) -> tuple[str, socket.socket]:
    """An address that nobody else has, and the socket that holds it."""
    for _ in range(1000):
        address = str(network[random.randrange(_NODES, network.num_addresses - 1)])
        holder = _reserve(f"address-{address}")
        if holder:
            return address, holder
    raise NoAddressError(f"no address is free in {network}")
