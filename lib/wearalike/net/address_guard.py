"""Addresses that others wrote: where they may lead, and what of them may be written down."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

# No errno of the system, so it is told from real ones even after aiohttp merged the errors of several addresses.
NOT_PUBLIC = -1
_LOGIN = re.compile(r"//[^/?#\s@]*(?:@[^/?#\s@]*)*@")
_SECRET = re.compile(
    r"((?:^|[?&;#])(?:[\w.-]*[_.-])?(?:code|token|key|apikey|user|username|login|password|passwd|pass|pwd|signature|sig|secret|auth|credential)=)"
    r"[^&;#\s]*",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text, an address or with addresses in it, with logins and the values of telling query keys struck out."""
    return _SECRET.sub(r"\1***", _LOGIN.sub("//***@", text))


@dataclass(frozen=True, slots=True)
class Guard:
    """Where may be connected to: public addresses, and the networks (CIDR) of `allow` although not public.

    ports: those that may be connected to; empty means 80 and 443, and any port of an allowed network.
    """

    allow: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()

    def objection(self, address: str, port: int) -> str | None:
        """Why this address, a literal, must not be connected to; None where it may be."""
        ip = _plain(address)
        allowed = any(ip in ipaddress.ip_network(network) for network in self.allow)
        if not allowed and not is_public(ip):
            return f"{ip} is not a public address"
        if port not in (self.ports or (80, 443)) and not (allowed and not self.ports):
            return f"port {port} of {ip} is not allowed"
        return None

    def socket(self, address: tuple) -> socket.socket:
        """aiohttp's socket_factory: a socket for one entry of getaddrinfo that is about to be connected. Raises OSError."""
        family, kind, protocol, _, (host, port, *_) = address
        if objection := self.objection(host, port):
            raise OSError(NOT_PUBLIC, objection)
        return socket.socket(family=family, type=kind, proto=protocol)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _plain(address: str) -> Address:
    """The address, an IPv4 one where IPv6 only wraps it."""
    ip = ipaddress.ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


# What Python calls global and the open internet does not: relays and translators that lead to any IPv4 address.
_CLOSED = tuple(
    map(
        ipaddress.ip_network,
        ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/3"),
    )
)
_CLOSED_6 = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
_OPEN_6 = ipaddress.ip_network("2000::/3")


def is_public(ip: Address) -> bool:
    """Whether an address is of the open internet, where a shop may be."""
    closed = _CLOSED if ip.version == 4 else _CLOSED_6
    return (
        ip.is_global
        and (ip.version == 4 or ip in _OPEN_6)
        and not any(ip in network for network in closed)
    )
