from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import FetchError, InvalidUrl
from app.fetching.guard import Guard, is_public, parse_address
from app.scanning.urls import canonical
from app.settings import ConnectTo

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "adversarial.json"


def cases(*areas: str) -> list[Any]:
    if not CASES.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{CASES.name} is not on this machine"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads(CASES.read_text()) if case["area"] in areas]


def check(guard: Guard, url: str, *, base: str | None = None) -> None:
    guard.check_url(canonical(url, base=base))


@pytest.mark.parametrize("case", cases("url-reject"))
def test_hostile_urls_are_refused_before_any_dns(case: Any) -> None:
    """Security F2, F3, F4"""
    with pytest.raises((InvalidUrl, FetchError)) as refused:
        check(Guard(), case["input"])
    assert isinstance(refused.value, InvalidUrl) or refused.value.code in ("blocked_url", "blocked_address")


@pytest.mark.parametrize("case", cases("url-allow"))
def test_harmless_urls_are_let_through(case: Any) -> None:
    target = Guard().check_url(canonical(case["input"]))
    for addresses in (case.get("resolver") or {}).values():
        for address in addresses:
            Guard().check_address(address)
    assert target.port in (80, 443)
    if case.get("normalised"):
        assert canonical(case["input"]) == case["normalised"]


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "168.63.129.16", "169.254.169.254",
        "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.19.255.255", "203.0.113.1",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:100.64.0.1", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
        "100::1", "2001::1", "2001:1ff::1", "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3ffe::1", "3fff::1",
        "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
    ],
)  # fmt: skip
def test_addresses_that_are_nobody_else_s_business(address: str) -> None:
    """Security F5"""
    with pytest.raises(FetchError) as refused:
        Guard().check_address(address)
    assert refused.value.code == "blocked_address"
    assert address not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255",
     "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "3fff:1000::1", "::ffff:8.8.8.8"],
)  # fmt: skip
def test_public_addresses_are_let_through(address: str) -> None:
    Guard().check_address(address)


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.is_private and not (address.version == 6 and address.ipv4_mapped):
        assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_either_spelling(address: ipaddress.IPv4Address) -> None:
    assert is_public(address) == is_public(ipaddress.IPv6Address(f"::ffff:{address}"))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "2606:4700::1111%1", "example.com", "127.1", ""])
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(FetchError):
        parse_address(text)


def test_allowed_networks_are_exempt_in_either_spelling() -> None:
    guard = Guard(allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),))
    guard.check_address("127.0.0.1")
    guard.check_address("::ffff:127.0.0.1")
    check(guard, "http://127.0.0.1/")
    with pytest.raises(FetchError):
        guard.check_address("10.0.0.1")


def test_only_configured_ports() -> None:
    """Security F4"""
    guard = Guard(allowed_ports=(80, 8080))
    check(guard, "http://example.com:8080/")
    with pytest.raises(FetchError) as refused:
        check(guard, "https://example.com/")
    assert refused.value.code == "blocked_url"


@pytest.mark.parametrize(
    "url", ["example.com", "http://example.com", "http://EXAMPLE.com/", "http://a@example.com/", "http://e.com/ ",
            "ftp://example.com/", "http://example.com/\n", "http://example.com\\@127.0.0.1/"]
)  # fmt: skip
def test_only_canonical_urls_are_understood(url: str) -> None:
    """Security F1: what did not come through the one canonicaliser is refused."""
    with pytest.raises(FetchError) as refused:
        Guard().check_url(url)
    assert refused.value.code == "blocked_url"


class TestConnectTo:
    """A rule's own address is exempt; it does not open any other."""

    guard = Guard(connect_to=(ConnectTo("site.test", 443, "10.9.8.7", 8443), ConnectTo("*", 80, "127.0.0.1", 8080)))

    def test_a_special_use_name_that_a_rule_names_is_let_through(self) -> None:
        target = self.guard.check_url("https://site.test/")
        assert target.rule == ConnectTo("site.test", 443, "10.9.8.7", 8443)

    def test_one_that_no_rule_names_is_not(self) -> None:
        with pytest.raises(FetchError):
            self.guard.check_url("https://other.test/")

    def test_the_star_matches_every_name_on_its_port(self) -> None:
        target = self.guard.check_url("http://example.com/")
        assert target.rule is not None
        assert target.rule.target == 8080
        assert self.guard.check_url("https://example.com/").rule is None

    @pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://169.254.169.254/", "http://[::1]/"])
    def test_the_star_does_not_stand_for_addresses(self, url: str) -> None:
        with pytest.raises(FetchError) as refused:
            self.guard.check_url(url)
        assert refused.value.code == "blocked_address"

    def test_a_rule_may_name_an_address(self) -> None:
        guard = Guard(connect_to=(ConnectTo("127.0.0.1", 80, "127.0.0.1", 9), ConnectTo("::1", None, "::1", 9)))
        assert guard.check_url("http://127.0.0.1/").rule is not None

    def test_other_ports_stay_closed(self) -> None:
        with pytest.raises(FetchError):
            self.guard.check_url("http://example.com:22/")
