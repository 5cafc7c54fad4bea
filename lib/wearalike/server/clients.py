"""Tell clients apart by their addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

# An IPv6 host chooses its addresses in its /64 freely.
_IPV6_CLIENT_BITS = 64


def client_key(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, _IPV6_CLIENT_BITS), strict=False))
    return str(ip)


def is_address(text: str) -> bool:
    """Return True for an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class ProxyAddresses:
    """Addresses and networks of proxies.

    Args:
        proxies: Addresses and networks (CIDR).
    """

    def __init__(self, proxies: Collection[str]) -> None:
        self._networks = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]

    def __contains__(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)
