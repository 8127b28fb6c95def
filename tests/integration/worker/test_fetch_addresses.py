"""Which addresses and ports a stranger's URL may lead to: properties over all of them, and names
that change theirs."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from apigpu_common.guard import AddressRefused, guarded_socket, is_allowed
from tests.http_server import serving
from tests.integration.worker.test_fetch import BODY, fetch, give, refused, settings

PRIVATE = [
    ipaddress.ip_network(network)
    for network in (
        *(
            "192.88.99.0/24",
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
        ),
        *("172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
    )
]
# IPv6 addresses that lead to an IPv4 one: how far from the right it stands, and what is before it.
CARRIERS = {
    "mapped": ("::ffff:0:0", 0),
    "compatible": ("::", 0),
    "translated": ("::ffff:0:0:0", 0),
    "NAT64": ("64:ff9b::", 0),
    "local NAT64": ("64:ff9b:1::", 0),
    "6to4": ("2002::", 80),
    "Teredo server": ("2001::", 64),
    "ISATAP": ("fe80::5efe:0:0", 0),
}
private_v4 = st.sampled_from(PRIVATE).flatmap(
    lambda network: st.integers(int(network[0]), int(network[-1])).map(ipaddress.IPv4Address)
)
any_v4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)


def carried(carrier: str, address: ipaddress.IPv4Address) -> ipaddress.IPv6Address:
    before, shift = CARRIERS[carrier]
    return ipaddress.IPv6Address(int(ipaddress.IPv6Address(before)) | int(address) << shift)


@pytest.mark.parametrize("carrier", CARRIERS)
@given(address=private_v4)
def test_no_form_of_a_private_address_is_allowed(
    carrier: str, address: ipaddress.IPv4Address
) -> None:
    assert not is_allowed(address, ())
    assert not is_allowed(carried(carrier, address), ())


@given(address=any_v4)
def test_teredo_hides_its_client_s_address_and_is_refused(address: ipaddress.IPv4Address) -> None:
    inverted = int(address) ^ 0xFFFFFFFF
    assert not is_allowed(
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("2001::")) | inverted), ()
    )


@given(address=any_v4)
def test_a_mapped_address_is_judged_as_what_it_maps(address: ipaddress.IPv4Address) -> None:
    assert is_allowed(carried("mapped", address), ()) == is_allowed(address, ())


@given(
    address=st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address) | any_v4,
    network=st.sampled_from(["10.0.0.0/8", "127.0.0.1/32", "fd00::/8", "::1/128"]),
)
def test_the_socket_is_made_for_allowed_addresses_alone(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str
) -> None:
    allowed = [ipaddress.ip_network(network)]
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    info = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), 80))
    try:
        guarded_socket(allowed)(info).close()
    except AddressRefused:
        assert address not in allowed[0]
        assert not is_allowed(address, allowed)
    else:
        assert address in allowed[0] or address.is_global or "ffff:" in str(address)
        assert is_allowed(address, allowed)


async def test_a_name_that_changes_its_address_reaches_nothing_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public when it is first looked up, private ever after."""
    hosts = []

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        hosts.append(request.transport.get_extra_info("sockname")[0])
        if len(hosts) < 3:  # each on a new connection, so that the name is looked up
            headers = {"Location": str(request.url), "Connection": "close"}
            return web.Response(status=302, headers=headers)
        return web.Response(body=BODY)

    look_up, answers = socket.getaddrinfo, ["127.0.0.1"]

    def rebinding(host: str, *rest: Any, **more: Any) -> list[Any]:
        if host != "media.example":
            return look_up(host, *rest, **more)
        return look_up(answers.pop() if answers else "127.0.0.2", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr("aiohttp.connector._DNSCacheTable.expired", lambda *_: True)
    async with serving(handler, host="0.0.0.0") as base:
        url = base.replace("0.0.0.0", "media.example")
        error = await refused(url, tmp_path, settings("127.0.0.1/32"))
        assert error.reason == "SOURCE_ADDRESS_REFUSED"
        assert hosts == ["127.0.0.1"], "the private address was connected to"


async def test_ports_can_be_restricted_and_redirects_do_not_lead_around_it(tmp_path: Path) -> None:
    async with serving(give) as inner:

        async def handler(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(inner)

        async with serving(handler) as base:
            ports = [int(each.rpartition(":")[2]) for each in (base, inner)]
            both = settings(fetch_ports=f"{ports[0]},{ports[1]}")
            assert (await fetch(base, tmp_path, both)).read_bytes() == BODY
            error = await refused(base, tmp_path, settings(fetch_ports=str(ports[0])))
            assert (error.reason, error.retryable) == ("SOURCE_PORT_REFUSED", False)
            error = await refused(base, tmp_path, settings(fetch_ports="443"))
            assert str(ports[0]) in error.message


async def test_no_proxy_of_the_environment_connects_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look names up and connect past the guard."""
    asked = []

    async def proxy(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(body=b"by proxy")

    async with serving(proxy) as base, serving(give) as source:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, base)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert (await fetch(source, tmp_path, settings())).read_bytes() == BODY
    assert not asked
