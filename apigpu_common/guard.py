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

# Everything public in IPv6 is here, whatever the ipaddress module of this Python knows.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Carry an IPv4 address inside, or are special in ways that older Pythons do not know.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
    )
)


class AddressRefused(OSError):
    """A URL leads to an address that is not for strangers.

    Always told in the same words: where a name has several addresses and all are refused,
    the connector passes the refusal on only if they are equal.
    """

    def __init__(self) -> None:
        super().__init__("not a public address")


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether a connection to `address` may be made."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return True
    if any(address in network for network in _REFUSED):
        return False
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast


def guarded_socket(allowed: Sequence[Network]) -> Callable[[Any], socket.socket]:
    """A socket factory for aiohttp's connector that refuses what `is_allowed` refuses."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, target = info
        address = ipaddress.ip_address(target[0].partition("%")[0])
        if not is_allowed(address, allowed):
            raise AddressRefused
        return socket.socket(family, kind, protocol)

    return make
