"""Decide which addresses may be connected to, and redact secrets in addresses."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

# No errno of the system has this value. It stays recognisable after aiohttp merged the errors of
# several addresses.
NOT_PUBLIC_ERRNO = -1
_LOGIN_PATTERN = re.compile(r"//[^/?#\s@]*(?:@[^/?#\s@]*)*@")
_SECRET_PARAMETER_PATTERN = re.compile(
    r"((?:^|[?&;#])(?:[\w.-]*[_.-])?"
    r"(?:code|token|key|apikey|user|username|login|password|passwd|pass|pwd|signature|sig|secret"
    r"|auth|credential)=)"
    r"[^&;#\s]*",
    re.IGNORECASE,
)


def redact_url(text: str) -> str:
    """Return the text with logins and the values of secret query keys replaced by ***."""
    return _SECRET_PARAMETER_PATTERN.sub(r"\1***", _LOGIN_PATTERN.sub("//***@", text))


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Decide where a connection may go: to public addresses and to allowed networks.

    Attributes:
        allowed_networks: Networks (CIDR) that may be reached although they are not public.
        allowed_ports: Ports that may be reached. Empty: 80 and 443, and any port of an allowed
            network.
    """

    allowed_networks: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()

    def refusal_reason(self, address: str, port: int) -> str | None:
        """Return why a connection must not be made; None if it may be.

        Args:
            address: An IP address as text.
            port: The port.
        """
        ip = _unwrap_mapped_ipv4(address)
        allowed = any(ip in ipaddress.ip_network(network) for network in self.allowed_networks)
        if not allowed and not is_public(ip):
            return f"{ip} is not a public address"
        if port not in (self.allowed_ports or (80, 443)) and not (
            allowed and not self.allowed_ports
        ):
            return f"port {port} of {ip} is not allowed"
        return None

    def create_socket(self, address: tuple) -> socket.socket:
        """Create the socket for one resolved address; aiohttp's `socket_factory`.

        Args:
            address: One entry of `socket.getaddrinfo`.

        Raises:
            OSError: The address must not be connected to (errno NOT_PUBLIC_ERRNO).
        """
        family, kind, protocol, _, (host, port, *_) = address
        if objection := self.refusal_reason(host, port):
            raise OSError(NOT_PUBLIC_ERRNO, objection)
        return socket.socket(family=family, type=kind, proto=protocol)


IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def _unwrap_mapped_ipv4(address: str) -> IpAddress:
    """Return the address; the IPv4 address where an IPv6 one wraps it."""
    ip = ipaddress.ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


# Ranges that `ip.is_global` accepts but that tunnel to arbitrary IPv4 addresses (6to4, Teredo, ...)
# or are reserved.
_NON_PUBLIC_IPV4 = tuple(
    map(
        ipaddress.ip_network,
        ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/3"),
    )
)
_NON_PUBLIC_IPV6 = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
_GLOBAL_UNICAST_IPV6 = ipaddress.ip_network("2000::/3")


def is_public(ip: IpAddress) -> bool:
    """Return True if an address is part of the open internet, where a shop may be."""
    closed = _NON_PUBLIC_IPV4 if ip.version == 4 else _NON_PUBLIC_IPV6
    return (
        ip.is_global
        and (ip.version == 4 or ip in _GLOBAL_UNICAST_IPV6)
        and not any(ip in network for network in closed)
    )
