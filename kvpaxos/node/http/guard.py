"""Tells those who run the node from everybody else, and web pages above all.

A page from anywhere can have the browser on this machine send requests to this machine. Browsers
give it away: they name the site that the page is of (``Origin``, ``Sec-Fetch-Site``). A site
whose name was made to point to this machine (DNS rebinding) seems to be this very site to them;
but then that name is what the request asks for (``Host``).
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.web.http_headers import Headers

from kvpaxos.errors import Forbidden

_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""What browsers say of requests that a page of this very site, or nobody's page, has caused."""

_SHOWN_MAX: Final = 80
"""So many characters of a name that is not ours are told back."""


class Guard:
    """Admits those who run the node.

    :param names: host names that the settings give the node.
    :param open_to_all: whether they may be on other machines.
    """

    def __init__(self, names: Collection[str], *, open_to_all: bool) -> None:
        self._names = {"localhost", *(name.lower().removesuffix(".") for name in names)}
        self._open_to_all = open_to_all

    def admit(self, caller: IAddress, headers: Headers) -> None:
        """Refuse callers from other machines, and web pages that are not this site's.

        Headers that only browsers send need not be there.

        :raises Forbidden: the caller is one of them.
        """
        if not self._open_to_all and not is_local(caller):
            raise Forbidden("this path answers callers on the node's own machine only")
        hosts = _values(headers, "host")
        # No page reaches a UNIX socket, and there every name is made up.
        if not isinstance(caller, UNIXAddress):
            self._check_hosts(hosts)
        sites = _values(headers, "sec-fetch-site")
        origins = _values(headers, "origin")
        if not (_OWN_SITES.issuperset(sites) and all(_is_of(origin, hosts) for origin in origins)):
            raise Forbidden("this path answers no web pages of other sites")

    def _check_hosts(self, hosts: list[str]) -> None:
        for host in hosts:
            name = _name(host)
            if name not in self._names and not _is_address(name):
                raise Forbidden(
                    "this path answers requests to an address, to localhost, or to a name in the"
                    f' settings, and "{host[:_SHOWN_MAX]}" is none of these'
                )


def is_local(address: IAddress) -> bool:
    """Return whether ``address`` belongs to a process on this machine."""
    match address:
        case UNIXAddress():
            return True
        case IPv4Address() | IPv6Address():
            # Without the zone that a link-local address may carry. A socket
            # for both families shows IPv4 callers as ::ffff:127.0.0.1.
            ip = ip_address(address.host.partition("%")[0])
            return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
        case _:
            return False


def _values(headers: Headers, name: str) -> list[str]:
    raw = headers.getRawHeaders(name.encode(), [])
    return [value.decode(errors="replace").strip().lower() for value in raw]


def _is_of(origin: str, hosts: list[str]) -> bool:
    """Return whether a page of ``origin`` is one of the site that it asks, by whatever name."""
    return any(origin in {f"http://{host}", f"https://{host}"} for host in hosts)


def _name(host: str) -> str:
    """Return ``host`` without its port."""
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        # In brackets stands an address, and no name.
        known = ":" in address and (not port or _is_port(port.removeprefix(":")))
        return address if known else ""
    name, colon, port = host.partition(":")
    return name.removesuffix(".") if not colon or _is_port(port) else ""


def _is_port(text: str) -> bool:
    return text.isascii() and (text.isdigit() or not text)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
