"""The address that a call counts for, where it counts for no user."""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_PREFIX = 64
# Of connections whose address was worked out; it is a little work, and the same for all calls of a connection.
_REMEMBERED = 10_000


class ClientAddresses:
    """Tells the address of a client from that of its connection, and from a header where a trusted proxy has set it.

    An IPv6 network of 64 bits counts as one address, since whoever has one address has all of them.

    Args:
        trusted: The networks of the proxies. Only what one of them has added to the header is believed.
        header: The metadata in which a proxy says whom it has its request from, in lower case.
    """

    def __init__(self, trusted: Sequence[Network] = (), header: str = "x-forwarded-for") -> None:
        self._trusted = trusted
        self._header = header
        self._known: dict[str, tuple[str, bool]] = {}

    def of(self, peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Return the address that a call counts for.

        Args:
            peer: The other end of the connection as gRPC writes it, such as ``ipv4:192.0.2.1:5000``.
            metadata: The call's.
        """
        known = self._known.get(peer)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            address = _parse(_host(peer))
            known = self._known[peer] = (_key(address, peer), self._is_trusted(address))
        key, is_proxy = known
        return self._forwarded(key, metadata) if is_proxy else key

    def _forwarded(self, proxy: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Read the header from its end: the last address that no trusted proxy has is the client's."""
        hops = [
            hop.strip()
            for key, value in metadata
            if key == self._header and isinstance(value, str)
            for hop in value.split(",")
        ]
        found = proxy
        for hop in reversed(hops):
            address = _parse(hop)
            if address is None:
                break
            found = _key(address, hop)
            if not self._is_trusted(address):
                break
        return found

    def _is_trusted(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _host(peer: str) -> str:
    """The host of `ipv4:HOST:PORT` and of `ipv6:%5BHOST%5D:PORT`."""
    _, _, rest = urllib.parse.unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]").partition("%")[0]


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _key(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, otherwise: str) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address) if address is not None else otherwise
