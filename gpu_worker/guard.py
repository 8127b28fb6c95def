"""Which network addresses a stranger's URL may lead to: public ones, and what the operator allows.

The check sits where the socket is made, with the address that is really used. So redirects,
odd spellings of an address and names that change their address meanwhile are all covered.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Carry an IPv4 address inside, or are special in ways that older Pythons do not know.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
    )
)


class AddressRefused(OSError):
    """A URL leads to an address that is not for strangers."""


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether a connection to `address` may be made."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return True
    if any(address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast


def guarded_socket(allowed: Sequence[Network]) -> Callable[[Any], socket.socket]:
    """A socket factory for aiohttp's connector that refuses what `is_allowed` refuses."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, target = info
        address = ipaddress.ip_address(target[0].partition("%")[0])
        if not is_allowed(address, allowed):
            raise AddressRefused(f"{address} is not a public address")
        return socket.socket(family, kind, protocol)

    return make
