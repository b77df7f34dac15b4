"""Which URLs and addresses may be fetched at all.

The address table is our own: `ipaddress.is_global` is true, on some CPython 3.11 releases, of multicast,
of NAT64 and 6to4 forms of private addresses and of two clouds' metadata services.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from app.errors import FetchError
from app.scanning.urls import SPECIAL_USE
from app.settings import ConnectTo, Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's IPv4 special-purpose registry, multicast, class E, and what clouds keep for themselves.
REFUSED_IPV4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent
        "169.254.0.0/16",  # link-local, most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments, Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # all that is handed out of IPv6 today
REFUSED_IPV6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)

_URL = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._\-]+)(?::([0-9]{1,5}))?(/[!-\"$-~]*)(?:#[!-~]*)?")


class Target(NamedTuple):
    """A URL taken apart, allowed so far; `rule` is the CONNECT_TO rule that says where to connect."""

    scheme: str
    host: str  # without brackets
    port: int
    path: str  # with the query
    literal: Address | None
    rule: ConnectTo | None


class Guard:
    """Decides by values alone; resolving and connecting are its caller's."""

    def __init__(
        self,
        *,
        allowed_networks: Sequence[Network] = (),
        allowed_ports: Sequence[int] = (80, 443),
        connect_to: Sequence[ConnectTo] = (),
    ) -> None:
        self._networks = tuple(allowed_networks)
        self._ports = frozenset(allowed_ports)
        self._rules = tuple(connect_to)

    def check_url(self, url: str) -> Target:
        """Take a canonical URL apart and refuse what needs no DNS to be refused.

        >>> Guard().check_url("https://example.com/a?b")[:4]
        ('https', 'example.com', 443, '/a?b')

        :raises FetchError: `blocked_url` or `blocked_address`
        """
        found = _URL.fullmatch(url)
        if found is None:
            raise FetchError("blocked_url")
        scheme, host, port_text, path = found.groups()
        port = int(port_text) if port_text else (443 if scheme == "https" else 80)
        host = host.strip("[]")
        rule, literal = self._rule(host, port), _literal(host)
        if rule is None and port not in self._ports:
            raise FetchError("blocked_url")
        if literal is not None:
            rule = rule if rule and rule.host == host else None  # "*" stands for names, not for addresses
            if rule is None:
                self.check_address(literal)
        elif rule is None and is_special_use(host):
            raise FetchError("blocked_url")
        return Target(scheme, host, port, path, literal, rule)

    def check_address(self, address: str | Address) -> None:
        """:raises FetchError: `blocked_address`"""
        if isinstance(address, str):
            address = parse_address(address)
        if not (is_public(address) or self._is_exempt(address)):
            raise FetchError("blocked_address")

    def _rule(self, host: str, port: int) -> ConnectTo | None:
        for rule in self._rules:
            if rule.host in ("*", host) and rule.port in (None, port):
                return rule
        return None

    def _is_exempt(self, address: Address) -> bool:
        address = unwrapped(address)
        return any(address in network for network in self._networks)


def is_special_use(host: str) -> bool:
    """Names that resolvers treat as their own, single labels among them.

    >>> is_special_use("metadata.google.internal"), is_special_use("example.com")
    (True, False)
    """
    labels = host.split(".")
    return len(labels) < 2 or labels[-1] in SPECIAL_USE


def is_public(address: Address) -> bool:
    """
    >>> is_public(ipaddress.ip_address("8.8.8.8")), is_public(ipaddress.ip_address("::ffff:10.0.0.1"))
    (True, False)
    """
    address = unwrapped(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in REFUSED_IPV4)
    return address in GLOBAL_UNICAST and not any(address in network for network in REFUSED_IPV6)


def unwrapped(address: Address) -> Address:
    """An IPv4 address written as an IPv6 one is that IPv4 address."""
    return (address.version == 6 and address.ipv4_mapped) or address


def parse_address(text: str) -> Address:
    """:raises FetchError: `blocked_address`, also for zone ids"""
    address = _literal(text)
    if address is None:
        raise FetchError("blocked_address")
    return address


def _literal(host: str) -> Address | None:
    if ":" not in host and not host[-1:].isdigit():  # most hosts: names are told apart without an exception
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address
