"""Whom a call without a user counts for."""

from __future__ import annotations

import ipaddress

import pytest

from tidings.rpc.addresses import ClientAddresses

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/16"))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:5001", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:192.0.2.1]:5001", "192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80::/64"),
        ("unix:/run/tidings.sock", "unix:/run/tidings.sock"),
    ],
)
def test_of_a_connection(peer: str, address: str) -> None:
    addresses = ClientAddresses()
    assert addresses.of(peer, ()) == addresses.of(peer, (("x-forwarded-for", "198.51.100.1"),)) == address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("198.51.100.1", "198.51.100.1"),
        # What the client itself has written stands before what the proxy has.
        ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("198.51.100.1, 10.1.1.1", "198.51.100.1"),
        ("2001:db8::7,10.1.1.1, fd00::1", "2001:db8::/64"),
        ("nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("10.9.9.9", "10.9.9.9"),
    ],
)
def test_behind_a_trusted_proxy(header: str, address: str) -> None:
    addresses = ClientAddresses(PROXIES)
    assert addresses.of("ipv4:10.0.0.1:5000", (("x-forwarded-for", header),)) == address


def test_a_proxy_may_use_several_headers_or_none() -> None:
    addresses = ClientAddresses(PROXIES)
    twice = (("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.1"))
    assert addresses.of("ipv4:10.0.0.1:5000", twice) == "198.51.100.1"
    assert addresses.of("ipv4:10.0.0.1:5000", ()) == "10.0.0.1"
